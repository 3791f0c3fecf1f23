"""Fingerprints: what computes the same has the same one, what does not has another."""

import copy
import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from equitutor.fingerprint import fingerprint

SCALE = 2.0
SETTINGS = {"a": 1}

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def form(value):
    """Returns plain values in a form that tells types apart and knows no order of keys."""
    if isinstance(value, dict):
        return "dict", sorted(repr((form(k), form(v))) for k, v in value.items())
    if isinstance(value, list):
        return "list", list(map(form, value))
    return type(value).__name__, repr(value)


@settings(max_examples=100)
@given(plain, plain)
def test_plain_values(a, b):
    assert fingerprint(a) == fingerprint(copy.deepcopy(a))
    assert (fingerprint(a) == fingerprint(b)) == (repr(form(a)) == repr(form(b)))


@given(st.dictionaries(st.text(), st.integers()))
def test_the_order_of_keys_does_not_count(a):
    assert fingerprint(a) == fingerprint(dict(reversed(a.items())))


@settings(max_examples=60)
@given(
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool,
                     torch.complex64]),
    st.lists(st.integers(0, 4), max_size=3),
    st.data(),
)  # fmt: skip
def test_every_number_of_a_tensor_counts(dtype, shape, data):
    x = (torch.randn(shape) > 0).to(dtype)
    assert fingerprint(x) == fingerprint(x.clone())
    assert fingerprint(x) != fingerprint(x[None])
    if x.numel():
        other = x.clone().flatten()
        k = data.draw(st.integers(0, x.numel() - 1))
        other[k] = other[k].logical_not() if dtype == torch.bool else other[k] + 1
        assert fingerprint(other.reshape(shape)) != fingerprint(x)


def test_tensors_of_all_kinds():
    x = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(x.T) == fingerprint(x.T.contiguous())
    assert fingerprint(x.T) != fingerprint(x)
    assert fingerprint(x) != fingerprint(x.double())
    assert fingerprint(x) != fingerprint(x.numpy())
    assert fingerprint(x.to_sparse()) == fingerprint(x.to_sparse())
    z = torch.complex(x, x)
    assert fingerprint(z.conj()) == fingerprint(z.conj().resolve_conj()) != fingerprint(z)
    assert fingerprint(torch.tensor(1.0)) != fingerprint(torch.tensor([1.0]))
    assert fingerprint(np.array(1.0)) != fingerprint(np.array([1.0]))
    many = np.array([{"a": k} for k in range(2000)], dtype=object)
    other = many.copy()
    other[1000] = {"a": -1}
    assert fingerprint(many) != fingerprint(other)
    assert fingerprint(np.zeros((2, 4))[:, ::2]) == fingerprint(np.zeros((2, 2)))


def scaled(factor):
    return lambda x: factor * x


def nested(x):
    return [SCALE * y for y in (lambda z: [z])(x)]


class Scaled:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self._apply(x)

    def _apply(self, x):
        return self.factor * x


class Shifted(Scaled):
    def _apply(self, x):
        return self.factor + x


class Empty:
    def __call__(self, x):
        return x


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


@dataclasses.dataclass(frozen=True)
class Both:
    a: torch.Tensor
    b: float = 1.0

    def __call__(self, x):
        return self.a * x


class Net(nn.Module):
    def __init__(self, slope=0.1):
        super().__init__()
        self.slope = slope
        self.layer = nn.Linear(2, 2)
        self.register_buffer("hidden", torch.zeros(1), persistent=False)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x):
        return F.leaky_relu(self.layer(x), self.slope)


class Negative(Net):
    def forward(self, x):
        return -super().forward(x)


def changed(thing, change):
    change(thing)
    return thing


ones, twos = torch.ones(2), torch.full((2,), 2.0)
EQUAL = {
    "lambda": lambda: lambda x: x * 2,
    "closure": lambda: scaled(2.0),
    "default": lambda: lambda x, y=ones: x * y,
    "partial": lambda: functools.partial(scaled, factor=2.0),
    "method": lambda: Scaled(2.0)._apply,
    "builtin method": lambda: ones.mul,
    "object": lambda: Scaled(2.0),
    "empty object": Empty,
    "slots": lambda: Slotted(1),
    "dataclass": lambda: Both(ones.clone()),
    "module": Net,
    "loss": lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    "sequence of modules": lambda: nn.Sequential(nn.ReLU(), Net()),
    "generator": lambda: torch.Generator().manual_seed(3),
    "set": lambda: {"b", "a", "c"},
    "class": lambda: Net,
    "function of torch": lambda: F.mse_loss,
    "builtin": lambda: len,
    "dtype": lambda: torch.float32,
    "path": lambda: Path("a/b"),
    "range": lambda: range(10**12),
    "numpy number": lambda: np.int64(3),
}
OTHER = {
    "lambda": lambda: lambda x: x * 3,
    "closure": lambda: scaled(3.0),
    "default": lambda: lambda x, y=twos: x * y,
    "partial": lambda: functools.partial(scaled, factor=3.0),
    "method": lambda: Shifted(2.0)._apply,
    "builtin method": lambda: twos.mul,
    "object": lambda: Shifted(2.0),
    "empty object": lambda: object,
    "slots": lambda: Slotted(2),
    "dataclass": lambda: Both(twos),
    "module": lambda: Net(0.2),
    "loss": lambda: nn.CrossEntropyLoss(label_smoothing=0.2),
    "sequence of modules": lambda: nn.Sequential(nn.ReLU(), Negative()),
    "generator": lambda: torch.Generator().manual_seed(4),
    "set": lambda: {"b", "a", "d"},
    "class": lambda: Negative,
    "function of torch": lambda: F.l1_loss,
    "builtin": lambda: max,
    "dtype": lambda: torch.float64,
    "path": lambda: Path("a/c"),
    "range": lambda: range(10**12 + 1),
    "numpy number": lambda: np.int64(4),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_equal_things_have_equal_ones_and_others_others(kind):
    assert fingerprint(EQUAL[kind]()) == fingerprint(EQUAL[kind]())
    assert fingerprint(EQUAL[kind]()) != fingerprint(OTHER[kind]())


def test_the_same_in_another_process():
    names = [n for n in EQUAL if n != "set"] + ["set"]
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_fingerprint "
        f"as t; print([t.fingerprint(t.EQUAL[n]()) for n in {names!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert eval(done.stdout) == [fingerprint(EQUAL[n]()) for n in names]


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.layer.bias.data.add_(1e-6),
        lambda net: net.hidden.add_(1),
        lambda net: setattr(net, "slope", 0.2),
    ],
)
def test_weights_buffers_and_settings_of_a_module_count(change):
    assert fingerprint(changed(Net(), change)) != fingerprint(Net())


def test_the_mode_of_a_module_does_not_count():
    """It changes on the way, and every run sets its own."""
    assert fingerprint(Net().eval()) == fingerprint(Net().train())


@pytest.mark.parametrize(
    "one, two",
    [
        (lambda x: (x, 1), lambda x: (x, True)),
        (lambda x: x, lambda *x: x),
        (lambda x, y: x, lambda x, y: y),
        (lambda x: x.sin(), lambda x: x.cos()),
        (lambda x: {1, 2}, lambda x: {1, 3}),
        (lambda x: lambda: 1, lambda x: lambda: 2),
        (1, 1.0),
        ("1", b"1"),
        ([1, 2], (1, 2)),
        ([[1], 2], [[1, 2]]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    ],
)
def test_small_differences(one, two):
    assert fingerprint(one) != fingerprint(two)


def test_a_try_and_what_is_outside_of_it_differ():
    def inside(x):
        try:
            x.a()
            x.b()
        except ValueError:
            x = None

    def outside(x):
        try:
            x.a()
        except ValueError:
            x = None
        x.b()

    assert fingerprint(inside) != fingerprint(outside)


def test_globals_count(monkeypatch):
    uses = [nested, lambda x: SCALE * x, lambda x: SETTINGS["a"], lambda x: nested(x)]
    before = [fingerprint(use) for use in uses]
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    monkeypatch.setitem(SETTINGS, "a", 2)
    assert all(fingerprint(use) != old for use, old in zip(uses, before, strict=True))


def test_names_of_variables_and_other_globals_do_not_count(monkeypatch):
    def one(x):
        a = 2 * x
        return a

    def two(y):
        b = 2 * y
        return b

    before = fingerprint(one)
    assert fingerprint(two) == before
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert fingerprint(one) == before


def test_what_cannot_be_looked_into_equals_nothing():
    running = (k for k in range(3))
    assert fingerprint(running) != fingerprint(running)
    assert fingerprint(iter([1])) != fingerprint(iter([1]))


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


def test_circles_end():
    a, b = [1], [1]
    a.append(a)
    b.append(b)
    assert fingerprint(a) == fingerprint(b) != fingerprint([1, [1]])
    assert fingerprint(even) != fingerprint(odd)
    thing = Scaled(1)
    thing.factor = {"me": thing}
    assert len(fingerprint(thing)) == 64


def test_what_is_shared_is_looked_at_once():
    tree = [1]
    for _ in range(60):
        tree = [tree, tree]
    assert fingerprint(tree) == fingerprint(copy.deepcopy(tree))  # else it takes 2**60 steps
