"""Rotations of space: built from vectors, found as a mean or as the nearest one, compared.

All are matrices (..., 3, 3) that act on columns from the left. Random ones: `groups.haar_so3`.

>>> import torch
>>> from equitutor import rotations
>>> turn = rotations.rotation_of(torch.tensor([0.0, 0.0, 0.5]))  # about z, radians
>>> rotations.rotation_angle(torch.eye(3), turn)
tensor(0.5000)
"""

import torch
from torch import Tensor

from equitutor.runtime import widest

__all__ = [
    "matrix_loss",
    "project_so3",
    "rotation_angle",
    "rotation_matrix",
    "rotation_near_identity",
    "rotation_of",
    "smallest_rotation",
    "weighted_rotation_mean",
]


def rotation_matrix(axis: Tensor, angle: Tensor) -> Tensor:
    """Returns rotations (n, 3, 3) about unit axes (n, 3) by angles (n,) in radians, float64.

    >>> quarter = torch.tensor([torch.pi / 2], dtype=torch.float64)
    >>> R = rotation_matrix(torch.tensor([[0.0, 0.0, 1.0]]), quarter)
    >>> (R[0] @ torch.tensor([1.0, 0.0, 0.0]).double()).allclose(torch.eye(3).double()[1])
    True
    """
    axis, angle = (t.to(widest(t.device)) for t in (axis, angle))
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    s, c = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return torch.eye(3).to(k) + s * k + (1 - c) * (k @ k)  # Rodrigues


def rotation_of(vector: Tensor) -> Tensor:
    """Returns the rotations (..., 3, 3) of axis-angle vectors (..., 3), in radians.

    >>> rotation_of(torch.tensor([0.0, 0.0, torch.pi])).diagonal().round()
    tensor([-1., -1.,  1.])
    """
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    return torch.matrix_exp(torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3)))


def rotation_near_identity(vector: Tensor) -> Tensor:
    """Returns rotations (..., 3, 3) of vectors (..., 3): the unit quaternion along (1, v / 2).

    About v is the axis times the angle while that is small; no square root has to be guarded.

    >>> rotation_near_identity(torch.zeros(3)).diagonal()
    tensor([1., 1., 1.])
    """
    q = torch.cat([torch.ones_like(vector[..., :1]), vector / 2], -1)
    w, x, y, z = torch.nn.functional.normalize(q, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def smallest_rotation(a: Tensor, b: Tensor) -> Tensor:
    """Returns the rotation about ``a x b`` that takes each unit vector a to b, ``(n, 3, 3)``.

    Example:
        >>> smallest_rotation(torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]]))[0, 1]
        tensor([1., 0., 0.])
    """
    x, y, z = torch.linalg.cross(a, b).unbind(1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], 1).view(-1, 3, 3)
    cosine = (a * b).sum(1)[:, None, None].clamp(min=-1 + 1e-9)  # opposite: any axis would do
    return torch.eye(3, dtype=a.dtype) + cross + cross @ cross / (1 + cosine)


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

    It commutes with rotations from both sides. Its gradient is exact wherever one rotation is
    nearest, at every rotation itself too. It grows like 1 / (s2 + s3) of the two smallest singular
    values (1 / (s2 - s3) where det M < 0). Where that sum is zero, as at M = 0 or M = -1, many
    rotations are nearest and there is no gradient: the directions in which it would be infinite
    then get zero. Train with `matrix_loss` on M, and project for metrics, or for a vertex loss late
    in training.

    Args:
        matrix: (..., 3, 3), floating point. One with nan or infinity has no nearest rotation: the
            result is nan for that matrix alone.

    Raises:
        ValueError: another shape, or integers.

    Source: the special orthogonal Procrustes problem; Levinson et al., NeurIPS 2020.

    >>> project_so3(torch.diag(torch.tensor([3.0, 2.0, -1.0])))
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    _check_matrices("matrix", matrix)
    if not matrix.is_floating_point():
        raise ValueError(f"matrix has dtype {matrix.dtype}; need floating-point numbers")
    # Values are not looked at: a GPU would have to wait for it. The SVD refuses what is not finite.
    finite = matrix.isfinite().all(-1).all(-1)[..., None, None]
    eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    return _Projection.apply(matrix.where(finite, eye)).where(finite, torch.nan)


class _Projection(torch.autograd.Function):
    """The nearest rotation, with a derivative of its own.

    That of the SVD divides by s_i^2 - s_j^2, which is zero at every rotation, although the product
    U V^T does not care how U and V turn together. Let M = R H, where H = R^T M is symmetric, and
    R^T dR = [w]_x, the antisymmetric matrix of a vector w. Then R^T dM = [w]_x H + dH, and the
    antisymmetric part, in which dH is gone, reads as vectors
        vec(R^T dM) = (tr(H) - H) w,   vec(A) = (A_32 - A_23, A_13 - A_31, A_21 - A_12).
    The matrix tr(H) - H has the eigenvalues s_i + s_j, the last s with the sign of det M. So the
    gradient G of R becomes R [k]_x of M, with k the solution of (tr(H) - H) k = vec(R^T G). All of
    it is differentiable once more: it uses no U, S, V.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor) -> Tensor:
        u, _, vt = torch.linalg.svd(matrix)
        sign = torch.linalg.det(u @ vt).sign()
        flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
        return (u * flip[..., None, :]) @ vt

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx, grad):
        matrix, rotation = ctx.saved_tensors
        h = rotation.mT @ matrix
        h = (h + h.mT) / 2
        eye = torch.eye(3, dtype=h.dtype, device=h.device)
        sums = h.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] * eye - h
        # The pseudo-inverse leaves out directions with s_i + s_j = 0, which have no derivative.
        limits = torch.finfo(h.dtype)
        inverse = torch.linalg.pinv(sums, atol=limits.tiny, rtol=8 * limits.eps, hermitian=True)
        k = inverse @ _vector(rotation.mT @ grad)[..., None]
        x, y, z = k[..., 0].unbind(-1)
        o = torch.zeros_like(x)
        cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))
        return rotation @ cross


def _vector(a: Tensor) -> Tensor:
    """Returns the vector (..., 3) of the antisymmetric part of matrices, twice as long."""
    return torch.stack(
        [a[..., 2, 1] - a[..., 1, 2], a[..., 0, 2] - a[..., 2, 0], a[..., 1, 0] - a[..., 0, 1]], -1
    )


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
    return torch.atan2(_vector(r).norm(dim=-1), r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)


def _check_matrices(name: str, value: Tensor) -> None:
    if value.ndim < 2 or value.shape[-2:] != (3, 3):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; need (..., 3, 3)")
