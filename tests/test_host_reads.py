"""No forward of a method looks at the numbers in a tensor: a GPU would have to wait for it.

The same forwards are one graph for `torch.compile`, but for those listed with a reason.
"""

import importlib
import inspect
import pkgutil
import re
import traceback
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

import equitutor.methods
import equitutor.models
from equitutor.groups import cyclic
from equitutor.methods import polyphase, soft
from equitutor.methods.alias_free import AliasFreeDown, AliasFreeUp, FilteredAct
from equitutor.methods.articulated import ArtEq, TensorField, random_scans, toy_body
from equitutor.methods.articulated import PointNet as PosePointNet
from equitutor.methods.articulated.losses import fit_loss
from equitutor.methods.articulated.parts import PartLift
from equitutor.methods.articulated.tensor_field import Message
from equitutor.methods.diffusion import Diffusion, UNet
from equitutor.methods.diffusion.fidelity import FeatureNet
from equitutor.methods.diffusion.radial import RadialKernel
from equitutor.methods.diffusion.resamplers import KernelDown, KernelUp, _Pointwise
from equitutor.methods.diffusion.unet import DoubleConv, SelfAttention, _Stage
from equitutor.methods.icosahedral import (
    GroupAttention,
    InterConv,
    IntraConv,
    SeparableBlock,
    farthest_points,
    nearest,
    rotation_tables,
    take,
)
from equitutor.methods.icosahedral.convolution import PointGroupNorm, kernel_sums
from equitutor.methods.polyphase import layers, models
from equitutor.models import detection, group_cnn, velocimetry
from equitutor.models.point_clouds import MomentNet, PointNet, TensorFieldNet
from equitutor.models.point_clouds.basis import Gaussians
from equitutor.models.point_clouds.tensor_field import TensorFieldLayer
from equitutor.models.torchvision_boxes import TorchvisionBoxes

READS = {"item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__",
         "__contains__"}  # fmt: skip
READ_KERNELS = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal"}


class HostReadError(AssertionError):
    """A number went from the device to Python."""


class NoReadsInPython(TorchFunctionMode):
    """Refuses the methods of a tensor that hand its numbers to Python."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in READS and isinstance(args[0], torch.Tensor):
            raise HostReadError(resolve_name(func) or func.__name__)
        return func(*args, **(kwargs or {}))


class NoReadsInKernels(TorchDispatchMode):
    """Refuses the kernels that do so inside of PyTorch's own functions, as in `one_hot`."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().split(".")[0] in READ_KERNELS:
            raise HostReadError(func.name())
        return func(*args, **(kwargs or {}))


def without_reads(call):
    """Return what the call returns; raise HostReadError where it reads."""
    with NoReadsInPython(), NoReadsInKernels():
        return call()


TABLES, BODY = rotation_tables(), toy_body()
images = lambda *shape: torch.rand(*shape, generator=torch.Generator().manual_seed(0))
cloud = lambda n=40: images(2, n, 3)
near = lambda k=8: nearest(cloud(), cloud(), k)
picked = torch.arange(20).expand(2, 20)
labels = lambda n=40, parts=6: torch.arange(n).expand(2, n) % parts
VECTORS, GROUP = soft.Rep(2, 1), soft.O(3)


def irreps(text):
    from e3nn import o3

    return o3.Irreps(text)


def edges():
    return torch.rand(2, 40, 8, 3, 9)


# name -> function to (module, inputs)
CASES = {
    "FilteredAct": lambda: (FilteredAct(), [images(2, 3, 16, 16)]),
    "AliasFreeUp": lambda: (AliasFreeUp(), [images(2, 3, 16, 16)]),
    "AliasFreeUp, large": lambda: (AliasFreeUp(factor=4), [images(1, 1, 80, 80)]),
    "AliasFreeUp, ideal": lambda: (AliasFreeUp("ideal", "circular"), [images(2, 3, 16, 16)]),
    "AliasFreeDown": lambda: (AliasFreeDown(), [images(2, 3, 16, 16)]),
    "Body": lambda: (toy_body(), [torch.rand(2, BODY.n_shape), torch.eye(3).expand(2, 6, 3, 3)]),
    "ArtEq": lambda: (ArtEq(BODY.parents, 3, frame=2), [cloud(100)]),
    "ArtEq, labels": lambda: (ArtEq(BODY.parents, 3), [cloud(100), labels(100)]),
    "PartLift": lambda: (PartLift(TABLES, 8), [cloud(), labels(), 6]),
    "articulated.PointNet": lambda: (PosePointNet(6, 3), [cloud()]),
    "TensorField": lambda: (TensorField(6, 3), [cloud(), labels()]),
    "TensorField, Kabsch": lambda: (TensorField(6, 3, head="kabsch"), [cloud()]),
    "Message": lambda: (
        Message(irreps("4x0e"), irreps("4x0e + 2x1e"), 0.3),
        [cloud(), near(), torch.rand(2, 40, 4)],
    ),
    "CenterDetector": lambda: (
        detection.CenterDetector(coordinates=True, blur=True), [images(2, 1, 32, 32)]
    ),
    "BlurPool": lambda: (detection.BlurPool(3), [images(2, 3, 16, 16)]),
    "TopBoxes": lambda: (detection.TopBoxes(detection.CenterDetector(), 3), [images(2, 1, 32, 32)]),
    "TorchvisionBoxes": lambda: (TorchvisionBoxes(found_boxes, 2), [images(3, 3, 8, 8)]),
    "FeatureNet": lambda: (FeatureNet(), [images(2, 1, 16, 16)]),
    "RadialKernel": lambda: (RadialKernel(), [torch.rand(2, 3, 3, 3)]),
    "KernelDown": lambda: (KernelDown(), [images(2, 3, 16, 16)]),
    "KernelUp": lambda: (KernelUp(), [images(2, 3, 16, 16)]),
    "_Pointwise": lambda: (_Pointwise(torch.relu), [images(2, 3)]),
    "DoubleConv": lambda: (DoubleConv(2, 4, nn.GELU(), "zeros"), [images(1, 2, 8, 8)]),
    "SelfAttention": lambda: (SelfAttention(8), [images(1, 8, 4, 4)]),
    "_Stage": lambda: (
        _Stage(4, 8, nn.GELU(), "zeros", 16, True), [images(2, 4, 8, 8), torch.rand(2, 16)]
    ),
    "UNet": lambda: (
        UNet("kaiser", width=8, act_factor=2, attend_from=1),
        [images(2, 1, 16, 16), torch.tensor([3, 500])],
    ),
    "GroupConv": lambda: (group_cnn.GroupConv(4, 1, 3, lifting=True), [images(2, 1, 1, 12, 12)]),
    "GroupCNN": lambda: (group_cnn.GroupCNN(4), [images(2, 1, 24, 24)]),
    "CNN": lambda: (group_cnn.CNN(), [images(2, 1, 24, 24)]),
    "SteerableCNN": lambda: (group_cnn.SteerableCNN(), [images(2, 1, 24, 24)]),
    "SteerableConv": lambda: (
        group_cnn.SteerableConv(irreps("1x0e"), irreps("2x0e + 1x1o")), [images(2, 1, 12, 12)]
    ),
    "GroupAttention": lambda: (GroupAttention(8, 2, TABLES), [torch.rand(2, 60, 8)]),
    "InterConv": lambda: (
        InterConv(TABLES, 4, 5, 0.4), [cloud(), cloud(), near(), torch.rand(2, 40, 60, 4)]
    ),
    "IntraConv": lambda: (IntraConv(TABLES, 4, 5), [torch.rand(2, 9, 60, 4)]),
    "PointGroupNorm": lambda: (PointGroupNorm(4), [torch.rand(2, 9, 60, 4)]),
    "SeparableBlock": lambda: (
        SeparableBlock(TABLES, 4, 5, 0.4, "points"),
        [cloud(), picked, near()[:, :20], torch.rand(2, 40, 60, 4)],
    ),
    "Gaussians": lambda: (Gaussians(3, 1.0), [torch.rand(2, 5)]),
    "MomentNet": lambda: (MomentNet(), [cloud()]),
    "point_clouds.PointNet": lambda: (PointNet(), [cloud()]),
    "TensorFieldNet": lambda: (TensorFieldNet(), [cloud()]),
    "TensorFieldLayer": lambda: (
        TensorFieldLayer((2, 1, 1), (3, 2, 1), 3),
        [[torch.rand(2, 40, c, 2 * i + 1) for i, c in enumerate((2, 1, 1))], near(), edges()],
    ),
    "PolyOrder": lambda: (polyphase.PolyOrder(4), [images(2, 1, 24, 24)]),
    "PolyPatchEmbed": lambda: (polyphase.PolyPatchEmbed(4, 1, 8), [images(2, 1, 24, 24)]),
    "CircularPEG": lambda: (polyphase.CircularPEG(8), [torch.rand(2, 6, 6, 8)]),
    "Attention": lambda: (layers.Attention(8, 2), [torch.rand(2, 9, 8)]),
    "GlobalAttention": lambda: (layers.GlobalAttention(8, 2), [torch.rand(2, 6, 6, 8)]),
    "WindowAttention": lambda: (polyphase.WindowAttention(8, 2, 3), [torch.rand(2, 6, 6, 8)]),
    "SubsampledAttention": lambda: (
        polyphase.SubsampledAttention(8, 2, 2), [torch.rand(2, 6, 6, 8)]
    ),
    "Block": lambda: (layers.Block(8, layers.GlobalAttention(8, 2)), [torch.rand(2, 6, 6, 8)]),
    "Absolute": lambda: (models.Absolute((6, 6), 8), [torch.rand(2, 6, 6, 8)]),
    "PolyViT": lambda: (polyphase.PolyViT(24, dim=16, depth=1, heads=2), [images(2, 1, 24, 24)]),
    "PolyTwins": lambda: (polyphase.PolyTwins(24, dims=(16, 24)), [images(2, 1, 24, 24)]),
    "SoftProjectedLinear": lambda: (
        soft.SoftProjectedLinear(VECTORS, VECTORS, GROUP, 0.5), [torch.rand(4, VECTORS.size)]
    ),
    "LatentNetwork": lambda: (
        soft.LatentNetwork(2, 1, 8, cyclic(4), copies=2), [torch.rand(4, 2)]
    ),
    "SoftTypedLinear": lambda: (
        soft.SoftTypedLinear(VECTORS, VECTORS, [GROUP]), [torch.rand(4, VECTORS.size)]
    ),
    "ExactTypedLinear": lambda: (
        soft.ExactTypedLinear(VECTORS, VECTORS, GROUP), [torch.rand(4, VECTORS.size)]
    ),
    "ResidualTypedLinear": lambda: (
        soft.ResidualTypedLinear(VECTORS, VECTORS, GROUP), [torch.rand(4, VECTORS.size)]
    ),
    "GatedQuadratic": lambda: gated(),
    "TypedNetwork": lambda: (
        soft.TypedNetwork(
            VECTORS, VECTORS, VECTORS, partial(soft.ExactTypedLinear, group=GROUP), depth=2
        ),
        [torch.rand(4, VECTORS.size)],
    ),
    "CostVolumeNet": lambda: (velocimetry.CostVolumeNet(), [images(2, 2, 16, 16)]),
    "GroupAverage": lambda: averaged(),
}  # fmt: skip


def gated():
    act = soft.GatedQuadratic(VECTORS)
    return act, [torch.rand(4, act.rep_in.size)]


def averaged():
    net, x = velocimetry.GroupAverage(velocimetry.CostVolumeNet()), images(2, 2, 16, 16)
    net(x)  # the table of D4, on the CPU, is made once
    return net, [x]


def found_boxes(pictures):
    return [{"boxes": torch.ones(3, 4), "scores": torch.arange(3.0), "labels": torch.arange(3)}
            for _ in pictures]  # fmt: skip


# Base classes without a forward, and a part of PolyTwins.
PARTS = {"_Resampler", "_Kernel", "ExactConstants", "Stage"}
# Where the compiler stops in those that are not one graph. To guard the irreps of a layer it asks
# for their length, which e3nn refuses. It looks through the cache of the table of D4, and finds the
# checks of a group.
IRREPS, CHECKS = r'e3nn.*_irreps\.py".* in __len__', r'equitutor.groups\.py".* in _check_matrices'
NO_GRAPH = {
    "TensorField": IRREPS,
    "TensorField, Kabsch": IRREPS,
    "SteerableCNN": IRREPS,
    "SteerableConv": IRREPS,
    "GroupAverage": CHECKS,
}


def module_classes():
    for room in (equitutor.methods, equitutor.models):
        for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                own = inspect.isclass(value) and value.__module__ == module.__name__
                if own and issubclass(value, nn.Module):
                    yield name, value


def build(name):
    torch.manual_seed(0)
    module, inputs = CASES[name]()
    return module.eval(), inputs


def test_every_module_has_a_case():
    covered = {type(build(name)[0]) for name in CASES}
    assert not {name for name, value in module_classes() if value not in covered} - PARTS


@pytest.mark.parametrize("name", CASES)
def test_no_forward_reads_a_number(name):
    module, inputs = build(name)
    without_reads(lambda: module(*inputs))


@pytest.mark.parametrize("name", sorted(set(CASES) - {"GroupAverage"}))
def test_no_forward_reads_a_number_of_a_device(name):
    """Tensors on the device "meta" have no numbers at all: whatever reads one fails."""
    module, inputs = build(name)
    away = lambda part: part.to("meta") if isinstance(part, torch.Tensor) else part
    inputs = [[*map(away, part)] if isinstance(part, list) else away(part) for part in inputs]
    module.to("meta")(*inputs)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: 1 if (x > 0).all() else 0,
        lambda x: int(x.max()),
        lambda x: torch.zeros(3)[: int(x[0])],
        lambda x: nn.functional.one_hot(x.long(), 3),
        lambda x: torch.equal(x, x),
        lambda x: x.numpy(),
    ],
)
def test_a_forward_that_reads_is_caught(call):
    x = torch.ones(2)
    call(x)
    with pytest.raises(HostReadError):
        without_reads(lambda: call(x))


@pytest.mark.parametrize("name", CASES)
def test_every_forward_is_one_graph(name):
    module, inputs = build(name)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler, about itself
        expected = module(*inputs)
        torch._dynamo.reset()
        compiled = torch.compile(module, fullgraph=True, backend="eager")
        if name in NO_GRAPH:
            with pytest.raises(Exception, match=r"NotImplemented|Data-dependent") as caught:
                compiled(*inputs)
            assert re.search(NO_GRAPH[name], "".join(traceback.format_exception(caught.value)))
            return
        torch.testing.assert_close(compiled(*inputs), expected, rtol=1e-4, atol=1e-5)


def test_steps_of_training_read_nothing():
    """Besides the forward: the losses, and the noise that a chain adds."""
    scans = random_scans(BODY, 2, 60)
    net = PosePointNet(6, BODY.n_shape)
    without_reads(lambda: fit_loss(net(scans.points), scans, BODY).backward())
    chain, generator = Diffusion(), torch.Generator().manual_seed(0)
    unet = UNet("kaiser", width=8)
    without_reads(lambda: chain.loss(unet, images(2, 1, 16, 16), generator).backward())
    without_reads(lambda: farthest_points(cloud(), 5))


def test_the_sum_over_neighbors_is_the_same_in_a_graph():
    torch.manual_seed(0)
    kappa, features = torch.rand(20, 13, 8).sub(0.5).relu(), torch.rand(40, 60, 4)
    index = torch.randint(40, (20, 8))
    dense = torch.compile(kernel_sums, fullgraph=True, backend="eager")(kappa, index, features)
    torch.testing.assert_close(dense, kernel_sums(kappa, index, features))


def test_an_index_of_another_cloud_is_refused_without_a_look():
    values = torch.rand(2, 5, 3)
    for bad in ([[5], [0]], [[-1], [0]], [[0], [5]]):
        with pytest.raises(IndexError):
            without_reads(lambda bad=bad: take(values, torch.tensor(bad)))
