"""Matrix groups by their generators: all that an equivariance constraint needs to know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from equitutor.checks import check_count
from equitutor.groups import FiniteGroup
from equitutor.runtime import coarsest, tolerance, widest

Sampler = Callable[[int, torch.Generator | None], Tensor]
_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class MatrixGroup:
    """A group of invertible (d, d) matrices, given by generators.

    A linear map commutes with the whole group when it commutes with these: with the directions
    `lie`, whose exponentials make the connected part, and with a few elements `discrete`.

    Args:
        name: what figures and messages call it.
        d: size of the matrices, >= 1.
        lie: directions (n, d, d), floating point; None for a group without a continuous part.
        discrete: elements (m, d, d), floating point, invertible; None for a connected group.
        haar: function (n, generator) -> (n, d, d) that draws uniformly; None where no uniform
            distribution exists (the group is not compact) or none is known.
        dtype: the precision that the generators are known in; None takes the coarser one of `lie`
            and `discrete`, and float32 where their fractions all are float32 numbers, whatever
            dtype these are kept in. A turn by 120 degrees in float32 is not quite one: what counts
            as zero goes by this.

    Raises:
        ValueError: a shape does not fit, a number is not finite, or a matrix is not invertible.

    >>> quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    >>> MatrixGroup("C4", 2, discrete=quarter).orthogonal
    True
    >>> MatrixGroup("shear", 2, lie=torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])).orthogonal
    False
    """

    name: str
    d: int
    lie: Tensor | None = None
    discrete: Tensor | None = None
    haar: Sampler | None = field(default=None, repr=False)
    dtype: torch.dtype | None = field(default=None, repr=False)

    def __post_init__(self):
        check_count("d", self.d)
        if self.dtype is None:
            given = (t for t in (self.lie, self.discrete) if isinstance(t, Tensor))
            object.__setattr__(self, "dtype", coarsest(*map(_known_in, given)))
        elif self.dtype not in _DTYPES:
            raise ValueError(f"dtype must be one of {_DTYPES} or None, got {self.dtype!r}")
        for name in ("lie", "discrete"):
            object.__setattr__(self, name, _matrices(name, getattr(self, name), self.d))
        # Not by the determinant: that of a small multiple of the identity is small, too.
        least = self.d * torch.finfo(self.dtype).eps
        sizes = torch.linalg.svdvals(self.discrete)  # (m, d), the largest first
        if (sizes[:, -1] <= least * sizes[:, 0]).any():
            raise ValueError(
                f"discrete must hold invertible matrices, got {self.discrete.tolist()}"
            )
        if self.haar is not None and not callable(self.haar):
            raise ValueError(f"haar must be a function or None, got {self.haar!r}")

    @cached_property
    def key(self) -> tuple:
        """The generators as a hashable value: two groups with equal ones share cached results."""
        return self.d, self.dtype, str(self.lie.tolist()), str(self.discrete.tolist())

    @property
    def orthogonal(self) -> bool:
        """Whether all elements keep lengths, in the precision that they are known in."""
        gram = self.discrete @ self.discrete.mT - _eye(self.d)
        skew = self.lie + self.lie.mT
        size = self.lie.abs().amax((-2, -1), keepdim=True)
        small = tolerance(self.dtype)
        return bool((gram.abs() < small).all() and (skew.abs() <= small * size).all())

    def sample(
        self, n: int, generator: torch.Generator | None = None, how: str | None = None
    ) -> Tensor:
        """Returns n random elements (n, d, d), float64.

        Args:
            n: number of elements, >= 1.
            generator: source of randomness; None uses torch's global one.
            how: "haar", uniform; or "lie", the exponential of a standard normal combination of the
                `lie` directions times a random word in the `discrete` elements, which every group
                has. None takes "haar" where there is one.

        Raises ValueError for another `how`, or for "haar" where the group has none.

        >>> h = O(3).sample(5)
        >>> torch.allclose(h @ h.mT, torch.eye(3, dtype=torch.float64))
        True
        """
        check_count("n", n)
        if generator is not None and not isinstance(generator, torch.Generator):
            raise ValueError(f"generator must be a torch.Generator or None, got {generator!r}")
        if how is None:
            how = "lie" if self.haar is None else "haar"
        if how not in ("haar", "lie"):
            raise ValueError(f"how must be 'haar', 'lie' or None, got {how!r}")
        if how == "lie":
            return self._words(n, generator)
        if self.haar is None:
            raise ValueError(f"how is 'haar', but {self.name} has no uniform sampler; use 'lie'")
        return self.haar(n, generator)

    def _words(self, n: int, generator: torch.Generator | None) -> Tensor:
        weights = torch.randn(n, len(self.lie), generator=generator, dtype=self.lie.dtype)
        h = torch.linalg.matrix_exp(torch.einsum("nk,kij->nij", weights, self.lie))
        letters = torch.cat([_eye(self.d)[None], self.discrete])
        for _ in range(4 if len(self.discrete) else 0):
            h = letters[torch.randint(len(letters), (n,), generator=generator)] @ h
        return h


def O(n: int) -> MatrixGroup:  # noqa: E743 - the name every textbook gives it
    """Returns O(n), the rotations and reflections of n-dimensional space.

    >>> O(3).name, O(3).lie.shape, O(3).discrete.diagonal(0, 1, 2).tolist()
    ('O(3)', torch.Size([3, 3, 3]), [[-1.0, 1.0, 1.0]])
    """
    check_count("n", n)
    return MatrixGroup(f"O({n})", n, _skew(n), _flip(n, 0), _haar(n, False))


def SO(n: int) -> MatrixGroup:
    """Returns SO(n), the rotations of n-dimensional space.

    >>> SO(2).lie.tolist()
    [[[0.0, -1.0], [1.0, 0.0]]]
    """
    check_count("n", n)
    return MatrixGroup(f"SO({n})", n, _skew(n), haar=_haar(n, True))


def embed_O2(axes: tuple[int, int], d: int = 3) -> MatrixGroup:
    """Returns O(2) acting on two axes of d-dimensional space and leaving the others alone.

    Args:
        axes: two different axes, each in 0 ... d - 1.
        d: dimension of the space, >= 2.

    >>> embed_O2((0, 1)).name
    'O(2)_xy'
    """
    check_count("d", d, least=2)
    sound = isinstance(axes, tuple | list) and len(axes) == 2 and axes[0] != axes[1]
    if not sound or not all(type(a) is int and 0 <= a < d for a in axes):
        raise ValueError(f"axes must be two different axes in 0 ... {d - 1}, got {axes!r}")
    plane = _eye(d)[:, list(axes)]
    rest = _eye(d) - plane @ plane.T
    lie = plane @ _skew(2) @ plane.T
    draw = _haar(2, False)
    return MatrixGroup(
        "O(2)_" + "".join(axis_name(a, d) for a in axes), d, lie, _flip(d, axes[0]),
        lambda n, generator=None: plane @ draw(n, generator) @ plane.T + rest,
    )  # fmt: skip


def reflection(axis: int, d: int = 3) -> MatrixGroup:
    """Returns the group of two elements: the identity, and minus one on one axis.

    >>> reflection(2).name, reflection(2).discrete.diagonal(0, 1, 2).tolist()
    ('flip z', [[1.0, 1.0, -1.0]])
    """
    check_count("d", d)
    if type(axis) is not int or not 0 <= axis < d:
        raise ValueError(f"axis must be an int in 0 ... {d - 1}, got {axis!r}")
    mirror = _flip(d, axis)
    both = torch.cat([_eye(d)[None], mirror])
    return MatrixGroup(f"flip {axis_name(axis, d)}", d, None, mirror, _uniform(both))


def scaling(n: int) -> MatrixGroup:
    """Returns the multiples of the identity by positive numbers; not compact, so without Haar.

    >>> scaling(3).lie.shape, scaling(3).haar is None
    (torch.Size([1, 3, 3]), True)
    """
    check_count("n", n)
    return MatrixGroup("scale", n, _eye(n)[None])


def join(name: str, groups: Sequence[MatrixGroup]) -> MatrixGroup:
    """Returns the smallest group that holds all of the given ones, such as SO(3) with scaling.

    >>> join("SO(3) x scale", [SO(3), scaling(3)]).lie.shape
    torch.Size([4, 3, 3])
    """
    groups = check_groups(groups)
    if len({group.d for group in groups}) > 1:
        sizes = [group.d for group in groups]
        raise ValueError(f"groups must be at least one, all of one size d, got sizes {sizes}")
    parts = (torch.cat([getattr(group, kind) for group in groups]) for kind in ("lie", "discrete"))
    return MatrixGroup(name, groups[0].d, *parts, dtype=coarsest(*(g.dtype for g in groups)))


def finite(group: FiniteGroup) -> MatrixGroup:
    """Returns a finite group of `equitutor.groups` as a matrix group.

    >>> from equitutor.groups import cyclic
    >>> finite(cyclic(4)).sample(10).shape
    torch.Size([10, 2, 2])
    """
    if not isinstance(group, FiniteGroup):
        raise ValueError(f"group must be a FiniteGroup, got {type(group).__name__}")
    haar = _uniform(group.elements.to(widest()))
    return MatrixGroup(group.name, group.dimension, None, group.elements, haar)


def axis_name(axis: int, d: int) -> str:
    """Returns x, y, z for the axes of space, and a number beyond it."""
    return "xyz"[axis] if d <= 3 else str(axis)


def check_groups(groups: Sequence[MatrixGroup]) -> tuple[MatrixGroup, ...]:
    """Returns the groups as a tuple; ValueError unless it is a sequence of at least one."""
    if not isinstance(groups, list | tuple) or not groups:
        raise ValueError(f"groups must hold at least one MatrixGroup, got {groups!r}")
    for group in groups:
        check_group(group)
    return tuple(groups)


def check_group(group: MatrixGroup) -> None:
    """Raises a ValueError unless the group is one."""
    if not isinstance(group, MatrixGroup):
        raise ValueError(f"group must be a MatrixGroup, got {group!r}")


def _matrices(name: str, value: Tensor | None, d: int) -> Tensor:
    """Returns a copy in float64 on the CPU, which nobody else can change."""
    if value is None:
        return torch.zeros(0, d, d, dtype=widest())
    if not isinstance(value, Tensor) or value.ndim != 3 or value.shape[1:] != (d, d):
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} must be a tensor (n, {d}, {d}), got {found}")
    if value.is_complex() or value.dtype == torch.bool:
        raise ValueError(f"{name} must hold real numbers, got {value.dtype}")
    value = value.detach().cpu().to(widest(), copy=True)
    if not value.isfinite().all():
        raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
    return value.contiguous()


def _known_in(value: Tensor) -> torch.dtype:
    """Returns the precision of numbers: that of float32 also where they were widened later."""
    whole = not value.is_floating_point() or bool((value == value.round()).all())
    narrow = value.dtype == torch.float64 and bool((value == value.float()).all())
    return torch.float32 if narrow and not whole else value.dtype


def _skew(n: int) -> Tensor:
    """Returns the n (n - 1) / 2 planes of rotation (k, n, n), each from axis i to axis j > i."""
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    lie = torch.zeros(len(pairs), n, n, dtype=widest())
    for k, (i, j) in enumerate(pairs):
        lie[k, j, i], lie[k, i, j] = 1, -1
    return lie


def _flip(d: int, axis: int) -> Tensor:
    mirror = _eye(d)
    mirror[axis, axis] = -1
    return mirror[None]


def _eye(d: int) -> Tensor:
    return torch.eye(d, dtype=widest())


def _haar(size: int, special: bool) -> Sampler:
    def draw(n: int, generator: torch.Generator | None = None) -> Tensor:
        normal = torch.randn(n, size, size, generator=generator, dtype=widest())
        q, r = torch.linalg.qr(normal)
        q = q * r.diagonal(0, 1, 2).sign()[:, None]  # without this the law is not uniform
        if special:  # turn a reflection into a rotation by its first column
            q = torch.cat([q[..., :1] * torch.linalg.det(q)[:, None, None], q[..., 1:]], -1)
        return q

    return draw


def _uniform(elements: Tensor) -> Sampler:
    def draw(n: int, generator: torch.Generator | None = None) -> Tensor:
        return elements[torch.randint(len(elements), (n,), generator=generator)]

    return draw
