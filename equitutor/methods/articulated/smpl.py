"""SMPL as a `Body`, for readers who have its files: they may not be passed on, and are not here."""

from pathlib import Path

import torch

from equitutor.methods.articulated.body import Body

NAMES = (
    "pelvis", "left hip", "right hip", "spine 1", "left knee", "right knee", "spine 2",
    "left ankle", "right ankle", "spine 3", "left foot", "right foot", "neck", "left collar",
    "right collar", "head", "left shoulder", "right shoulder", "left elbow", "right elbow",
    "left wrist", "right wrist", "left hand", "right hand",
)  # fmt: skip


def smpl_body(path: str | Path, n_shape: int = 10) -> Body:
    """Returns SMPL without its pose correctives, as a body of 24 parts; y is up.

    Needs the package smplx and a model file, both under licenses that you have to accept
    yourself: https://smpl.is.tue.mpg.de. Neither is part of this book.

    Args:
        path: the model file.
        n_shape: shape coefficients to keep.

    Raises:
        ValueError: there is no such file, or it holds fewer shape coefficients.
        ImportError: smplx is not installed.

    Source: Loper et al., SMPL: a skinned multi-person linear model, 2015.

    >>> smpl_body("no/such/file.pkl")
    Traceback (most recent call last):
    ValueError: path is 'no/such/file.pkl'; need an SMPL model file, from smpl.is.tue.mpg.de
    """
    if isinstance(n_shape, bool) or not isinstance(n_shape, int) or n_shape < 1:
        raise ValueError(f"n_shape is {n_shape!r}; need an int of at least 1")
    if not Path(path).is_file():
        raise ValueError(f"path is {str(path)!r}; need an SMPL model file, from smpl.is.tue.mpg.de")
    try:
        import smplx
    except ImportError as error:
        raise ImportError("smpl_body needs the package smplx: pip install smplx") from error
    model = smplx.SMPL(str(path), num_betas=n_shape)
    template = model.v_template.detach().double()
    modes = model.shapedirs.detach().double()[..., :n_shape].movedim(-1, 0)  # (K, V, 3)
    if len(modes) < n_shape:
        raise ValueError(f"n_shape is {n_shape}; need at most {len(modes)}, those in the file")
    regressor = model.J_regressor.detach().double()
    parents = model.parents.tolist()
    return Body(
        names=NAMES,
        parents=(-1, *parents[1:]),
        template=template,
        shape_modes=modes,
        joints=regressor @ template,
        joint_modes=regressor @ modes,
        weights=model.lbs_weights.detach().double(),
        faces=torch.as_tensor(model.faces.astype("int64")),
    )
