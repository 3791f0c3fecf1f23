"""The nearest equivariant matrix: solved once for each pair of types, in float64, and kept."""

from functools import lru_cache

import torch
from torch import Tensor

from equitutor.methods.soft.groups import MatrixGroup, check_group
from equitutor.methods.soft.representations import (
    Rep,
    Type,
    describe,
    rank,
    tensor_derivative,
    tensor_power,
)
from equitutor.runtime import tolerance

_CLEAR = 4  # times the tolerance: nearer to it, a singular value may be zero or not
_known: dict[tuple, Tensor] = {}


def hom_projector(group: MatrixGroup, a: int | Type, b: int | Type) -> Tensor:
    """Returns the projector (D, D), D = d^(rank a + rank b), onto the equivariant maps a -> b.

    It acts on a matrix (d^rank b, d^rank a) laid out row by row, and its trace is the number of
    independent equivariant maps. The result is float64, on the CPU, and shared: do not change it.

    Args:
        group: the group that both types belong to.
        a, b: types of input and output, 0, 1, 2 or a pair (p, q).

    What counts as zero goes by the precision that the generators are known in, `MatrixGroup.dtype`.

    Raises ValueError where that precision does not tell: a turn by one degree in bfloat16 may be
    none.

    Source: Finzi, Welling, Wilson, 2021 (the constraint); Kim et al., 2023 (the projector).

    >>> from equitutor.methods.soft import O, SO
    >>> [round(hom_projector(O(3), a, b).trace().item()) for a, b in ((1, 1), (1, 2), (2, 2))]
    [1, 0, 3]
    >>> round(hom_projector(SO(3), 1, 2).trace().item())         # the cross product
    1
    """
    check_group(group)
    a, b = rank(a), rank(b)
    key = (group.key, a, b)
    if key not in _known:
        with torch.inference_mode(False):  # kept for later, when gradients may be wanted
            solved = _solve(
                tensor_derivative(_unit(group.lie), a),
                tensor_derivative(_unit(group.lie), b),
                tensor_power(group.discrete, a),
                tensor_power(group.discrete, b),
            )
            _known[key] = _kernel(group, *solved)
    return _known[key]


def _unit(lie: Tensor) -> Tensor:
    """Returns directions of length one, so that none counts as zero beside a longer one."""
    return lie / lie.norm(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(lie.dtype).tiny)


def _solve(
    lie_in: Tensor, lie_out: Tensor, discrete_in: Tensor, discrete_out: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns singular values and vectors of W -> B W - W A for all generators, W row by row.

    Row by row, B W is (B x 1) vec W and W A is (1 x A^T) vec W. Each pair of elements is divided by
    its size first: what is left of B W = W A by rounding alone is then small next to 1, also where
    nothing else is left, as for a half-turn between matrices and numbers.
    """
    size = torch.maximum(*(h.norm(dim=(-2, -1)) for h in (discrete_in, discrete_out)))
    discrete_in, discrete_out = (h / size[:, None, None] for h in (discrete_in, discrete_out))
    matrices_in = torch.cat([lie_in, discrete_in])
    matrices_out = torch.cat([lie_out, discrete_out])
    n, m = matrices_in.shape[-1], matrices_out.shape[-1]
    eye_in, eye_out = (torch.eye(k).to(matrices_in) for k in (n, m))
    if not len(matrices_in):  # the trivial group asks for nothing
        return matrices_in.new_zeros(n * m), torch.eye(n * m).to(matrices_in)
    constraint = torch.cat(
        [
            torch.kron(b, eye_in) - torch.kron(eye_out, a.T.contiguous())
            for a, b in zip(matrices_in, matrices_out, strict=True)
        ]
    )
    _, size, rows = torch.linalg.svd(constraint, full_matrices=False)
    return size, rows


def _kernel(group: MatrixGroup, size: Tensor, rows: Tensor) -> Tensor:
    """Returns the projector onto what has singular value zero, as far as the group is known."""
    small = tolerance(group.dtype)
    # What float32 cannot tell from zero is no small number of a wider dtype: it is rounding, of
    # generators that were computed in float32 and widened.
    unclear = _CLEAR * max(small, tolerance(torch.float32))
    if ((size > small) & (size <= unclear)).any():
        way = "a wider dtype" if small >= tolerance(torch.float32) else (
            "generators computed in it, or say in which dtype they are known (dtype=torch.float32)"
        )  # fmt: skip
        raise ValueError(
            f"group must be known well enough to count its equivariant maps: in {group.dtype}, "
            f"the generators of {group.name} are too near to keeping one: give {way}"
        )
    null = rows[size <= small]
    return null.T @ null


@lru_cache(maxsize=4096)
def _cast(key: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return _known[key].to(device, dtype)


class TypedProjector:
    """Takes the weight and the bias of a layer to the nearest equivariant ones, block by block.

    Args:
        group: the group.
        rep_in, rep_out: feature spaces of the layer, over the base space of the group.

    Raises ValueError if their dimension is not that of the group.

    Source: Kim et al., 2023. Exact: the projector of a sum of types is the sum of the projectors.

    >>> from equitutor.methods.soft import O
    >>> p = TypedProjector(O(3), Rep(0, 2), Rep(0, 1))
    >>> p.weight(torch.arange(18.0).view(3, 6)).round().int()     # multiples of the identity
    tensor([[ 7,  0,  0, 10,  0,  0],
            [ 0,  7,  0,  0, 10,  0],
            [ 0,  0,  7,  0,  0, 10]], dtype=torch.int32)
    >>> p.codim()
    19
    """

    def __init__(self, group: MatrixGroup, rep_in: Rep, rep_out: Rep):
        check_reps(group, rep_in, rep_out)
        self.group, self.rep_in, self.rep_out = group, rep_in, rep_out

    def weight(self, w: Tensor) -> Tensor:
        """Returns the nearest equivariant weight; w is (..., out, in), leading axes are seeds."""
        check_weight(w, self.rep_in, self.rep_out)
        return map_blocks(w, self.rep_in, self.rep_out, lambda a, b: self.block(a, b, w))

    def bias(self, b: Tensor) -> Tensor:
        """Returns the nearest invariant bias; b is (..., out)."""
        self.rep_out.check("b", b)
        _check_dtype("b", b)
        one = Rep(1, d=self.group.d)
        return map_blocks(
            b[..., None], one, self.rep_out, lambda p, q: self.block(p, q, b)
        ).squeeze(-1)

    def dim(self) -> int:
        """Returns the number of independent equivariant weights and biases."""
        into = {**self.rep_in.counts}
        into[0, 0] = into.get((0, 0), 0) + 1  # a bias is the weight of an input that is always 1
        return sum(
            n * m * round(hom_projector(self.group, a, b).trace().item())
            for a, n in into.items()
            for b, m in self.rep_out.counts.items()
        )

    def codim(self) -> int:
        """Returns how many of the layer's directions, weights and biases, break the symmetry."""
        return (self.rep_in.size + 1) * self.rep_out.size - self.dim()

    def block(self, a: Type, b: Type, like: Tensor) -> Tensor:
        """Returns the projector of one pair of types, in the dtype and on the device of `like`."""
        hom_projector(self.group, a, b)
        return _cast((self.group.key, a, b), like.dtype, like.device)


def map_blocks(w: Tensor, rep_in: Rep, rep_out: Rep, matrix) -> Tensor:
    """Returns w (..., out, in) with the matrix (..., D, D) of each pair of types on its blocks.

    Args:
        w: weights, not checked.
        rep_in, rep_out: their feature spaces.
        matrix: function (type in, type out) -> (D, D) or (..., D, D), on blocks row by row.
    """
    rows = []
    for b, m, out_part in rep_out.parts():
        columns = []
        for a, n, in_part in rep_in.parts():
            p, q = rep_out.d ** sum(b), rep_in.d ** sum(a)
            block = w[..., out_part, in_part].unflatten(-1, (n, q)).unflatten(-3, (m, p))
            flat = block.movedim(-3, -2).flatten(-4, -3).flatten(-2)  # (..., m n, p q)
            flat = flat @ matrix(a, b).mT
            block = flat.unflatten(-1, (p, q)).unflatten(-3, (m, n)).movedim(-2, -3)
            columns.append(block.flatten(-4, -3).flatten(-2))  # (..., m p, n q)
        rows.append(torch.cat(columns, -1))
    return torch.cat(rows, -2)


def check_weight(w: Tensor, rep_in: Rep, rep_out: Rep) -> None:
    """Raises a ValueError unless w is (..., out, in)."""
    fits = isinstance(w, Tensor) and w.shape[-2:] == (rep_out.size, rep_in.size)
    if not fits:
        raise ValueError(f"w must be (..., {rep_out.size}, {rep_in.size}), got {describe(w)}")
    _check_dtype("w", w)


def _check_dtype(name: str, value: Tensor) -> None:
    # In a dtype of integers the projector itself would be rounded, mostly to zero.
    if not (value.is_floating_point() or value.is_complex()):
        raise ValueError(f"{name} must be floating point, got {value.dtype}")


def check_reps(group: MatrixGroup, rep_in: Rep, rep_out: Rep) -> None:
    """Raises a ValueError unless the feature spaces lie over the base space of the group."""
    check_group(group)
    for name, rep in (("rep_in", rep_in), ("rep_out", rep_out)):
        if not isinstance(rep, Rep):
            raise ValueError(f"{name} must be a Rep, got {rep!r}")
        if rep.d != group.d:
            raise ValueError(f"{name} has d = {rep.d}, but {group.name} acts on {group.d}")
