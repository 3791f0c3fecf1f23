"""Estimators of other packages, OpenCV and OpenPIV, in the form of those of `velocimetry`.

Neither package comes with Equitutor; each is imported where it is used.
"""

import torch
from torch import Tensor

from equitutor.methods.arguments import check_count
from equitutor.methods.velocimetry import _check_frames, _linear


def farneback(frames: Tensor) -> Tensor:
    """Returns Farneback's optical flow of each pair by OpenCV, (B, 2, H, W), on the CPU.

    Needs the package opencv-python-headless, which Equitutor does not install. The frames are
    rounded to 8 bits, as OpenCV wants them.

    Args:
        frames: pairs (B, 2, H, W), values in [0, 1].

    Raises:
        ImportError: the package is missing; the message names it.
        ValueError: frames are no finite pairs.

    Source: Farneback (2003); settings of the PIV case of NERO (Zhao et al. 2023): pyramid 0.5, 3
    levels, window 15, 3 iterations, polynomial 5 and 1.2.
    """
    _check_frames(frames)
    try:
        import cv2
    except ImportError as error:
        raise ImportError("farneback needs OpenCV: pip install opencv-python-headless") from error
    pictures = (frames.cpu() * 255).round().clamp(0, 255).byte().numpy()
    flows = [
        torch.from_numpy(cv2.calcOpticalFlowFarneback(*pair, None, 0.5, 3, 15, 3, 5, 1.2, 0))
        for pair in pictures
    ]
    return torch.stack(flows).permute(0, 3, 1, 2).to(frames)  # (B, H, W, 2) -> (B, 2, H, W)


def openpiv_field(frames: Tensor, window: int = 24, step: int = 8) -> Tensor:
    """Returns the field of OpenPIV's cross-correlation of each pair, (B, 2, H, W), on the CPU.

    Needs the package openpiv, which Equitutor does not install. One pass, no validation: where
    OpenPIV finds no peak, the displacement is taken as 0. Between windows the field is linear.

    Args:
        frames: pairs (B, 2, H, W).
        window: width in pixels of the windows, >= 8.
        step: pixels between windows, 1 ... window; windows have to fill the frames without rest.

    Raises:
        ImportError: the package is missing; the message names it.
        ValueError: frames are no finite pairs, or the windows leave a rest.

    Source: OpenPIV, ``pyprocess.extended_search_area_piv``, here with windows of one size.
    """
    _check_frames(frames)
    check_count("window", window, 8)
    check_count("step", step, 1)
    sides = tuple(frames.shape[-2:])
    if step > window or window > min(sides) or any((side - window) % step for side in sides):
        raise ValueError(
            f"window and step must fill the sides {sides} without rest, got {window} and {step}"
        )
    try:
        from openpiv.pyprocess import extended_search_area_piv
    except ImportError as error:
        raise ImportError("openpiv_field needs OpenPIV: pip install openpiv") from error
    fields = []
    for first, second in frames.cpu().double().numpy():
        found = extended_search_area_piv(
            first, second, window, window - step, search_area_size=window
        )
        fields.append(torch.stack([torch.as_tensor(part) for part in found[:2]]).double())
    rows, columns = (
        _linear(side, torch.arange((window - 1) / 2, side - window / 2 + 0.5, step).double())
        for side in sides
    )
    return (rows @ torch.stack(fields).nan_to_num() @ columns.T).to(frames)
