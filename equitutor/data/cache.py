"""Where a data file lies, and how it gets there: data folder, then cache, then download.

Two environment variables steer it. ``EQUITUTOR_DATA`` names a folder laid out ``<set>/<file>``
that is only ever read. ``EQUITUTOR_CACHE`` names the folder for downloads (default: the
system's cache folder). No file is used before its checksum fits.
"""

import errno
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from equitutor.data.errors import ChecksumError, DataError, DownloadError
from equitutor.data.reads import note
from equitutor.data.registry import File, data_file, dataset

CHUNK = 1 << 16  # bytes read from the network at a time
TIMEOUT = 30  # seconds without a byte from the network
AT_ONCE = 8  # files of a set that are fetched at the same time


def data_folder() -> Path | None:
    """Returns the folder that ``EQUITUTOR_DATA`` names, or None when the variable is not set.

    Raises:
        DataError: the variable names something that is not a folder.
    """
    value = os.environ.get("EQUITUTOR_DATA")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"EQUITUTOR_DATA is {value!r}, which is not a folder: "
            "correct it, or unset it to use the cache and the network."
        )
    return folder


def cache_folder() -> Path:
    """Returns the folder for downloads: ``EQUITUTOR_CACHE``, else the system's cache folder."""
    import pooch

    value = os.environ.get("EQUITUTOR_CACHE")
    return Path(value).expanduser() if value else Path(pooch.os_cache("equitutor"))


def locate(name: str) -> Path | None:
    """Returns where the file ``name`` lies on this machine, unchecked, or None.

    Args:
        name: ``<set>/<file>``, as in the registry.

    Raises:
        ValueError: the registry has no such file.
        DataError: ``EQUITUTOR_DATA`` names something that is not a folder.

    Example:
        >>> locate("imagenet/train.tar")
        Traceback (most recent call last):
        ValueError: ...
    """
    data_file(name)
    for folder in (data_folder(), cache_folder()):
        if folder is not None and (folder / name).is_file():
            return folder / name
    return None


def fetch(name: str, progress: bool = True) -> Path:
    """Returns the path of the data file ``name``, with its checksum verified.

    Looks in ``EQUITUTOR_DATA``, then in the cache, then downloads. A broken
    file in the cache, or from the network, is fetched once more; one in ``EQUITUTOR_DATA`` is
    refused and left as it is.

    Args:
        name: ``<set>/<file>``, as in the registry.
        progress: show a bar while downloading.

    Raises:
        ValueError: the registry has no such file.
        DataError: ``EQUITUTOR_DATA`` names something that is not a folder.
        ChecksumError: the file stays broken; the message holds both sums.
        DownloadError: no network, no space left, or a cache that can't be written.

    Example:
        >>> fetch("mnist/t10k-labels-idx1-ubyte.gz").name  # doctest: +SKIP
        't10k-labels-idx1-ubyte.gz'
        >>> fetch("imagenet/train.tar")
        Traceback (most recent call last):
        ValueError: unknown data set 'imagenet'; known: mnist, cifar10, ...
    """
    file = data_file(name)
    path = _verified(name, file, progress)
    note(name, file.checksum)
    return path


def _verified(name: str, file: File, progress: bool) -> Path:
    folder = data_folder()
    if folder is not None and (folder / name).is_file():
        if wrong := _mismatch(folder / name, file):
            raise ChecksumError(
                f"{folder / name} is broken ({wrong}): replace the file in EQUITUTOR_DATA."
            )
        return folder / name
    cached = cache_folder() / name
    problems = []
    if cached.is_file():
        wrong = _mismatch(cached, file)
        if wrong is None:
            return cached
        problems.append(f"the cached copy is broken: {wrong}")
    _download(name, file, cached, problems, progress)
    return cached


def fetch_all(name: str, folder: str = "") -> dict[str, Path]:
    """Returns the paths of all files of the set ``name``, each verified: file name to path.

    Missing files are downloaded several at a time, under one progress bar. What was fetched
    before a failure stays in the cache.

    Args:
        name: a set of the registry.
        folder: only the files whose name begins with this, for a part of a set.

    Raises:
        ValueError: the registry has no such set, or the set no such file.
        DataError: as for `fetch`, for the first file that can't be had.

    Example:
        >>> sorted(fetch_all("mnist"))[0]  # doctest: +SKIP
        't10k-images-idx3-ubyte.gz'
        >>> fetch_all("bccd", "no/such/folder")
        Traceback (most recent call last):
        ValueError: folder is 'no/such/folder', but no file of bccd has a name that begins so
    """
    from tqdm.auto import tqdm

    names = [file.name for file in dataset(name).files if file.name.startswith(folder)]
    if not names:
        raise ValueError(f"folder is {folder!r}, but no file of {name} has a name that begins so")
    there = all(locate(f"{name}/{file}") for file in names)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        paths = pool.map(lambda file: fetch(f"{name}/{file}", progress=False), names)
        bar = tqdm(paths, name, len(names), unit="file", leave=False, disable=there)
        return dict(zip(names, bar, strict=True))


def _download(name: str, file: File, target: Path, problems: list[str], progress: bool) -> None:
    """Write the file ``name`` to ``target``, or raise with all ``problems`` met on the way."""
    import requests

    error_type = DownloadError
    # Every address gets its turn, and a single address a second one.
    for url in (file.urls * 2)[: max(2, len(file.urls))]:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # A folder of its own, beside the target: parallel downloads don't meet, whatever
            # goes wrong takes the half file with it, and the last step is one rename.
            with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as part_folder:
                part = Path(part_folder) / target.name
                _get(url, part, name, file.size, progress)
                wrong = _mismatch(part, file)
                if wrong is None:
                    os.replace(part, target)
                    return
            problems.append(f"{url} gave a wrong file: {wrong}")
            error_type = ChecksumError
        except requests.RequestException as error:
            problems.append(f"{url}: {_reason(error)}")
        except OSError as error:
            raise DownloadError(_disk_problem(name, file, target, error)) from error
    put = f"put the file into the folder named by EQUITUTOR_DATA, as {name}"
    if not file.urls:
        raise DownloadError(f"{name} is not on this machine and has no public address: {put}.")
    raise error_type(
        f"{name} could not be had ({'; '.join(dict.fromkeys(problems))}): {put}, or run once "
        f"with network: python -m equitutor data fetch {name.partition('/')[0]}"
    )


def _get(url: str, path: Path, label: str, size: int, progress: bool) -> None:
    """Download ``url`` to ``path``, under a progress bar if wanted."""
    import pooch
    from tqdm.auto import tqdm

    with tqdm(desc=label, total=size, unit="B", unit_scale=True, leave=False,
              disable=not progress) as bar:  # fmt: skip
        download = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT)
        download(url, str(path), None)


def _mismatch(path: Path, file: File) -> str | None:
    """Returns how the file at ``path`` differs from its entry in the registry, or None."""
    algorithm, expected = file.checksum.split(":")
    stat = path.stat()
    found = _checksum(path, algorithm, stat.st_size, stat.st_mtime_ns)
    if found == expected:
        return None
    return (
        f"expected {algorithm} {expected} and {file.size} bytes, "
        f"found {algorithm} {found} and {stat.st_size} bytes"
    )


@lru_cache(maxsize=1024)
def _checksum(path: Path, algorithm: str, size: int, mtime_ns: int) -> str:
    """Returns the checksum; size and time are there so that a changed file is read again."""
    import pooch

    return pooch.file_hash(str(path), alg=algorithm)


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the file was whole"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return f"no connection, {type(error).__name__}"


def _disk_problem(name: str, file: File, target: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f"no space left in {target.parent} for {name} ({file.size / 1e6:.1f} MB)"
    else:
        what = f"{name} could not be written to {target.parent} ({error})"
    return f"{what}: free some space there, or set EQUITUTOR_CACHE to another folder."
