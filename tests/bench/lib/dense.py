"""The projector of a whole layer as one would write it first, to compare the blockwise one with."""

from torch import Tensor

from equitutor.methods.soft import MatrixGroup, Rep, projectors


def dense_projector(group: MatrixGroup, rep_in: Rep, rep_out: Rep) -> Tensor:
    """Returns the projector of a layer, (in * out, in * out), from one dense solve.

    Its cost grows like (in * out)^3.

    >>> from equitutor.methods.soft import O
    >>> round(dense_projector(O(2), Rep(1, 1, d=2), Rep(1, 1, d=2)).trace().item())
    2
    """
    lie = projectors._unit(group.lie)
    solved = projectors._solve(
        rep_in.drho(lie), rep_out.drho(lie),
        rep_in.rho(group.discrete), rep_out.rho(group.discrete),
    )  # fmt: skip
    return projectors._kernel(group, *solved)


def clear_cache() -> None:
    """Forgets all blocks that were solved."""
    projectors._known.clear()
    projectors._cast.cache_clear()
