"""A GPU in place of the CPU: no tensor is left behind, in the package or in a chapter."""

import matplotlib
import nbformat
import pytest
import torch
from conftest import ROOT
from elsewhere import AWAY, elsewhere
from hypothesis import settings
from IPython.core.inputtransformer2 import TransformerManager
from torch import nn

from equitutor import orbits, training
from equitutor.chapters import chapters
from equitutor.methods import polyphase


@pytest.fixture
def away():
    with elsewhere() as device:
        yield device


def digits(n=8):
    return torch.rand(n, 1, 8, 8), torch.arange(n) % 3


def network(**options):
    return polyphase.PolyViT(size=8, patch=4, dim=8, depth=1, heads=2, classes=3, **options)


# What goes wrong on a GPU when a tensor is left on the CPU, and what does not.
LEFT = {
    "an input": lambda net, x: net(x.cpu()),
    "a constant": lambda net, x: net(x + torch.linspace(0, 1, 8)),
    "a buffer": lambda net, x: net(x) * torch.ones(3),
    "an index on the device": lambda net, x: x.cpu()[torch.tensor([0], device=AWAY)],
    "a picture": lambda net, x: x.numpy(),
}


@pytest.mark.parametrize("fault", LEFT.values(), ids=LEFT)
def test_a_tensor_left_on_the_cpu_is_caught(away, fault):
    net, x = network().to(away), digits()[0].to(away)
    net(x), net(x * 2 + torch.tensor(1.0))[torch.tensor([0, 1])], x.cpu().numpy()
    with pytest.raises((RuntimeError, TypeError)):
        fault(net, x)


def test_training_and_the_meter_work_there(away):
    x, y = digits()
    net = network()
    loss = nn.functional.cross_entropy
    training.fit(net, training.Batches(x, y, 4), loss, steps=2, progress=False)
    assert next(net.parameters()).device == away
    result = orbits.evaluate(net, x, y, orbits.shifts(8, 8), progress=False)
    assert result.scores.device.type == "cpu" and result.scores.shape == (64, 8)
    orbits.assert_equivariant(net, x, orbits.shifts(8, 8, step=4))
    orbits.diagnose(network(poly=False), x[:2], orbits.shifts(8, 8, step=2))


NIGHTLY = settings.get_current_profile_name() == "nightly"  # --hypothesis-profile=nightly


@pytest.mark.skipif(not NIGHTLY, reason="minutes for each chapter: a nightly run")
@pytest.mark.filterwarnings("ignore")  # the pages themselves run under their own rule
@pytest.mark.parametrize("name", [n for n in chapters(ROOT) if "/" not in n])
def test_a_chapter_runs_there(name, away, monkeypatch, tmp_path):
    """All its cells, each training two steps long: then numbers are no good, and may say so."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    fit = training.fit
    short = lambda model, batches, loss, steps, *args, **options: fit(
        model, batches, loss, min(steps, 2), *args, **options
    )
    monkeypatch.setattr(training, "fit", short)
    cells = nbformat.read(chapters(ROOT)[name], as_version=4).cells
    names: dict = {"__name__": "__main__"}
    for cell in cells:
        if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", ()):
            source = TransformerManager().transform_cell(cell.source)
            try:
                exec(compile(source, cell.id, "exec"), names)
            except AssertionError as error:  # `assert_close` tells so of two devices, too
                assert "device" not in str(error)
