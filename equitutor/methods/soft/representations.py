"""Features with types: numbers as scalars, vectors and matrices, and how h acts on them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from equitutor.checks import check_count

Type = tuple[int, int]  # (p, q): p factors that turn with h, then q that turn with h^-T
TYPES: tuple[Type, ...] = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2))


def rank(kind: int | Type) -> Type:
    """Returns a type as the pair (p, q); a bare number p stands for (p, 0).

    >>> rank(2), rank((1, 1))
    ((2, 0), (1, 1))
    """
    pair = (kind, 0) if type(kind) is int else kind
    if not isinstance(pair, tuple) or {type(n) for n in pair} != {int} or pair not in TYPES:
        raise ValueError(f"type must be 0, 1, 2 or one of {TYPES}, got {kind!r}")
    return pair


def tensor_power(h: Tensor, kind: int | Type) -> Tensor:
    """Returns how h acts on tensors of one type: (..., d^r, d^r) for rank r = p + q.

    Args:
        h: invertible matrices (..., d, d).
        kind: a type of `TYPES`.

    >>> tensor_power(2 * torch.eye(2), 2)[0, 0].item(), tensor_power(2 * torch.eye(2), (0, 1))[0, 0]
    (4.0, tensor(0.5000))
    """
    p, q = rank(kind)
    _check_square("h", h)
    factors = [h] * p
    if q:
        inverse, singular = torch.linalg.inv_ex(h)
        if singular.any():
            raise ValueError(f"h must be invertible for the type {kind}, got a singular matrix")
        factors += [inverse.mT] * q
    out = h.new_ones(*h.shape[:-2], 1, 1)
    for factor in factors:
        out = _kron(out, factor)
    return out


def tensor_derivative(a: Tensor, kind: int | Type) -> Tensor:
    """Returns the derivative of `tensor_power(exp(t a), kind)` at t = 0: (..., d^r, d^r).

    >>> tensor_derivative(torch.eye(2), 2)[0, 0].item()
    2.0
    """
    p, q = rank(kind)
    _check_square("a", a)
    factors = [a] * p + [-a.mT] * q
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand_as(a)
    total = a.new_zeros(*a.shape[:-2], *[a.shape[-1] ** len(factors)] * 2)
    for k, factor in enumerate(factors):  # the product rule: one factor at a time is derived
        term = a.new_ones(*a.shape[:-2], 1, 1)
        for j in range(len(factors)):
            term = _kron(term, factor if j == k else eye)
        total = total + term
    return total


def _check_square(name: str, value: Tensor) -> None:
    """Raises a ValueError unless the value holds real or complex matrices (..., d, d)."""
    fits = isinstance(value, Tensor) and value.ndim > 1 and value.shape[-1] == value.shape[-2]
    if not fits or not (value.is_floating_point() or value.is_complex()):
        raise ValueError(f"{name} must be floating point (..., d, d), got {describe(value)}")


def describe(value: object) -> str:
    """Returns shape and dtype of a tensor, for messages, and the type of anything else.

    >>> describe(torch.zeros(2, 3)), describe([1.0])
    ('(2, 3), torch.float32', 'list')
    """
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}, {value.dtype}"
    return type(value).__name__


def _kron(a: Tensor, b: Tensor) -> Tensor:
    out = torch.einsum("...ij,...kl->...ikjl", a, b)
    return out.reshape(*out.shape[:-4], a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1])


@dataclass(frozen=True)
class Rep:
    """A feature space: how many tensors of each type lie one after another in a vector.

    Args:
        n0, n1, n2: numbers of scalars, vectors and matrices (d x d, row by row).
        d: dimension of the base space on which all groups act.
        n01, n11, n02: numbers of covectors, linear maps and bilinear forms, which turn with h^-T
            in place of h. For groups of rotations these differ from the above in name only.

    Raises ValueError for a number that is no int >= 0, or if there is nothing at all.

    >>> rep = Rep(5, 5, 0)
    >>> rep.size, Rep(n2=1).size, rep.rho(torch.eye(3)).shape
    (20, 9, torch.Size([20, 20]))
    """

    n0: int = 0
    n1: int = 0
    n2: int = 0
    d: int = 3
    n01: int = 0
    n11: int = 0
    n02: int = 0

    def __post_init__(self):
        check_count("d", self.d)
        for name in ("n0", "n1", "n2", "n01", "n11", "n02"):
            check_count(name, getattr(self, name), least=0)
        if self.size == 0:
            raise ValueError(f"a Rep must hold at least one tensor, got {self!r}")

    @property
    def counts(self) -> dict[Type, int]:
        """The number of tensors of each type that occurs, in the order in which they lie."""
        numbers = (self.n0, self.n1, self.n2, self.n01, self.n11, self.n02)
        return {kind: n for kind, n in zip(TYPES, numbers, strict=True) if n}

    @property
    def size(self) -> int:
        """The length of a feature vector.

        >>> Rep(1, 1, 1).size
        13
        """
        return sum(n * self.d ** sum(kind) for kind, n in self.counts.items())

    def parts(self) -> Iterator[tuple[Type, int, slice]]:
        """Yields type, number of tensors, and where they lie, for each type that occurs.

        >>> [(kind, n, (s.start, s.stop)) for kind, n, s in Rep(2, 1).parts()]
        [((0, 0), 2, (0, 2)), ((1, 0), 1, (2, 5))]
        """
        start = 0
        for kind, n in self.counts.items():
            stop = start + n * self.d ** sum(kind)
            yield kind, n, slice(start, stop)
            start = stop

    def split(self, x: Tensor) -> dict[Type, Tensor]:
        """Returns the tensors of each type: (..., n, d, ..., d), with one d for each rank.

        >>> {kind: tuple(t.shape) for kind, t in Rep(2, 1).split(torch.zeros(7, 5)).items()}
        {(0, 0): (7, 2), (1, 0): (7, 1, 3)}
        """
        self.check("x", x)
        return {
            kind: x[..., part].unflatten(-1, (n, *[self.d] * sum(kind)))
            for kind, n, part in self.parts()
        }

    def rho(self, h: Tensor) -> Tensor:
        """Returns the action (..., size, size) of matrices h (..., d, d)."""
        return self._blocks("h", h, tensor_power)

    def drho(self, a: Tensor) -> Tensor:
        """Returns the action (..., size, size) of directions a (..., d, d), such as `lie` holds."""
        return self._blocks("a", a, tensor_derivative)

    def check(self, name: str, x: Tensor) -> None:
        """Raises a ValueError that names the argument unless x is a batch (..., size)."""
        if not isinstance(x, Tensor) or x.ndim == 0 or x.shape[-1] != self.size:
            raise ValueError(f"{name} must be (..., {self.size}) for {self}, got {describe(x)}")

    def _blocks(self, name: str, h: Tensor, block) -> Tensor:
        _check_square(name, h)
        if h.shape[-1] != self.d:
            raise ValueError(f"{name} must be (..., {self.d}, {self.d}), got {describe(h)}")
        out = h.new_zeros(*h.shape[:-2], self.size, self.size)
        for kind, n, part in self.parts():
            eye = torch.eye(n, dtype=h.dtype, device=h.device).expand(*h.shape[:-2], n, n)
            out[..., part, part] = _kron(eye, block(h, kind))
        return out
