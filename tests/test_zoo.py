"""The meter on networks of other people: it finds what is known about them, and no more."""

import warnings
from functools import cache

import pytest
import torch

from equitutor.diagnose.watching import OWN
from equitutor.diagnose.zoo import ZOO, Animal
from equitutor.orbits import diagnose

# name -> a part of the layer that is to be named, and a word of its advice; none where all is well
FINDINGS = {
    "EfficientNet-Lite0, ImageNet": ("_conv_stem", ""),
    "ViT": ("vit.embeddings", "positions"),
    "Swin": ("layers.0.blocks.0.attention", "by place"),
    "TransformerEncoder over patches": None,
    "UNet of diffusers": ("conv_in", "circular"),
    "e3nn network": None,
    "escnn network": None,
    "EGNN": None,
    "Point Transformer": ("pos_mlp.0", "irrep"),
    "ResNet of timm": ("conv1", "stride"),
    "ConvNeXt of torchvision": ("features.0.0", "stride"),
}


@cache
def made(name):
    torch.manual_seed(0)
    return ZOO[name].make(ZOO[name].side)


def examine(name, **options):
    animal = ZOO[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here = animal.here
    if not here:
        pytest.skip(f"{animal.package} is not installed, or does not load")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries
        network, x, orbit = made(name)
        options = {"perturb": animal.perturb} | options
        return diagnose(network, x, orbit, **options), network


@pytest.mark.parametrize("name", [name for name in ZOO if not name.startswith("EfficientNet")])
def test_what_is_known_about_a_network_is_found(name):
    found, _ = examine(name, elements=6)
    assert bool(found) == ZOO[name].sound
    if ZOO[name].sound:
        assert found.verdict == "equivariant" and found.layer is None
        assert any(r.verdict == "fits" for r in found.layers if r.side == "out" and r.name != OWN)
        return
    layer, advice = FINDINGS[name]
    assert found.verdict == "lost" and layer in found.layer, str(found)
    assert advice in found.hint


def test_a_package_that_does_not_load_is_not_here(tmp_path, monkeypatch):
    (tmp_path / "built_for_another.py").write_text("raise ImportError('numpy')\n")
    monkeypatch.syspath_prepend(tmp_path)
    make = ZOO["UNet of diffusers"].make
    assert not Animal("built_for_another", make, "").here and not Animal("nobody", make, "").here
    assert Animal("", make, "").here and Animal("json", make, "").here


def test_every_network_has_a_finding():
    assert {name for name in ZOO if not ZOO[name].sound} == {k for k, v in FINDINGS.items() if v}


def test_a_branch_that_starts_at_zero_is_no_proof():
    found, _ = examine("e3nn network", perturb=0.0, elements=2)
    assert found.verdict == "says nothing" and "perturb" in found.hint


def test_what_repairs_of_a_trained_network_gain():
    """In a network as it is found each layer with padding or stride is named, and no other."""
    found, network = examine("EfficientNet-Lite0, ImageNet", elements=2, repairs=True)
    assert found.verdict == "lost" and FINDINGS["EfficientNet-Lite0, ImageNet"][0] in found.layer
    wide = {"_conv_stem"} | {f"_blocks.{k}._depthwise_conv" for k in range(16)}
    assert {s.layer for s in found.suspects} == wide
    for suspect in found.suspects:
        strided = max(network.get_submodule(suspect.layer).stride) > 1
        assert ("by its place" in suspect.cause) == strided
        assert "border" in suspect.cause
    gains = [s.gain for s in found.suspects]
    assert gains == sorted(gains, reverse=True) and 0.05 < gains[0] < 1
