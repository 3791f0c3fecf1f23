"""From weights on a group to one rotation: mean, projection, loss, and the angle between two."""

import torch
from torch import Tensor


def weighted_rotation_mean(weights: Tensor, elements: Tensor) -> Tensor:
    """Returns M = sum_a w_a R_a, (..., 3, 3). Weights that move by g give g M.

    Weights may be any real numbers. Uniform ones give M = 0, where no rotation is nearest.

    Args:
        weights: (..., G), floating point.
        elements: rotations (G, 3, 3).

    Raises:
        ValueError: the sizes do not fit.

    Source: Feng et al. 2023; M itself is what we train on.

    >>> from equitutor.methods.icosahedral import rotation_tables
    >>> R = rotation_tables().elements
    >>> weights = 3 / 60 * torch.einsum("aij,ij->a", R, R[7])     # signed weights reach every R
    >>> torch.allclose(weighted_rotation_mean(weights, R), R[7])
    True
    """
    if elements.ndim != 3 or elements.shape[1:] != (3, 3):
        raise ValueError(f"elements has shape {tuple(elements.shape)}; need (G, 3, 3)")
    if weights.ndim < 1 or weights.shape[-1] != len(elements) or not weights.is_floating_point():
        raise ValueError(
            f"weights has shape {tuple(weights.shape)} and dtype {weights.dtype}; need "
            f"(..., {len(elements)}), one each, floating point"
        )
    return (weights @ elements.to(weights).flatten(1)).unflatten(-1, (3, 3))


def project_so3(matrix: Tensor) -> Tensor:
    """Returns the rotation nearest to each matrix, (..., 3, 3): R = U diag(1, 1, det(U V^T)) V^T.

    It commutes with rotations from both sides. Its gradient grows like 1 / (s2 + s3) of the two
    smallest singular values (1 / (s2 - s3) where det M < 0), and a matrix near zero has none to
    speak of: train with `matrix_loss` on M, and project for metrics, or for a vertex loss late in
    training.

    Args:
        matrix: (..., 3, 3), floating point, finite.

    Raises:
        ValueError: another shape, integers, nan or infinity.

    Source: the special orthogonal Procrustes problem; Levinson et al., NeurIPS 2020.

    >>> project_so3(torch.diag(torch.tensor([3.0, 2.0, -1.0])))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    _check_matrices("matrix", matrix)
    if not matrix.is_floating_point() or not matrix.isfinite().all():
        raise ValueError(f"matrix has dtype {matrix.dtype}; need finite floating-point numbers")
    u, _, vt = torch.linalg.svd(matrix)
    sign = torch.linalg.det(u @ vt).sign()
    # Scales the last column of U without a write in place, which autograd would refuse.
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    return (u * flip[..., None, :]) @ vt


def matrix_loss(matrix: Tensor, rotation: Tensor, present: Tensor | None = None) -> Tensor:
    """Returns the mean of |M - R|^2 (Frobenius) over all rotations of all batch elements.

    The gradient is 2 (M - R): finite wherever M is, also at M = 0.

    Args:
        matrix, rotation: (..., 3, 3), same shape.
        present: bool (...), rotations that count, such as those of parts with points; all if None.

    Raises:
        ValueError: the shapes differ.

    >>> matrix_loss(torch.zeros(2, 5, 3, 3), torch.eye(3).expand(2, 5, 3, 3))
    tensor(3.)
    """
    _check_matrices("matrix", matrix)
    if matrix.shape != rotation.shape:
        raise ValueError(
            f"rotation has shape {tuple(rotation.shape)}; need that of matrix, "
            f"{tuple(matrix.shape)}"
        )
    square = (matrix - rotation).square().sum((-2, -1))
    if present is None:
        return square.mean()
    if present.shape != square.shape or present.dtype != torch.bool:
        raise ValueError(
            f"present has shape {tuple(present.shape)} and dtype {present.dtype}; need "
            f"{tuple(square.shape)}, one each, bool"
        )
    return (square * present).sum() / present.sum().clamp(min=1)


def rotation_angle(a: Tensor, b: Tensor) -> Tensor:
    """Returns the angle of a^T b in radians, in [0, pi]; accurate near 0 and near pi.

    The usual arccos((trace - 1) / 2) has a floor of about 0.03 degrees in float32.

    Args:
        a, b: rotations (..., 3, 3), broadcast against each other.

    Raises:
        ValueError: another shape.

    >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> float(rotation_angle(torch.eye(3), quarter).rad2deg())
    90.0
    """
    _check_matrices("a", a)
    _check_matrices("b", b)
    r = a.mT @ b
    skew = torch.stack(
        [r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1
    )
    return torch.atan2(skew.norm(dim=-1), r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)


def _check_matrices(name: str, value: Tensor) -> None:
    if value.ndim < 2 or value.shape[-2:] != (3, 3):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; need (..., 3, 3)")
