"""Pairs of particle images: samples with known flow, and a measured jet."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from equitutor.checks import check_choice
from equitutor.data.cache import fetch_all
from equitutor.data.errors import FormatError
from equitutor.data.pictures import read_flo, read_picture
from equitutor.data.registry import dataset

# For each kind: its set, how the names of its files begin, the ends of first and second frame.
_TIFF = ("_img1.tif", "_img2.tif")
KINDS = {
    "backstep": ("piv_cai2019", "backstep/", _TIFF),
    "dns_turbulence": ("piv_cai2019", "DNS_turbulence/", _TIFF),
    "isotropic": ("piv_cai2019", "JHTDB_isotropic1024_hd/", _TIFF),
    "sqg": ("piv_cai2019", "SQG/", _TIFF),
    "uniform": ("piv_cai2019", "uniform_dx5/", _TIFF),
    "vortex_pair": ("piv_cai2019", "vortexPair/", _TIFF),
    "jet": ("piv_pivlab", "Jet_", ("A.jpg", "B.jpg")),
}


@dataclass(frozen=True, eq=False)
class FlowPairs:
    """Pairs of frames with the flow between them.

    Args:
        frames: float32 ``(N, 2, H, W)``, values in [0, 1]; the earlier frame first.
        flow: float32 ``(N, 2, H, W)``, displacement in pixels, to the right and DOWN; None
            where nobody knows it.
        y: int64 ``(N,)``, kind of flow, indices into ``classes``.
        name: the data set.
        classes: a name for each kind of flow.
        license: one sentence.
    """

    frames: Tensor = field(repr=False)
    flow: Tensor | None = field(repr=False)
    y: Tensor = field(repr=False)
    name: str
    classes: tuple[str, ...]
    license: str

    def __len__(self) -> int:
        return len(self.frames)


def flow_pairs(kind: str) -> FlowPairs:
    """Returns pairs of particle images as they are used to measure flow (PIV).

    Args:
        kind: with known flow, 256 x 256 pixels: ``"backstep"`` (1 pair), ``"dns_turbulence"``
            (2), ``"isotropic"`` (1), ``"sqg"`` (1), ``"uniform"`` (6, all 5 px to the right).
            Measured, without: ``"vortex_pair"`` (1 pair, 480 x 512), ``"jet"`` (4 pairs,
            1040 x 1392).

    All but the jet are for research use only: fetched by the reader, never part of the book.

    Raises:
        ValueError: another kind.
        DataError: the files can't be had or are broken.

    Source: S. Cai, S. Zhou, C. Xu, Q. Gao, Dense motion estimation of particle images via a
    convolutional neural network, Experiments in Fluids 60:73, 2019; the jet: PIVlab's examples.

    Example:
        >>> flow_pairs("uniform").flow.shape  # doctest: +SKIP
        torch.Size([6, 2, 256, 256])
    """
    check_choice("kind", kind, KINDS)
    set_name, begin, (end1, end2) = KINDS[kind]
    paths = fetch_all(set_name, begin)
    stems = sorted(name.removesuffix(end1) for name in paths if name.endswith(end1))
    frames, flows = [], []
    for stem in stems:
        if stem + end2 not in paths:
            raise FormatError(f"{set_name} has no second frame {stem + end2}")
        first, second = (read_picture(paths[stem + end], "L") for end in (end1, end2))
        if first.shape != second.shape or (frames and frames[0].shape[1:] != first.shape):
            raise FormatError(
                f"{set_name}: the frames of {stem} differ in size, from one another or from others"
            )
        pair = np.stack([first, second])  # (2, H, W)
        frames.append(pair)
        truth = paths.get(f"{stem}_flow.flo")
        if truth:
            flows.append(read_flo(truth))
            if flows[-1].shape != pair.shape:
                raise FormatError(
                    f"{truth} has the shape {flows[-1].shape}, but the frames {pair.shape}"
                )
    if len(flows) not in (0, len(frames)):
        raise FormatError(f"{set_name} has {len(frames)} pairs of {kind}, but {len(flows)} flows")
    return FlowPairs(
        torch.from_numpy(np.stack(frames).astype(np.float32)).div_(255),
        torch.from_numpy(np.stack(flows)) if flows else None,
        torch.zeros(len(frames), dtype=torch.int64),
        set_name,
        (kind,),
        dataset(set_name).license,
    )
