"""What the meter promises: any precision, any model, no verdict that can be bought.

The three kinds of the table in CONTRIBUTING.md. Each promise is kept for neighbors of the input
that once broke it, and each check has a twin that fails.
"""

import dataclasses
import importlib
import math
import random
import weakref
from collections import OrderedDict, UserDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from equitutor import actions, groups, orbits, runtime
from equitutor.diagnose.repairs import Anchored, Circular
from equitutor.diagnose.watching import Watch
from equitutor.methods import soft
from equitutor.models import velocimetry
from equitutor.nero.payload import all_series, consensus_scores
from equitutor.orbits import (
    OrbitResult,
    assert_equivariant,
    diagnose,
    equivariance_error,
    evaluate,
    merge,
    metrics,
    round_trip,
    shifts,
    so2,
    so3_disk,
    so3_haar,
)
from equitutor.orbits.models import lent, modules_of

quick = settings(deadline=None, max_examples=25)
HALVES = (torch.float16, torch.bfloat16)
FLOATS = (*HALVES, torch.float32, torch.float64)


def noise(*shape, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=draw, dtype=torch.float64).to(dtype)


class NoFloat64(TorchDispatchMode):
    """Refuses to make a float64 tensor, as Apple's MPS does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, out)):
            if isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return out


@pytest.fixture
def no_float64():
    with NoFloat64():
        yield


# A · a precision that is not float32 or float64 ---------------------------------------------


@quick
@given(
    st.sampled_from(HALVES),
    st.sampled_from([5, 28, 112]),
    st.floats(-360, 360),
    st.sampled_from(["bilinear", "bicubic", "nearest"]),
    st.sampled_from([0.0, -0.42, "edge", "reflect"]),
    st.booleans(),
)
def test_half_precision_is_rotated_as_float32_and_rounded_once(
    dtype, size, angle, resampler, fill, per_image
):
    x = noise(2, 1, size, size, dtype=dtype)
    angle = torch.tensor([angle, -angle]) if per_image else angle
    half = actions.rotate_images(x, angle, resampler, fill)
    assert half.dtype == dtype
    single = actions.rotate_images(x.float(), angle, resampler, fill)
    assert torch.equal(half, single.to(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_at_angle_zero_half_precision_is_left_alone(dtype):
    x = noise(1, 1, 224, 224, dtype=dtype)
    assert (actions.rotate_images(x, 0.0) - x).abs().max() < 4e-5
    grid = nn.functional.affine_grid(torch.eye(2, 3, dtype=dtype)[None], (1, 1, 224, 224),
                                     align_corners=False)  # fmt: skip
    twin = nn.functional.grid_sample(x, grid, align_corners=False)  # the grid itself in half
    assert not (twin - x).abs().max() < 1e-2


@pytest.mark.parametrize("cast", [None, torch.bfloat16])
@pytest.mark.parametrize("dtype", FLOATS)
def test_points_are_turned_in_float32_or_better_also_under_autocast(dtype, cast):
    p = noise(2, 50, 3, dtype=dtype)
    R = groups.haar_so3(1, torch.Generator().manual_seed(0))[0]
    with torch.autocast("cpu", cast or torch.bfloat16, enabled=cast is not None):
        turned = actions.rotate_points(p, R)
    exact = p.double() @ R.T
    assert turned.dtype == dtype
    step = torch.finfo(dtype).eps
    assert (turned.double() - exact).abs().max() <= 2 * step
    if dtype in HALVES:  # the twin: the rotation itself is rounded
        twin = p @ R.to(dtype).T
        assert (twin.double() - p.double() @ R.T).abs().max() > (
            turned.double() - p.double() @ R.T
        ).abs().max()


@pytest.mark.parametrize("dtype", FLOATS)
def test_areas_of_boxes_do_not_overflow(dtype):
    boxes = torch.tensor([[0.0, 0, 1200, 1350], [300, 300, 2175, 2400]], dtype=torch.float64)
    exact = orbits.iou(boxes, boxes.flip(0))
    share = orbits.iou(boxes.to(dtype), boxes.flip(0).to(dtype))
    assert share.dtype == dtype
    assert_close(share.double(), exact, atol=4 * torch.finfo(dtype).eps, rtol=0)
    target = torch.cat([boxes[:1], torch.ones(1, 1)], 1)[None].to(dtype)
    assert orbits.in_window(target, 1200, visible=0.85)[0, 0, 4] == 1  # 8 of 9 parts are inside
    assert orbits.in_window(target, 1200, visible=0.95)[0, 0, 4] == -1


def lengths(p):
    return p.float().norm(dim=-1).sum(-1)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_floor_of_a_measurement_is_told_beside_its_error(dtype):
    p, orbit = noise(4, 8, 3, dtype=dtype) - 0.5, so3_haar(6)
    error = equivariance_error(lengths, p, orbit).max().item()
    floor = equivariance_error(lengths, p, round_trip(orbit)).max().item()
    assert error <= 3 * floor + 1e-5 and floor < 8 * torch.finfo(dtype).eps + 1e-5
    assert_equivariant(lengths, p, orbit)
    twin = lambda p: p.float().abs().sum((1, 2))
    assert equivariance_error(twin, p, orbit).max() > 10 * floor
    with pytest.raises(AssertionError, match=r"not equivariant.*there and back changes it by"):
        assert_equivariant(twin, p, orbit)


def test_the_floor_of_rotated_pixels_is_their_resampling():
    x, y = noise(3, 1, 9, 9), torch.zeros(3, dtype=torch.long)
    corner = lambda x: x[:, 0, 2:4, 4]
    result = evaluate(corner, x, y, so2(8), "confidence", floor=True)
    assert result.floor.shape == result.scores.shape
    assert result.floor[0].max() < 1e-6 and result.floor[1].max() > 1e-3  # 0 and 45 degrees
    assert result.summary()["floor"] == pytest.approx(result.floor.mean().item())
    assert evaluate(corner, x, y, shifts(9, 9), "confidence", floor=True).floor.max() == 0
    with pytest.raises(ValueError, match="inv_x"):
        evaluate(corner, x, y, orbits.Orbit("no way back", torch.zeros(1, 1), lambda x, i: x),
                 floor=True)  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
def test_tolerances_go_by_the_least_precise_dtype(dtype):
    """Rounding to a dtype passes there, and is an error for a model that promises more."""
    x, orbit = noise(4, 1, 6, 6, dtype=torch.float64), shifts(6, 6)
    bright = lambda x: x.to(dtype).double().cumsum(-1).cumsum(-2)[:, 0, -1, -1]
    off = equivariance_error(bright, x.to(dtype), orbit, relative=True).max().item()
    assert off < runtime.tolerance(dtype)
    assert_equivariant(lambda x: bright(x).to(dtype), x.to(dtype), orbit)
    place = lambda x: bright(x) + runtime.tolerance(dtype) * 20 * x[:, 0, 0, 0]
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(place, x.to(dtype), orbit)


def small(padding="circular"):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode=padding), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


@pytest.mark.parametrize("how", ["float32", "float16", "bfloat16", "autocast", "no float64"])
def test_the_meter_works_and_tells_the_same_in_every_precision(how):
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(how, torch.float32)
    bright = torch.tensor([0.2, 1.0, 2.0, 4.0], dtype=dtype).view(4, 1, 1, 1)
    x, y, orbit = noise(4, 1, 8, 8, dtype=dtype) * bright, torch.arange(4) % 3, shifts(8, 8)
    context = {
        "autocast": lambda: torch.autocast("cpu", torch.bfloat16), "no float64": NoFloat64,
    }.get(how, lambda: torch.autocast("cpu", enabled=False))  # fmt: skip
    for padding, fine in (("circular", True), ("zeros", False)):
        net = small(padding).to(dtype)
        with context():
            found = diagnose(net, x, orbit)
            result = evaluate(net, x, y, orbit, "confidence", keep_outputs=True)
            agreed = orbits.consensus(result)
            parts = orbits.variance_decomposition(result, agreed)
            assert_close(parts.error, parts.symmetrized_error + parts.equivariance_variance)
            if fine:
                assert_equivariant(net, x, orbit)
            else:
                with pytest.raises(AssertionError, match="not equivariant"):
                    assert_equivariant(net, x, orbit)
            assert result.spread().isfinite().all() and "mean" in result.summary()
        assert (found.verdict, found.layer) == (("equivariant", None) if fine else ("lost", "0"))
        assert agreed.dtype == result.outputs.dtype


def test_everything_runs_on_a_device_without_float64(no_float64):
    x, y = noise_here(3, 1, 6, 6), torch.arange(3)
    net = lambda x: x[:, 0, 0]
    for orbit in (so2(5), shifts(6, 6), so2(4, output="image")):
        moved = orbit.act_x(x, len(orbit) - 1)
        assert_close(orbit.inv_y(orbit.act_y(x, 1), 1), x, atol=2, rtol=0)
        assert moved.dtype == torch.float32
        result = evaluate(net, x, y, replace_output(orbit), "confidence", keep_outputs=True)
        assert result.mean().dtype == result.spread("range").dtype == torch.float32
        assert result.summary().keys() >= {"mean", "spread"}
        orbits.consensus(result, "vote"), result.worst(), result.coverage
    cloud, disk = torch.randn(3, 8, 3), so3_disk(("xy",))
    assert equivariance_error(lengths, cloud, disk).max() < 1e-4
    assert_equivariant(lengths, cloud, disk)
    walk = evaluate(lambda x: torch.zeros(len(x), 1, 6) + 1, torch.rand(1, 1, 16, 16),
                    torch.ones(1, 1, 5), orbits.box_windows(16, 8, 2), orbits.box_score("iou", 8),
                    keep_outputs=True, missing="count")  # fmt: skip
    orbits.box_consensus(walk)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_default_dtype_changes_no_score(dtype):
    x, y, orbit, net = noise(4, 1, 8, 8), torch.arange(4) % 3, shifts(8, 8), small("zeros")
    wanted = evaluate(net, x, y, orbit, "confidence", keep_outputs=True)
    error = equivariance_error(net, x, orbit)
    torch.set_default_dtype(dtype)
    try:
        result = evaluate(net, x, y, orbit, "confidence", keep_outputs=True)
        assert torch.equal(result.scores, wanted.scores)
        assert_close(orbits.consensus(result), orbits.consensus(wanted))
        assert torch.equal(equivariance_error(net, x, orbit), error)
        assert diagnose(net, x, orbit).layer == "0"
        for made, again in zip(some_orbits(), (so2(5), so3_disk(), so3_haar(3)), strict=True):
            assert torch.equal(made.params, again.params)
    finally:
        torch.set_default_dtype(torch.float32)


def some_orbits():
    return so2(5), so3_disk(), so3_haar(3)


def noise_here(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def replace_output(orbit):
    return dataclasses.replace(orbit, act_y=orbits.orbit.leave, inv_y=orbits.orbit.leave)


def test_soft_layers_run_on_a_device_without_float64(no_float64):
    made = [soft.O(3), soft.SO(3), soft.embed_O2((0, 1)), soft.scaling(3), soft.reflection(2)]
    rep = soft.Rep(2, 1, 1)
    layer = soft.SoftTypedLinear(rep, rep, made)
    before = layer.distances()
    assert before.dtype == torch.float32 and (before > 0).all()
    soft.decoupled_step(layer, torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]), lr=1.0)
    assert layer.distances()[1] < before[1] / 3
    exact = soft.ExactTypedLinear(rep, rep, soft.O(3))
    x = torch.randn(5, rep.size)
    assert soft.function_error(exact, x, soft.O(3), rep, rep) < 1e-5
    assert soft.function_error(layer, x, soft.O(3), rep, rep) > 1e-3


def test_the_flow_of_particles_is_found_on_a_device_without_float64(no_float64):
    frames = torch.rand(1, 1, 24, 28)
    pair = torch.cat([frames[..., 2:26], frames[..., :24]], 1)  # moves to the right by 2
    flow = velocimetry.cross_correlation(pair)
    assert flow[0, :, 12, 12].round().tolist() == [2, 0]


def test_the_fixture_refuses_float64(no_float64):
    for make in (lambda: torch.zeros(1, dtype=torch.float64), lambda: torch.zeros(1).double()):
        with pytest.raises(TypeError, match="float64"):
            make()
    assert runtime.widest() == torch.float32


def turn(n, dtype):
    c, s = math.cos(2 * math.pi / n), math.sin(2 * math.pi / n)
    return torch.tensor([[[c, -s], [s, c]]], dtype=dtype)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 1), (1, 2), (2, 2), ((0, 1), 1)], ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 8, 12])
def test_what_counts_as_zero_goes_by_the_precision_of_a_group(n, dtype, pair):
    group = soft.MatrixGroup(f"C{n}", 2, discrete=turn(n, dtype))
    exact = soft.finite(groups.cyclic(n))
    assert group.orthogonal
    dimension = lambda g: round(soft.hom_projector(g, *pair).trace().item())
    assert dimension(group) == dimension(exact)
    wider = soft.MatrixGroup("widened", 2, discrete=turn(n, torch.float32).double())
    assert wider.orthogonal and dimension(wider) == dimension(exact)
    both = soft.join("with itself", [group, exact])
    assert both.dtype == group.dtype and dimension(both) == dimension(exact)


def test_generators_that_were_computed_in_float32_and_widened_are_no_float64():
    turned = groups.haar_so3(1, torch.Generator().manual_seed(0))[0]
    rough = turned.float().double()  # a basis that is orthogonal to 1e-7
    h = torch.block_diag(turn(5, torch.float64)[0], torch.eye(1, dtype=torch.float64))
    maps = lambda t, **options: round(
        soft.hom_projector(soft.MatrixGroup("C5", 3, discrete=t, **options), 0, 1).trace().item()
    )
    assert maps((turned @ h @ turned.T)[None]) == 1
    with pytest.raises(ValueError, match=r"dtype=torch\.float32"):
        maps((rough @ h @ rough.T)[None])
    assert maps((rough @ h @ rough.T)[None], dtype=torch.float32) == 1


def test_a_precision_that_does_not_tell_is_refused():
    slow = soft.MatrixGroup("C180", 2, discrete=turn(180, torch.bfloat16))
    with pytest.raises(ValueError, match="wider dtype"):
        soft.hom_projector(slow, 1, 1)
    float64 = soft.MatrixGroup("C180", 2, discrete=turn(180, torch.float64))
    assert round(soft.hom_projector(float64, 1, 1).trace().item()) == 2
    lopsided = torch.tensor([[[1.0, 1e-3], [0.0, 1.0]]])
    assert not soft.MatrixGroup("shear", 2, discrete=lopsided).orthogonal
    with pytest.raises(ValueError, match="dtype must be"):
        soft.MatrixGroup("none", 2, dtype=torch.int32)


# B · the model is not in the state that the meter believes ------------------------------------


class Careless(nn.Module):
    """Drops, and counts what it sees, wherever it is trained."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.head = nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Linear(36, 3)

    def forward(self, x):
        return self.head(self.drop(self.norm(x)).flatten(1))

    def answer(self, x):
        return self(x)


@dataclasses.dataclass
class Holder:
    net: nn.Module
    name: str = "holder"

    def __call__(self, x):
        return self.net(x)


class Slotted:
    __slots__ = ("net",)

    def __init__(self, net):
        self.net = net

    def __call__(self, x):
        return self.net(x)


class OfClass:
    net: Any = None

    def __call__(self, x):
        return type(self).net(x)


class Loose(nn.Module):
    """Keeps its layers in a list, where `.eval()` does not reach them."""

    def __init__(self, net):
        super().__init__()
        self.layers = [net]

    def forward(self, x):
        return self.layers[0](x)


GLOBAL: dict = {}


def through_a_global(x):
    return GLOBAL["net"](x)


def hidden_in_a_class(net):
    OfClass.net = net
    return OfClass()


def hidden_in_a_global(net):
    GLOBAL["net"] = net
    return lambda x: through_a_global(x) * 1


def decorated(net):
    return torch.no_grad()(lambda x: net(x))


WAYS = {
    "itself": lambda net: net,
    "lambda": lambda net: lambda x: net(x),
    "two lambdas": lambda net: (lambda f: lambda x: f(x))(lambda x: net(x)),
    "default": lambda net: lambda x, net=net: net(x),
    "partial": lambda net: partial(lambda model, x: model(x), net),
    "partial by name": lambda net: partial(lambda x, model: model(x), model=net),
    "bound method": lambda net: net.answer,
    "forward": lambda net: net.forward,
    "bound call": lambda net: net.__call__,
    "dataclass": Holder,
    "method of a holder": lambda net: Holder(net).__call__,
    "slots": Slotted,
    "class attribute": hidden_in_a_class,
    "global": hidden_in_a_global,
    "dict": lambda net: (lambda nets: lambda x: nets["one"][0](x))({"one": (net,)}),
    "weak reference": lambda net: (lambda ref: lambda x: ref()(x))(weakref.ref(net)),
    "decorator": decorated,
    "loose list": Loose,
    "wrapped": lambda net: nn.Sequential(nn.DataParallel(net)),
    "mapping": lambda net: (lambda nets: lambda x: nets["one"](x))(UserDict(one=net)),
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled lambda": lambda net: torch.compile(lambda x: net(x), backend="eager"),
    "functional": lambda net: partial(torch.func.functional_call, net, {}),
    "behind a door": lambda net: iter_door(net),
}


def iter_door(net):
    """Hides the net where no search looks: it is made visible by its call alone."""
    door = iter(lambda: net, None)
    return lambda x: next(door)(x)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_found_wherever_it_hides_and_left_as_it_was(way):
    torch.manual_seed(0)
    net = Careless().train()
    net.drop.eval()  # a frozen part must stay frozen
    x, y, orbit = noise(6, 1, 6, 6), torch.arange(6) % 3, shifts(6, 6, step=3)
    wanted = evaluate(net.eval(), x, y, orbit, "confidence").scores
    net.train()
    net.drop.eval()
    state = {k: (v.clone(), v.data_ptr()) for k, v in net.state_dict().items()}
    flags = [m.training for m in net.modules()]
    model = WAYS[way](net)
    assert_close(evaluate(model, x, y, orbit, "confidence").scores, wanted)
    if way != "functional":
        equivariance_error(model, x, orbit)
    assert [m.training for m in net.modules()] == flags
    for k, v in net.state_dict().items():
        assert torch.equal(v, state[k][0]) and v.data_ptr() == state[k][1]
    model(x)  # the twin: the model itself, as it is, does leave a trace
    assert not torch.equal(net.norm.running_mean, state["norm.running_mean"][0])


def test_the_layers_of_compiled_modules_are_seen():
    x, orbit = noise(3, 1, 8, 8), shifts(8, 8)
    for wrap in (lambda net: torch.compile(net, backend="eager"),
                 lambda net: nn.Sequential(torch.compile(net, backend="eager"))):  # fmt: skip
        found = diagnose(wrap(small("zeros")), x, orbit)
        assert found.verdict == "lost" and found.layer.endswith("0"), str(found)
        assert [s.layer for s in found.suspects] == [found.layer]
        assert diagnose(wrap(small()), x, orbit)


@pytest.mark.filterwarnings("ignore:.torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:what model answers")  # a trace keeps the norm of the batch
@pytest.mark.parametrize("make", [
    torch.jit.script, lambda net: torch.jit.trace(net, noise(2, 1, 6, 6), check_trace=False),
    nn.DataParallel,
])  # fmt: skip
def test_scripted_and_parallel_modules_are_left_as_they_were(make):
    net = make(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 3)).train())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    evaluate(lambda x: net(x), noise(4, 1, 6, 6), torch.zeros(4).long(), shifts(6, 6))
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_sizes_that_are_found_at_the_first_call_may_be_found_in_the_meter():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    evaluate(lambda x: net(x), noise(4, 1, 6, 6), torch.zeros(4).long(), shifts(6, 6))
    assert net[1].weight.shape == (3, 36)
    with pytest.raises(ValueError, match="lazy"), lent(nn.LazyLinear(3), dtype=torch.float64):
        pass


def test_code_without_a_model_is_searched_in_vain():
    assert modules_of(lambda x: torch.relu(x).mean()) == []
    assert modules_of(nn.functional.relu) == []


class Expanding(nn.Module):
    """A layer as those of escnn: it builds its filter when `.eval()` is called, and drops it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 36))

    def train(self, mode=True):
        if mode and hasattr(self, "filter"):
            del self.filter
        elif not mode and self.training:
            self.register_buffer("filter", self.weight.detach() * 2)
        return super().train(mode)

    def forward(self, x):
        return x.flatten(1) @ (self.weight * 2 if self.training else self.filter).T


def test_eval_and_train_are_called_and_caches_are_built_anew():
    x, orbit = noise(3, 1, 6, 6), shifts(6, 6)
    layer = Expanding()
    evaluate(layer, x, torch.zeros(3).long(), orbit)
    assert layer.training and not hasattr(layer, "filter")
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(lambda x: layer(x), x, orbit)
    assert layer.training and not hasattr(layer, "filter")
    layer.eval()
    kept, before = layer.filter, layer(x)
    with lent(layer, evaluate=False, noise=0.5):
        assert (layer(x) - before).abs().max() > 0.1
        assert_close(layer.filter, layer.weight * 2)
    assert layer.filter is kept and torch.equal(layer(x), before)
    plain = layer.weight.data.clone()
    layer.weight.data += 1  # the twin: what was kept does not follow
    assert torch.equal(layer(x), before)
    layer.weight.data = plain


class Counting(nn.Module):
    """Changes a buffer, a new tensor in place of one, and a tensor that is no buffer; may fail."""

    def __init__(self, fail):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))
        self.loose, self.fail = torch.zeros(2), fail

    def forward(self, x):
        self.seen += len(x)
        self.last = x.mean()[None]
        self.loose += 1
        if self.fail:
            raise RuntimeError("planned")
        return x.flatten(1)


@pytest.mark.parametrize("fail", [False, True])
def test_what_a_forward_writes_is_put_back(fail):
    model = Counting(fail)
    before = model.seen, model.last, model.loose
    try:
        evaluate(lambda x: model(x), noise(3, 1, 2, 2), torch.zeros(3).long(), shifts(2, 2))
    except RuntimeError as error:
        assert fail and "planned" in str(error)
    after = model.seen, model.last, model.loose
    assert all(a is b and a.sum() == 0 for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("way", ["itself", "lambda", "bound method", "dataclass"])
def test_model_and_data_are_moved_and_the_model_is_put_back(way):
    net, seen = Careless().train(), []
    before = {k: v.data_ptr() for k, v in net.state_dict().items()}
    parameters = list(net.parameters())

    def metric(output, y):
        seen.append((output.device.type, y.device.type))
        return [0.0] * len(output)

    evaluate(WAYS[way](net), noise(2, 1, 6, 6), torch.zeros(2), shifts(6, 6), metric, device="meta")
    assert set(seen) == {("meta", "meta")}
    assert {k: v.data_ptr() for k, v in net.state_dict().items()} == before
    assert all(p.device.type == "cpu" for p in net.parameters())
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    assert net.training and net.drop.training


class Draws(nn.Module):
    """Holds sources of chance of its own, of each library."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.Generator().manual_seed(0), np.random.default_rng(0)
        self.c, self.d = random.Random(0), np.random.RandomState(0)

    def draw(self):
        return [torch.rand(1, generator=self.a).item(), self.b.random(), self.c.random(),
                self.d.rand()]  # fmt: skip

    def forward(self, x):
        return x.flatten(1) * sum(self.draw())


def test_sources_of_chance_that_a_model_holds_are_left_as_they_were():
    model, wanted = Draws(), Draws().draw()
    evaluate(lambda x: model(x), noise(3, 1, 2, 2), torch.zeros(3).long(), shifts(2, 2))
    assert model.draw() == wanted
    twin = Draws()
    twin(noise(3, 1, 2, 2))
    assert not any(a == b for a, b in zip(twin.draw(), wanted, strict=True))


class Remembers(nn.Module):
    """Keeps what it saw in attributes of all kinds, as a recurrent or a logging layer does."""

    def __init__(self):
        super().__init__()
        self.state, self.calls, self.seen, self.named = None, 0, [], {"first": 1}

    def forward(self, x):
        self.calls += 1
        self.state, self.newly = x.mean(), x
        self.seen.append(x)
        self.named["last"] = x
        return x.flatten(1)


def test_what_a_forward_keeps_is_forgotten():
    model = Remembers()
    lists = model.seen, model.named
    evaluate(lambda x: model(x), noise(3, 1, 2, 2), torch.zeros(3).long(), shifts(2, 2))
    assert (model.state, model.calls, model.seen, model.named) == (None, 0, [], {"first": 1})
    assert lists[0] is model.seen and lists[1] is model.named and not hasattr(model, "newly")
    model(noise(3, 1, 2, 2))
    assert model.calls == 1 and len(model.seen) == 1 and hasattr(model, "newly")


@pytest.mark.filterwarnings("ignore:.torch.jit", "ignore::torch.jit.TracerWarning")
def test_a_frozen_module_has_no_mode_and_is_measured():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 3)).eval()
    x, y, orbit = noise(4, 1, 6, 6), torch.zeros(4).long(), shifts(6, 6)
    frozen = torch.jit.freeze(torch.jit.script(net))
    run = lambda model: evaluate(model, x, y, orbit, "confidence").scores
    assert_close(run(frozen), run(net))
    assert diagnose(frozen, x, orbit).verdict == "lost"


class WritesIntoIt(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x.sub_(self.by).clamp(min=0).mean((2, 3)) if self.by else x


@pytest.mark.parametrize("batch", [1, 4, 7, 100])
def test_a_model_may_write_into_what_it_is_given_and_an_action_may_not(batch):
    x, y = noise(4, 1, 4, 6), torch.zeros(4).long()
    before, idle = x.clone(), lambda x, i: x.flip(-1) if i else x
    orbit = orbits.Orbit("mirror", torch.arange(2.0)[:, None], idle, inv_x=idle)
    net = WritesIntoIt(0.4)
    scores = evaluate(net, x, y, orbit, lambda out, y: out[:, 0], batch=batch).scores
    assert_close(scores, (before - 0.4).clamp(min=0).mean((1, 2, 3)).expand(2, 4))
    assert_equivariant(net, x, orbit, batch=batch)
    assert torch.equal(x, before)
    bad = orbits.Orbit("sign", torch.arange(3.0)[:, None], lambda x, i: x.mul_(-1) if i else x)
    for measure in (
        lambda: evaluate(nn.Flatten(), x, y, bad, batch=batch),
        lambda: equivariance_error(nn.Flatten(), x, bad, batch=batch),
    ):
        with pytest.raises(ValueError, match="act_x must return new data"):
            measure()


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("net", [
    nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()),
    nn.Sequential(nn.Flatten(1), nn.Linear(36, 8), nn.TransformerEncoderLayer(8, 1, 8)),
    lambda z: z.flatten(1) - z.flatten(1).mean(0),
    lambda z: z.flatten(1).flip(0),
], ids=["norm", "attention over the batch", "its own mean", "order"])  # fmt: skip
def test_a_model_that_mixes_its_batch_is_warned_of(net, n):
    x, y = noise(n, 1, 6, 6), torch.zeros(n).long()
    with pytest.warns(UserWarning, match="depends on the others in the batch"):
        evaluate(net, x, y, shifts(6, 6))


def test_a_model_that_treats_each_input_by_itself_is_not_warned_of():
    x, y = noise(4, 1, 6, 6), torch.zeros(4).long()
    evaluate(nn.Sequential(nn.InstanceNorm2d(1), nn.BatchNorm2d(1), nn.Flatten()), x, y,
             shifts(6, 6))  # fmt: skip
    evaluate(lambda z: z.flatten(1) + torch.rand(len(z), 1), x, y, shifts(6, 6))  # by chance


def test_images_with_their_channels_last_are_refused():
    for channels in (1, 3, 4):
        with pytest.raises(ValueError, match="channels last"):
            so2(4).act_x(noise(2, 28, 28, channels), 1)
    assert so2(4).act_x(noise(2, 28, 28, 28), 1).shape == (2, 28, 28, 28)


class Foreign:
    """An array of another library, as one of JAX: no tensor, and not NumPy's."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        return Foreign(self.values[key])


@pytest.mark.parametrize("kind", [np.asarray, Foreign])
def test_models_and_data_of_other_libraries_are_measured(kind):
    x, orbit = noise(4, 1, 8, 8), shifts(8, 8)
    assert_equivariant(lambda z: kind(z.numpy().mean((2, 3))), x, orbit)
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(lambda z: kind(z.numpy()[:, 0, 0, :3]), x, orbit)
    columns = orbits.Orbit("columns", torch.arange(8.0)[:, None],
                           lambda z, i: kind(np.roll(np.asarray(z), i, -1)))  # fmt: skip
    model = lambda z: kind(np.asarray(z)[:, 0, 0, :3])
    metric = lambda out, y: np.asarray(out)[:, 0] + 0 * np.asarray(y)
    for batch in (1, 5, 99):
        result = evaluate(model, kind(x.numpy()), kind(np.zeros(4)), columns, metric, batch=batch,
                          keep_outputs=True)  # fmt: skip
        wanted = x[0, 0, 0].sort().values.double()
        assert_close(result.scores[:, 0].sort().values, wanted)
        assert orbits.consensus(result).shape == (4, 3)


class Pair(NamedTuple):
    image: torch.Tensor
    mark: torch.Tensor
    note: str = "kept"


@dataclasses.dataclass(frozen=True)
class Record:
    image: torch.Tensor
    mark: torch.Tensor
    note: str | None = None


class Answer(OrderedDict):
    pass


class Wrapped:
    """As libraries wrap a tensor: no tuple, no dict, no dataclass."""

    def __init__(self, image, mark):
        self.kind, self.image, self.mark = "image", image, mark


CONTAINERS = {
    "object": Wrapped,
    "tuple": lambda a, b: (a, b),
    "NamedTuple": lambda a, b: Pair(a, b, "mine"),
    "dataclass": lambda a, b: Record(a, b),
    "dict": lambda a, b: {"image": a, "mark": b},
    "subclass of dict": lambda a, b: Answer(image=a, mark=b),
    "nested": lambda a, b: {"pair": Pair(a, b), "none": None},
}


def open_up(data):
    """Return the first tensor, whatever holds it."""
    while not isinstance(data, torch.Tensor):
        if dataclasses.is_dataclass(data) or isinstance(data, Wrapped):
            data = data.image
        else:
            data = next(iter(data.values())) if isinstance(data, dict) else data[0]
    return data


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_keep_their_type(name):
    make = CONTAINERS[name]
    kinds = set()
    act = lambda x, i: make(open_up(x).roll(i, -1), open_up(x)[:, 0, 0, :1] * 0)
    orbit = orbits.Orbit("columns", torch.arange(6.0)[:, None], act)

    def look(x):
        kinds.add(type(x))
        return open_up(x)

    def model(x):
        image = look(x)
        return make(image.mean((1, 2, 3)) + 0 * image[:, 0, 0, 0], image[:, 0, 0, 0])

    metric = lambda out, y: look(out) + 0 * look(y)
    x = make(noise(5, 1, 6, 6), torch.zeros(5, 1))
    y = make(torch.zeros(5), torch.zeros(5))
    steady = dataclasses.replace(orbit, act_y=orbits.orbit.leave)
    for batch in (1, 4, 99):
        result = evaluate(model, x, y, steady, metric, batch=batch, keep_outputs=True)
        assert_close(result.scores, open_up(x).mean((1, 2, 3)).expand(6, 5))
        assert type(result.outputs) is type(x)
        assert open_up(result.outputs).shape == (6, 5)
    assert kinds == {type(x)}
    with pytest.raises(AssertionError, match="not equivariant"):  # the second part is one pixel
        assert_equivariant(model, x, steady)
    assert_equivariant(lambda x: make(open_up(model(x)), open_up(model(x)) * 2), x, steady)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.take, self.seen = nn.Identity(), 0.0

        def forward(self, x):
            kinds.add(type(self.take(x)))
            mean = open_up(x).mean((1, 2, 3))
            return make(mean, mean + self.seen * open_up(x)[:, 0, 0, 0])

    net = Net()
    assert diagnose(net, x, steady)
    assert kinds == {type(x)}
    net.seen = 1.0  # each tensor of an output counts
    assert diagnose(net, x, steady).verdict == "lost"


# C · a verdict that can be bought --------------------------------------------------------------

corner = lambda z: z[:, 0, 0, :3]


@quick
@given(st.floats(-8, 8), st.sampled_from([-1, 1]), st.floats(-6, 6), st.sampled_from([2, 7]))
def test_neither_an_offset_nor_a_scale_buys_a_pass(offset, sign, size, n):
    x = noise(n, 1, 8, 8)
    bought = lambda z: 10**size * corner(z) + sign * 10**offset
    with pytest.raises(AssertionError):
        assert_equivariant(bought, x, shifts(8, 8))
    exact = lambda z: bought(z.double())
    with pytest.raises(AssertionError):
        assert_equivariant(exact, x, shifts(8, 8))
    honest = lambda z: 10**size * z.double().mean((1, 2, 3)) + sign * 10**offset
    if offset - size < 3:  # float32 inputs; beyond, rounding is a good part of what it varies by
        assert_equivariant(honest, x, shifts(8, 8))


def test_an_offset_in_float32_is_named_for_what_it_does():
    x, orbit = noise(5, 1, 8, 8), shifts(8, 8)
    with pytest.raises(AssertionError, match=r"not equivariant.*off by 0\.[89]"):
        assert_equivariant(lambda z: corner(z) + 1e5, x, orbit)
    with pytest.raises(AssertionError, match=r"nothing is shown.*offset drowns it"):
        assert_equivariant(lambda z: z.mean((1, 2, 3)) + 1e4, x, orbit)
    with pytest.raises(AssertionError, match=r"nothing is shown.*constant output"):
        assert_equivariant(lambda z: corner(z) + 1e9, x, orbit)


class Offset(nn.Module):
    def __init__(self, by, padding="zeros"):
        super().__init__()
        self.net, self.by = small(padding), by

    def forward(self, x):
        return self.net(x) + self.by


@pytest.mark.parametrize("by", [0.0, 1e5, -1e8, 1e8])
def test_an_offset_does_not_change_a_diagnosis(by):
    x, orbit = noise(3, 1, 8, 8), shifts(8, 8)
    found = diagnose(Offset(by), x, orbit)
    assert (found.verdict, found.layer) == ("lost", "net.0")
    assert found.error == pytest.approx(diagnose(Offset(0.0), x, orbit).error, rel=1e-3)
    assert diagnose(Offset(by, "circular"), x, orbit)


def zero_head():
    head = nn.Linear(64, 3)
    nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    return nn.Sequential(nn.Flatten(), head)


class Gated(nn.Module):
    """A residual block whose gate starts at zero; its branch shows the border."""

    def __init__(self, padding="zeros", vector=False):
        super().__init__()
        self.branch = nn.Conv2d(1, 1, 3, padding=1, padding_mode=padding)
        self.gate = nn.Parameter(torch.zeros(1, 1, 1, 1) if vector else torch.zeros(()))

    def forward(self, x):
        return (x + self.gate * self.branch(x)).square().mean((2, 3))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("make", [zero_head, Gated, lambda: Gated(vector=True),
                                  lambda: nn.Sequential(zero_head(), nn.Softmax(1))])  # fmt: skip
def test_silence_is_a_verdict_of_its_own(make, samples):
    torch.manual_seed(0)
    x, orbit = noise(samples, 1, 8, 8), shifts(8, 8)
    found = diagnose(make(), x, orbit)
    assert found.verdict == "says nothing" and not found
    assert "constant" in str(found) and "perturb" in str(found)
    found = diagnose(make(), x, orbit, perturb=0.1)
    assert found.verdict == "lost" and not found
    twin = Gated("circular")  # nothing is hidden: the branch is in order
    assert diagnose(twin, x, orbit) and diagnose(twin, x, orbit, perturb=0.1)


@pytest.mark.parametrize("gate", [1e-3, 1e-6, 1e-7, 1e-8])
def test_a_gate_that_starts_small_does_not_buy_a_verdict(gate):
    torch.manual_seed(0)
    x, orbit = noise(3, 1, 8, 8), shifts(8, 8)
    for padding in ("zeros", "circular"):
        net = Gated(padding)
        nn.init.constant_(net.gate, gate)
        assert bool(diagnose(net, x, orbit)) == (padding == "circular")
        assert net.gate.item() == pytest.approx(gate)


@pytest.mark.parametrize("bound", [math.inf, math.nan, -1.0])
def test_no_tolerance_lets_everything_pass(bound):
    for name in ("atol", "rtol"):
        with pytest.raises(ValueError, match=f"{name} must be a finite number"):
            assert_equivariant(corner, noise(3, 1, 8, 8), shifts(8, 8), **{name: bound})


def test_a_constant_output_shows_nothing():
    x, orbit = noise(3, 1, 8, 8), shifts(8, 8)
    for f in (zero_head(), lambda z: torch.ones(len(z), 2), lambda z: torch.ones(len(z)).long()):
        with pytest.raises(AssertionError, match=r"nothing is shown.*perturb"):
            assert_equivariant(f, x, orbit)
        with pytest.raises(AssertionError, match="nothing is shown"):
            assert_equivariant(f, x, orbit, atol=1e-3)
        relative = equivariance_error(f, x, orbit, relative=True)
        assert relative.isnan().all()
    line = torch.eye(8).view(8, 1, 1, 8)  # all samples lie on one orbit: an invariant is constant
    assert_equivariant(lambda z: z.square().sum((1, 2, 3)), line, shifts(1, 8))


NORMAL = (0.0 - 0.1307) / 0.3081
bright = lambda z: z.mean((1, 2, 3), dtype=torch.float64)


def disc(n=3, size=28, fill=NORMAL):
    """Return images that are black but for a bright blob, normalized as MNIST is."""
    v = torch.arange(size) - (size - 1) / 2
    blob = torch.exp(-((v[:, None] - 3) ** 2 + (v[None] + 2) ** 2) / 12)
    return (blob * torch.arange(1, n + 1).view(n, 1, 1) / n)[:, None] / 0.3081 + fill


def test_corners_are_filled_with_what_is_black():
    x, wrong = disc(), so2(8)
    right = {
        "value": so2(8, fill=NORMAL), "channels": so2(8, fill=[NORMAL]),
        "edge": so2(8, fill="edge"), "reflect": so2(8, fill="reflect"),
        "disc": so2(8, fill=NORMAL, mask="disc"),
    }  # fmt: skip
    error = equivariance_error(bright, x, wrong).max()
    assert error > 0.05
    for name, orbit in right.items():
        assert equivariance_error(bright, x, orbit).max() < error / 20, name
    same = lambda **options: so2(8, output="image", fill=NORMAL, **options)
    assert equivariance_error(lambda z: z, x, same(output_fill=NORMAL)).max() == 0
    assert equivariance_error(lambda z: z, x, same()).max() > 0.4  # its output has corners, too
    with pytest.raises(ValueError, match="fill is 'zero'"):
        same(output_fill="zero")


@quick
@given(
    st.floats(-360, 360), st.integers(3, 12), st.integers(3, 12), st.floats(-3, 3),
    st.sampled_from(["bilinear", "bicubic", "nearest"]),
)  # fmt: skip
def test_a_constant_image_stays_constant(angle, height, width, value, resampler):
    x = torch.full((2, 2, height, width), value)
    for fill in (value, [value, value], "edge", "reflect"):
        turned = actions.rotate_images(x, angle, resampler, fill)
        assert_close(turned, x, atol=1e-5, rtol=1e-5)
    two = torch.stack([torch.zeros(height, width), torch.ones(height, width)])[None]
    assert_close(actions.rotate_images(two, angle, resampler, (0.0, 1.0)), two)
    masked = actions.rotate_images(x + 1, angle, resampler, value, mask="disc")
    hidden = actions.rotate_images(x + 1, 0.0, "nearest", value, mask="disc") == value
    assert torch.equal(masked[hidden], torch.full_like(masked[hidden], value))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fill": "zeros"}, "fill is 'zeros'"),
        ({"fill": [0.0, 1.0]}, "each of the channels"),
        ({"fill": math.nan}, "finite"),
        ({"fill": None}, "fill is None"),
        ({"mask": "square"}, "mask is 'square'"),
        ({"mask": "disc", "fill": "edge"}, "numbers to fill what the mask hides"),
    ],
)
def test_a_fill_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        actions.rotate_images(noise(1, 3, 4, 4), 10.0, **arguments)
    if "channels" not in message:
        with pytest.raises(ValueError, match=message):
            so2(4, **arguments)


@quick
@given(
    st.integers(3, 40), st.integers(1, 13),
    st.lists(st.sampled_from(["xy", "xz", "yz"]), min_size=1, max_size=3, unique=True),
)  # fmt: skip
def test_means_over_disks_are_those_of_haar(n_angle, n_axis, planes):
    orbit = so3_disk(tuple(planes), n_axis, n_angle)
    angle = orbit.params[:, 2].deg2rad()
    assert_close((orbit.weights * angle.cos()).sum().item(), -0.5)
    trace = orbit.extra["matrices"].diagonal(dim1=1, dim2=2).sum(1)
    result = OrbitResult(trace[:, None], orbit)
    assert abs(result.mean().item()) < 1e-6  # the character of rotations of space
    twin = 1 - angle.cos()
    assert abs((twin * trace).sum() / twin.sum()) > 1e-3


def confidence(output, y):
    """A metric of one's own that happens to be called like one of the package."""
    return output.square().sum(1) * 100


def test_a_function_is_what_it_is_and_not_its_name():
    x, y, orbit = noise(4, 1, 1, 3), torch.zeros(4).long(), shifts(1, 3)
    model = lambda x: x[:, 0, 0]
    own = evaluate(model, x, y, orbit, confidence, keep_outputs=True)
    named = evaluate(model, x, y, orbit, "confidence", keep_outputs=True)
    same = evaluate(model, x, y, orbit, metrics.confidence, keep_outputs=True)
    assert own.meta["metric"] == named.meta["metric"] == "confidence"
    assert consensus_scores(own) is None
    assert torch.equal(consensus_scores(named), consensus_scores(same))
    high = {name: all_series({"m": {"confidence": r}}, ["pca"], 0)
            for name, r in (("own", own), ("named", named))}  # fmt: skip
    assert [s["reference"] for s in high["own"]] == ["truth"]
    assert high["own"][0]["high"] > 1 and high["named"][0]["high"] == 1
    again = orbits.rescore(named, y, confidence)
    assert consensus_scores(again) is None

    def squared_error(output, y):
        return output[:, 0]

    assert evaluate(model, x, y, orbit, squared_error).higher_is_better


BOXES = {  # truth, found (best first), average precision by VOC and by COCO
    "the same object twice": ([[0, 0, 10, 10]], [[0, 0, 10, 10], [0, 0.5, 10, 10.5]], 1.0, 1.0),
    "the better object is taken": (
        [[0, 0, 10, 10], [0, 2, 10, 12]], [[0, 0, 10, 10], [0, 0.5, 10, 10.5]], 0.5, 1.0),
    "each its own": ([[0, 0, 10, 10], [0, 2, 10, 12]], [[0, 0, 10, 10], [0, 2, 10, 12]], 1.0, 1.0),
    "a miss first": ([[0, 0, 10, 10]], [[20, 20, 30, 30], [0, 0, 10, 10]], 0.5, 0.5),
    "three, the middle one twice": (
        [[0, 0, 10, 10], [0, 3, 10, 13], [0, 6, 10, 16]],
        [[0, 3, 10, 13], [0, 3.2, 10, 13.2], [0, 6, 10, 16]], 5 / 9, 2 / 3),
}  # fmt: skip


@pytest.mark.parametrize("name", BOXES)
def test_boxes_are_matched_by_the_rule_that_is_named(name):
    truth, found, voc, coco = BOXES[name]
    targets = torch.cat([torch.tensor(truth).float(), torch.zeros(len(truth), 1)], 1)[None]
    sure = torch.linspace(0.9, 0.8, len(found))[:, None]
    rows = torch.cat([torch.tensor(found).float(), sure, torch.zeros(len(found), 1)], 1)[None]
    precision = lambda **rule: orbits.detection_counts(rows, targets, **rule)["average precision"]
    assert precision() == precision(rule="voc") == pytest.approx(voc)
    assert precision(rule="coco") == pytest.approx(coco)
    with pytest.raises(ValueError, match="rule must be"):
        precision(rule="pascal")


def test_rows_of_padding_are_no_objects_and_recall_counts_objects():
    box = torch.tensor([[[0.0, 0, 8, 8, 0], [0.0, 0, 8, 8, -1]]])
    found = torch.tensor([[[0.0, 0, 8, 8, 0.9, 0]]])
    counts = orbits.detection_counts(found, box)
    assert (counts["recall"], counts["precision"], counts["f1"]) == (1, 1, 1)
    nothing = orbits.detection_counts(found, box[:, 1:])
    assert math.isnan(nothing["recall"]) and nothing["precision"] == 0
    with pytest.raises(ValueError, match="targets must"):
        orbits.detection_counts(found, box[:0])


def two_layers():
    """Return a network whose second candidate no weight can break, and one that all keep."""
    trivial = soft.MatrixGroup("nothing", 3)
    rep = soft.Rep(n1=1)
    return soft.SoftTypedLinear(rep, rep, [soft.O(3), trivial])


@pytest.mark.parametrize("normalize", ["codim", "init"])
def test_a_rule_that_would_divide_by_zero_is_refused_at_the_door(normalize):
    net = two_layers()
    with pytest.raises(ValueError, match=r"normalize .* nothing"):
        soft.SoftTuning(net, [1.0, 1.0], steps=10, normalize=normalize)
    with pytest.raises(ValueError, match=r"normalize .* nothing"):
        soft.SoftTuning(net, [[1.0, 1.0], [1.0, 0.0]], steps=10, normalize=normalize)
    for allowed in (
        {"strengths": [1.0, 0.0], "normalize": normalize},  # it only lends its types
        {"strengths": [1.0, 1.0], "normalize": normalize, "at": None},  # the rule is not used
        {"strengths": [1.0, 1.0]},
    ):
        tuning = soft.SoftTuning(net, steps=10, **allowed)
        for step in range(10):
            tuning(step, lr=0.1)
        assert tuning.strengths.isfinite().all()
    with torch.no_grad():
        net.weight.copy_(torch.eye(3)), net.bias.zero_()
    if normalize == "init":  # a start that keeps the group already: refused at the first step
        tuning = soft.SoftTuning(net, [1.0, 0.0], steps=10, normalize="init")
        with pytest.raises(ValueError, match=r"normalize .* O\(3\)"):
            tuning(0, lr=0.1)


def test_a_column_in_a_large_unit_does_not_buy_a_pass_for_its_neighbors():
    """Energies beside forces: what float32 leaves open, float64 decides."""
    x, orbit = noise(4, 1, 8, 8), shifts(8, 8)
    beside = lambda small, unit: lambda z: torch.cat([small(z), unit * z.mean((2, 3))], 1)

    class Net(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f, self.take = f, nn.Identity()

        def forward(self, z):
            return self.f(self.take(z))

    for unit in (1e3, 1e6, 1e8):
        with pytest.raises(AssertionError, match="not equivariant"):
            assert_equivariant(beside(corner, unit), x, orbit)
        assert not diagnose(Net(beside(corner, unit)), x, orbit)
        fine = beside(lambda z: z.square().mean((2, 3)), unit)
        assert_equivariant(fine, x, orbit)
        assert diagnose(Net(fine), x, orbit)
    spectrum = lambda z: (
        torch.fft.rfft2(z).abs().flatten(1)
    )  # entries of many sizes, one sound rule
    smooth = nn.functional.interpolate(noise(3, 1, 4, 4), (16, 16), mode="bicubic")
    assert_equivariant(spectrum, smooth, shifts(16, 16))


def test_every_tensor_of_an_output_counts():
    x, orbit = noise(4, 1, 8, 8), shifts(8, 8)
    mean = lambda z: z.mean((2, 3))

    class Two(nn.Module):
        def __init__(self, *parts):
            super().__init__()
            self.take, self.parts = nn.Identity(), parts

        def forward(self, z):
            z = self.take(z)
            return [part(z) for part in self.parts]

    for parts in ((mean, corner), (corner, mean)):
        assert diagnose(Two(*parts), x, orbit).verdict == "lost"
        with pytest.raises(AssertionError, match="not equivariant"):
            assert_equivariant(Two(*parts), x, orbit)
    assert diagnose(Two(mean, mean), x, orbit)
    assert_equivariant(Two(mean, mean), x, orbit)
    found = diagnose(Two(mean, lambda z: z.new_zeros(len(z), 2)), x, orbit)
    assert found.verdict == "says nothing" and "tensor 1 of the 2" in found.where
    moved = lambda z: z.roll(0, 3)
    both = shifts(8, 8, output="image")
    assert diagnose(Two(moved, torch.square), x, both)  # an action of tensors holds for each
    assert not diagnose(Two(moved, lambda z: z.flip(3)), x, both)


def test_inputs_that_no_element_changes_show_nothing():
    flat = torch.ones(3, 1, 8, 8) * torch.arange(1, 4).view(3, 1, 1, 1)
    for x, orbit in ((flat, shifts(8, 8)), (noise(3, 1, 8, 8), shifts(8, 8, step=8))):
        with pytest.raises(AssertionError, match="no element of the orbit changes x"):
            assert_equivariant(corner, x, orbit)


def test_outputs_of_any_size_and_kind_are_compared():
    x, orbit = noise(4, 1, 8, 8), shifts(8, 8)
    for f in (
        lambda z: (corner(z) * 2 - 1) * 3.4e38,  # their difference is no number of float32
        lambda z: corner(z) * 1e-40,
        lambda z: (corner(z) * 10).long() + 2**60,  # and no number of float64 tells these apart
        lambda z: (corner(z) * 255).to(torch.uint8),  # 1 - 255 would be 2
        lambda z: corner(z) > 0.5,
    ):
        with pytest.raises(AssertionError, match="not equivariant"):
            assert_equivariant(f, x, orbit)
        assert equivariance_error(f, x, orbit, relative=True).max() > 0.5
    assert_equivariant(lambda z: (z > 0.5).sum((1, 2, 3)) + 2**60, x, orbit)
    tokens = torch.randint(9, (1, 12), generator=torch.Generator().manual_seed(0))
    around = orbits.Orbit("around", torch.arange(12.0)[:, None], lambda t, i: t.roll(i, 1))
    assert_equivariant(lambda t: nn.functional.one_hot(t, 9).sum(1), tokens, around)
    with pytest.raises(AssertionError, match="nothing is shown"):  # one sample, one answer
        assert_equivariant(lambda t: 0 * t.sum(1), tokens, around)
    with pytest.raises(ValueError, match="16 bits or more"):
        assert_equivariant(lambda z: corner(z).to(torch.float8_e4m3fn), x, orbit)


def test_scores_keep_what_they_are_and_no_offset_hides_their_spread():
    x, y, orbit = noise(4, 1, 1, 8), torch.zeros(4), shifts(1, 8)
    run = partial(evaluate, lambda z: z[:, 0, 0, 0], x, y, orbit)
    plain = run(lambda out, y: out)
    for metric in (
        lambda out, y: out.double() + 1e9,
        lambda out, y: (out.double() + 1e9).tolist(),
        lambda out, y: (out.double() + 1e9).numpy(),
    ):
        assert_close(run(metric).spread(), plain.spread(), atol=1e-5, rtol=0)
    assert run(lambda out, y: out.half()).scores.dtype == torch.float32
    kept = run(lambda out, y: out, keep_outputs=True)
    for metric in (lambda out, y: out.double() + 1e9, lambda out, y: (out.double() + 1e9).tolist()):
        assert_close(orbits.rescore(kept, y, metric).spread(), plain.spread(), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="one number for each sample"):
        orbits.rescore(kept, y, lambda out, y: out.mean())
    with pytest.raises(ValueError, match="infinity"):
        run(lambda out, y: torch.where(out > 0.5, math.inf, out))
    with pytest.raises(ValueError, match="real numbers"):
        run(lambda out, y: torch.complex(out, out))
    one, two = (torch.tensor([[v]], dtype=torch.uint8) for v in (200, 100))
    assert metrics.squared_error(one, two).item() == 1e4
    probabilities = torch.rand(5, 3).softmax(1)
    for dtype in FLOATS:
        with pytest.raises(ValueError, match="probabilities already"):
            metrics.confidence(probabilities.to(dtype), torch.zeros(5).long())
    with pytest.raises(ValueError, match="one tensor, got a tuple"):
        metrics.correct((probabilities, 1), torch.zeros(5).long())


# Behind the first loss ------------------------------------------------------------------------


class OwnPadding(nn.Conv2d):
    """Pads in its own code, as many libraries do, and knows no padding_mode."""

    def forward(self, x):
        x = nn.functional.pad(x, (1, 1, 1, 1))
        return nn.functional.conv2d(x, self.weight, self.bias, self.stride)


def faulty():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), OwnPadding(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip


def test_every_faulty_layer_is_named_with_its_cause_and_its_gain():
    net, x, orbit = faulty(), noise(3, 1, 16, 16), shifts(16, 16)
    layers, error = list(net), diagnose(net, x, orbit).error
    found = diagnose(net, x, orbit, repairs=True)
    assert (found.verdict, found.layer, found.error) == ("lost", "0", error)
    causes = {s.layer: s.cause for s in found.suspects}
    assert causes.keys() == {"0", "2", "5", "6"}
    for layer, words in (("0", "border"), ("2", "border"), ("6", "border"), ("2", "2nd pixel"),
                         ("5", "2nd pixel")):  # fmt: skip
        assert words in causes[layer]
    assert "pixel" not in causes["0"] and "border" not in causes["5"]
    gains = [s.gain for s in found.suspects]
    assert gains == sorted(gains, reverse=True) and max(gains) <= 1
    assert all(a is b for a, b in zip(layers, net, strict=True))  # nothing stays swapped
    assert "OwnPadding" in str(found) and "circular padding" in str(found)


def test_a_layer_has_to_follow_the_orbit_and_no_more():
    """A stride of two is in order under shifts by two; so is one of four behind it, under four."""
    x = noise(3, 1, 16, 16)
    for step, wanted in ((4, {"3"}), (2, {"2", "3"}), (1, {"0", "2", "3"})):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 2, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 2, stride=2),
            nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        found = diagnose(net, x, shifts(16, 16, step=step))
        assert {s.layer for s in found.suspects} == wanted


def test_a_gain_is_what_the_repair_does():
    """With all others mended, the repair of the last one takes all of the error away."""
    x, orbit = noise(3, 1, 16, 16), shifts(16, 16)
    mended = {"0": Circular, "2": lambda m: Anchored(Circular(m)),
              "5": lambda m: Anchored(Circular(m)), "6": Circular}  # fmt: skip
    for last in mended:
        net = faulty()
        for name, mend in mended.items():
            if name != last:
                net[int(name)] = mend(net[int(name)])
        suspects = diagnose(net, x, orbit, repairs=True).suspects
        assert [s.layer for s in suspects if s.layer in mended] == [last]
        assert next(s.gain for s in suspects if s.layer == last) == pytest.approx(1.0)
        net[int(last)] = mended[last](net[int(last)])
        found = diagnose(net, x, orbit, repairs=True)
        assert found and found.suspects == []
        assert_equivariant(net, x, orbit)


def test_a_repair_after_which_the_output_is_constant_gains_nothing():
    """What the ReLU lets through is made by the border alone: without it nothing is left."""
    edges = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        edges.weight.fill_(-1.0)[0, 0, 1, 1] = 8.0
        edges.bias.fill_(-0.5)
    net = nn.Sequential(edges, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = diagnose(net, 1 + 0.01 * noise(3, 1, 8, 8), shifts(8, 8), repairs=True)
    assert [(s.layer, s.gain) for s in found.suspects] == [("0", None)]
    edges.bias.data.zero_()  # the twin: now the repair is one
    found = diagnose(net, 1 + 0.01 * noise(3, 1, 8, 8), shifts(8, 8), repairs=True)
    assert [s.gain for s in found.suspects] == [pytest.approx(1.0)]


def test_gains_are_the_same_in_float32_and_float64(monkeypatch):
    gains = []
    for small in (0.0, math.inf):  # errors above it are repaired in float32
        monkeypatch.setattr(importlib.import_module("equitutor.diagnose.search"), "SMALL", small)
        found = diagnose(faulty(), noise(3, 1, 16, 16), shifts(16, 16), repairs=True)
        gains.append({s.layer: s.gain for s in found.suspects})
    assert gains[0] == pytest.approx(gains[1], abs=1e-4) and gains[0] != gains[1]


def test_a_tensor_that_several_layers_see_is_held_once():
    """The memory of a diagnosis is one pass of the model, whatever the nesting of its layers."""
    net = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))))
    events = Watch(net).run(noise(2, 3))
    held = {id(t): t for e in events for t in e.tensors}
    assert len(events) == 10 and len(held) == 3  # the input, before and after the ReLU
    seen = []
    Watch(net).stream(noise(2, 3), lambda event: seen.extend(map(weakref.ref, event.tensors)))
    assert len(seen) == 10 and not any(there() is not None for there in seen)


# At size -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [4, 7, 100])
def test_shards_are_one_process_bit_for_bit(batch):
    net = Careless().train()
    x, y, orbit = noise(19, 1, 6, 6), torch.arange(19) % 3, so2(5)
    measure = partial(evaluate, WAYS["lambda"](net), x, y, orbit, "confidence", batch=batch,
                      keep_outputs=True, floor=True)  # fmt: skip
    alone = measure()
    with ThreadPoolExecutor(2) as pool:
        shared = measure(executor=pool)
    for name in ("scores", "outputs", "floor"):
        assert torch.equal(getattr(alone, name), getattr(shared, name))
    assert net.training and net.drop.training
    parts = [evaluate(net, x[a:b], y[a:b], orbit, "confidence", keep_outputs=True)
             for a, b in ((0, 5), (5, 19))]  # fmt: skip
    joined = merge(parts)
    assert joined.scores.shape == (5, 19) and joined.outputs.shape == (5, 19, 3)
    assert torch.equal(joined.scores[:, :5], parts[0].scores)
    assert joined.meta["seconds"] == pytest.approx(sum(p.meta["seconds"] for p in parts))


def test_few_tasks_wait_for_an_executor():
    """All of them at once would be a second copy of the data, and one of the model for each."""
    waiting = []

    class Future:
        def __init__(self, call, task):
            self.call, self.task = call, task
            waiting.append(self)

        def result(self):
            waiting.remove(self)
            return self.call(self.task)

    most = []

    class Slow:
        _max_workers = 3

        def submit(self, call, task):
            most.append(len(waiting))
            return Future(call, task)

    x, y = noise(60, 1, 6, 6), torch.zeros(60).long()
    scores = evaluate(lambda x: x[:, 0, 0], x, y, so2(5), batch=2, executor=Slow()).scores
    assert max(most) == 5 and len(most) == 30 and not waiting
    assert torch.equal(scores, evaluate(lambda x: x[:, 0, 0], x, y, so2(5)).scores)


def test_results_that_differ_are_not_merged():
    x, y = noise(3, 1, 6, 6), torch.zeros(3).long()
    run = partial(evaluate, lambda x: x[:, 0, 0], x, y)
    for other in (
        run(so2(5, fill="edge")), run(so2(5, "nearest")), run(so2(5, mask="disc")),
        run(so2(4)), run(so2(5), "confidence"), run(so2(5), keep_outputs=True),
        run(so2(5), higher_is_better=False), None,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="results must"):
            merge([run(so2(5)), other])
    with pytest.raises(ValueError, match="results must"):
        merge([])


# Models and actions from elsewhere -------------------------------------------------------------

several = lambda z: torch.stack([z.mean((1, 2, 3)), z.amax((1, 2, 3)), z.std((1, 2, 3))], 1)


def buffered(f, kind=torch.as_tensor):
    """Writes each answer into the memory of the last one, as CUDA graphs and other engines do."""
    memory = torch.zeros(500, 3)

    def call(z):
        memory[: len(z)] = f(z)
        return kind(memory[: len(z)])

    return call


def of_energy(f):
    """Differentiates, as a force field does, without a word about gradients."""

    def call(z):
        z = z.detach().requires_grad_()
        return torch.autograd.grad((f(z) ** 3).sum(), z)[0].sum(3)[:, 0] ** 2

    return call


def detections(f):
    return lambda z: [{"box": row.expand(2, 3) * 1, "score": row[:1]} for row in f(z)]


STRANGERS = {
    "reused memory": buffered,
    "reused memory of an array": lambda f: buffered(f, torch.Tensor.numpy),
    "list of outputs": lambda f: lambda z: [f(z), f(z)[:, :1]],
    "list of samples": lambda f: lambda z: list(f(z)),
    "list of dicts": detections,
    "output of a library": lambda f: lambda z: Answer(logits=f(z), hidden=(f(z), None), loss=None),
    "whole numbers": lambda f: lambda z: (f(z) * 1e4).round().to(torch.int32),
    "wide unsigned numbers": lambda f: lambda z: (f(z) * 1e4).round().to(torch.uint16),
    "truth values": lambda f: lambda z: f(z) > 0.5,
    "half": lambda f: lambda z: f(z).half(),
    "needs gradients": lambda f: lambda z: f(z).requires_grad_(),
    "inference mode": lambda f: torch.inference_mode()(f),
    "vmap": lambda f: torch.vmap(lambda t: f(t[None])[0]),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_models_of_other_libraries_return_is_compared(name):
    x, orbit = noise(6, 1, 8, 8) * torch.linspace(0.3, 1.3, 6).view(6, 1, 1, 1), shifts(8, 8)
    good, bad = (STRANGERS[name](f) for f in (several, corner))
    for batch in (1, 4, 500):
        assert_equivariant(good, x, orbit, batch=batch)
        with pytest.raises(AssertionError, match="not equivariant"):
            assert_equivariant(bad, x, orbit, batch=batch)


def test_what_is_kept_of_outputs_is_a_copy():
    x, y, orbit = noise(3, 1, 8, 8), torch.zeros(3).long(), shifts(8, 8, step=2)
    score = lambda out, y: metrics.confidence(torch.as_tensor(out), y)
    run = lambda f: evaluate(f, x, y, orbit, score, batch=3, keep_outputs=True)
    wanted = run(corner)
    for kind in (torch.as_tensor, torch.Tensor.numpy):
        found = run(buffered(corner, kind))
        assert torch.equal(torch.as_tensor(found.outputs), wanted.outputs)
        assert torch.equal(found.scores, wanted.scores)
    score = lambda out, y: out[1][:, 0]
    pair = run(lambda z: [corner(z), corner(z)[:, :1]]).outputs
    assert torch.equal(pair[0], wanted.outputs) and pair[1].shape == (16, 3, 1)


def test_models_that_differentiate_are_measured():
    x, orbit = noise(4, 1, 6, 6), shifts(6, 6)

    class Net(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f, self.lift = f, nn.Conv2d(1, 2, 1)

        def forward(self, z):
            z.requires_grad_()
            return torch.autograd.grad(self.f(self.lift(z)).square().sum(), z)[0]

    whole, part = Net(lambda z: z), Net(lambda z: z[..., :3])
    both = shifts(6, 6, output="image")
    assert_equivariant(whole, x, both)
    assert diagnose(whole, x, both)
    assert all(p.grad is None for p in whole.parameters()) and not x.requires_grad
    assert not diagnose(part, x, both)
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(part, x, both)
    total = lambda out, y: out.sum((1, 2, 3))
    assert evaluate(whole, x, torch.zeros(4), orbit, total).spread().max() < 1e-5

    def fails(z):
        raise RuntimeError("planned")

    with pytest.raises(RuntimeError, match="planned"):
        evaluate(fails, x, torch.zeros(4), orbit)


class Returns(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.take, self.f = nn.Identity(), f

    def forward(self, z):
        return self.f(self.take(z))


def test_parts_of_an_output_that_are_no_real_numbers_count_in_a_diagnosis():
    x, orbit = noise(4, 1, 8, 8), shifts(8, 8)
    for odd in (lambda y: torch.complex(y, y), lambda y: (y * 100).long(), lambda y: y > 0.5):
        assert diagnose(Returns(lambda z, odd=odd: (several(z), odd(several(z)))), x, orbit)
        found = diagnose(Returns(lambda z, odd=odd: (several(z), odd(corner(z)))), x, orbit)
        assert found.verdict == "lost" and "whole or complex" in found.where


class Cast(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_model_that_rounds_on_its_way_is_held_to_what_it_rounds_to(dtype):
    x, orbit = noise(4, 1, 8, 8) * torch.arange(1, 5).view(4, 1, 1, 1), shifts(8, 8)
    sums = lambda z: z.cumsum(-1).cumsum(-2)[:, 0, -1, -1:]  # each time in another order
    rounds = lambda f: nn.Sequential(Cast(dtype), Returns(f), Cast(torch.float64))
    assert diagnose(rounds(sums), x, orbit)
    assert not diagnose(rounds(corner), x, orbit)
    pooled = nn.Sequential(nn.MaxPool2d(2), Cast(dtype), Returns(lambda z: z.amax((2, 3))))
    assert diagnose(pooled, x, orbit)  # also where no action is found for what is in between


OUTPUTS = {
    "sparse": (torch.Tensor.to_sparse, "dense"),
    "nested": (lambda y: torch.nested.nested_tensor(list(y), layout=torch.jagged), "one size"),
    "quantized": (lambda y: torch.ops.aten.quantize_per_tensor(y.float(), 0.01, 0, torch.quint8),
                  "quantized|floating point"),
    "8 bits": (lambda y: y.to(torch.float8_e4m3fn), "16 bits"),
    "complex": (lambda y: torch.complex(y, y), "real|floating point"),
    "None": (lambda y: None, "must"),
    "a generator": (iter, "must"),
    "words": (lambda y: np.array(["a"] * len(y)), "must"),
    "of unlike samples": (lambda y: [row[: 1 + k % 2] for k, row in enumerate(y)], "rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_cannot_be_compared_are_refused_in_words(name):
    x, orbit = noise(4, 1, 8, 8), shifts(8, 8, step=4)
    make, words = OUTPUTS[name]
    f = lambda z: make(several(z))
    for measure in (equivariance_error, assert_equivariant):
        with pytest.raises(ValueError, match=words):
            measure(f, x, orbit)
    if name != "of unlike samples":  # detections, whose layers can be asked all the same
        with pytest.raises(ValueError, match=words):
            diagnose(Returns(f), x, orbit)
    score = lambda out, y: [0.0] * 4
    if name != "8 bits":  # their mean is a number
        with pytest.raises(ValueError, match="must"):
            orbits.consensus(evaluate(f, x, torch.zeros(4), orbit, score, 4, keep_outputs=True))


INPUTS = {
    "sparse": (torch.Tensor.to_sparse, "dense"),
    "nested": (lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged), "one size"),
    "a generator": (iter, "batch of samples"),
    "a loader": (torch.utils.data.DataLoader, "hand over its tensors"),
    "a data set": (torch.utils.data.TensorDataset, "hand over its tensors"),
    "none": (lambda x: x[:0], "at least one"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_inputs_that_are_no_batch_are_refused_in_words(name):
    make, words = INPUTS[name]
    x, orbit = make(noise(4, 1, 8, 8)), shifts(8, 8)
    for measure in (
        lambda: evaluate(corner, x, torch.zeros(4), orbit),
        lambda: equivariance_error(corner, x, orbit),
        lambda: diagnose(nn.Flatten(), x, orbit),
    ):
        with pytest.raises(ValueError, match=words):
            measure()


def test_a_model_without_numbers_and_inputs_of_8_bits():
    x, orbit = noise(4, 1, 8, 8), shifts(8, 8)
    with pytest.raises(ValueError, match="meta"):
        assert_equivariant(nn.Conv2d(1, 1, 1, device="meta"), x, orbit)
    narrow = x.to(torch.float8_e4m3fn)
    assert_equivariant(lambda z: several(z.float()), narrow, orbit)
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(lambda z: corner(z.float()), narrow, orbit)
    with pytest.raises(ValueError, match="16 bits"):
        diagnose(Returns(lambda z: several(z.float())), narrow, orbit)


def test_an_action_that_gives_too_little_or_writes_over_what_it_gave_is_refused():
    x, y, memory = noise(4, 1, 8, 8), torch.zeros(4), torch.zeros(4, 1, 8, 8)
    act = lambda x, i: memory.copy_(x.roll(i, -1))
    same = orbits.Orbit("memory", torch.arange(4.0)[:, None], act)
    few = orbits.Orbit("few", torch.arange(4.0)[:, None], lambda x, i: x[: len(x) - i])
    for orbit, words in ((same, "writes into what it returned"), (few, "number of samples")):
        for measure in (evaluate, lambda f, x, y, orbit: equivariance_error(f, x, orbit)):
            with pytest.raises(ValueError, match=words):
                measure(corner, x, y, orbit)
    with pytest.raises(ValueError, match="number of samples"):
        diagnose(nn.Flatten(), x, few)
    table = torch.stack([x.roll(i, -1) for i in range(4)])  # the twin: of one memory, and in order
    fine = orbits.Orbit("table", same.params, lambda x, i: table[i, : len(x)])
    assert torch.equal(equivariance_error(corner, x, fine),
                       equivariance_error(corner, x, replace_act(fine)))  # fmt: skip


def replace_act(orbit):
    return dataclasses.replace(orbit, act_x=lambda x, i: x.roll(i, -1))


def test_an_action_may_insist_on_a_precision():
    """As one that goes by way of NumPy: its float32 is not taken for a fault of the model."""
    x = noise(3, 1, 8, 8)
    act = lambda x, i: torch.as_tensor(np.roll(x.float().numpy(), i, -1))
    orbit = orbits.Orbit("columns", torch.arange(8.0)[:, None], act, inv_x=lambda x, i: act(x, -i))
    assert diagnose(small(), x, orbit)
    assert diagnose(small("zeros"), x, orbit).layer == "0"
    turns = so3_haar(4)
    rough = dataclasses.replace(turns, act_x=lambda p, i: turns.act_x(p.half(), i).float())
    cloud = torch.randn(3, 8, 3)
    assert diagnose(Returns(lambda p: p.norm(dim=-1).sum(-1)), cloud, turns)
    assert not diagnose(Returns(lambda p: p.abs().sum((1, 2))), cloud, rough)
