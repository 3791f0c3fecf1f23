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
