"""The soft-equivariance explorer as a file and as numbers; tests/site opens it in a browser."""

import json
import shutil
import subprocess
from functools import partial
from itertools import pairwise

import pytest
import torch
from conftest import missing, rounding
from torch.testing import assert_close

from equitutor.explorers.host import MAX_BYTES, source
from equitutor.explorers.soft import load_soft, page_soft, save_soft, soft_explorer
from equitutor.methods.soft import (
    ExactTypedLinear,
    O,
    Rep,
    SoftTypedLinear,
    TypedNetwork,
    embed_O2,
    soft_layers,
)

GROUPS = [O(3), embed_O2((0, 1)), embed_O2((1, 2))]
SPACES = {
    "inertia": (Rep(3, 3), Rep(12, 8, 2), Rep(n2=1), 3),
    "odd counts": (Rep(2, 1, 1), Rep(5, 7, 3), Rep(2, 2, 1), 4),
    "vectors only": (Rep(n1=2), Rep(n1=4), Rep(n1=1), 2),
    "one layer": (Rep(1, 1), Rep(1, 1), Rep(n2=1), 1),
}


def network(name="inertia", seed=0, groups=GROUPS, **more):
    torch.manual_seed(seed)
    *reps, depth = SPACES[name]
    layer = partial(SoftTypedLinear, groups=groups)
    return TypedNetwork(*reps, layer, depth, **more).eval()


def inputs(net, n=6):
    return torch.randn(n, net.rep_in.size, generator=torch.Generator().manual_seed(1))


# The JavaScript network ----------------------------------------------------------------------

DRIVER = """
import { readFileSync } from "node:fs";
const job = JSON.parse(readFileSync(0, "utf8"));
const { net, xs, h, repIn, group, t } = job;
const out = xs.map((x) => [
  [...typedForward(net, net.layers, x)],
  [...typedForward(net, blend(net.layers, net.projected[group], t), x)],
  [...actOn(h, x, repIn)],
]);
console.log(JSON.stringify(out));
"""


def plain(value):
    """Arrays as flat lists, as the page's typed arrays are."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.ravel().tolist() if hasattr(value, "ravel") else value


def in_node(net, x, h, group, t):
    node = shutil.which("node")
    if node is None:
        missing("needs Node.js to run js/soft-nn.js")
    rep = net.rep_in
    job = {
        "net": plain(page_soft(net)),
        "xs": x.tolist(),
        "h": h.flatten().tolist(),
        "repIn": [rep.n0, rep.n1, rep.n2],
        "group": group,
        "t": t,
    }
    code = source("soft-nn.js") + DRIVER
    run = subprocess.run(
        [node, "--input-type=module", "--eval", code],
        input=json.dumps(job), capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    parts = zip(*json.loads(run.stdout), strict=True)
    return [torch.tensor(part, dtype=torch.float64) for part in parts]


def moved(net, group, t):
    """The network with the weights P W + t (W - P W)."""
    with torch.no_grad():
        for layer in soft_layers(net).values():
            p = layer.projectors[group]
            for value, kept in ((layer.weight, p.weight), (layer.bias, p.bias)):
                value.copy_(kept(value) + t * (value - kept(value)))
    return net


@torch.no_grad()
@pytest.mark.parametrize("name", SPACES)
def test_page_computes_what_pytorch_computes(name):
    net = network(name)
    x, h = inputs(net), O(3).sample(1, torch.Generator().manual_seed(0))[0]
    y, between, turned = in_node(net, x, h, group=1, t=0.35)
    x, close = x.double(), rounding(torch.float64, net)
    assert_close(y, net.double()(x), atol=close, rtol=0)
    assert_close(turned, x @ net.rep_in.rho(h).mT, atol=close, rtol=0)
    # Projected weights travel as float32.
    wanted = moved(network(name).double(), 1, 0.35)(x)
    assert_close(between, wanted, atol=rounding(torch.float32, net), rtol=0)
    assert not torch.allclose(between, y, atol=1e-3)  # the broken twin: t has an effect


def test_at_zero_the_page_is_equivariant():
    net, x = network(), inputs(network())
    h = GROUPS[1].sample(1, torch.Generator().manual_seed(0))[0]
    turned = x.double() @ net.rep_in.rho(h).mT
    for t, equal in ((0.0, True), (1.0, False)):
        before = in_node(net, x, h, 1, t)[1] @ net.rep_out.rho(h).mT
        after = in_node(net, turned, h, 1, t)[1]
        assert torch.allclose(before, after, atol=rounding(torch.float32, net), rtol=0) == equal


def test_ticks_are_round_and_inside():
    node = shutil.which("node")
    if node is None:
        missing("needs Node.js to run js/soft.js")
    tops = [0.525, 1.5, 4.3, 9.1, 20, 47.25, 100, 120, 4007]
    code = source("soft.js") + f"\nconsole.log(JSON.stringify({tops}.map(softTicks)));"
    run = subprocess.run(
        [node, "--input-type=module", "--eval", code], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    for top, ticks in zip(tops, found, strict=True):
        steps = {round(b - a, 9) for a, b in pairwise(ticks)}
        assert ticks[0] == 0
        assert ticks[-1] <= top
        assert 3 <= len(ticks) <= 6
        assert len(steps) == 1
        assert f"{steps.pop():.0e}"[0] in "125"
    assert found[3] == [0, 2, 4, 6, 8]


# Files ---------------------------------------------------------------------------------------


def test_checkpoint_round_trip(tmp_path):
    net = network("odd counts")
    again = load_soft(save_soft(net, tmp_path / "net.safetensors"))
    x = inputs(net)
    assert torch.equal(again(x), net(x))
    assert [g.name for g in again[0].groups] == [g.name for g in GROUPS]
    assert_close(again[0].distances(), net[0].distances())


def test_checkpoint_refuses_what_does_not_fit(tmp_path):
    exact = TypedNetwork(*SPACES["inertia"][:3], partial(ExactTypedLinear, group=O(3)))
    with pytest.raises(ValueError, match="net must be a TypedNetwork of SoftTypedLinear"):
        save_soft(exact, tmp_path / "net.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a checkpoint of save_soft"):
        load_soft(tmp_path / "broken.safetensors")
    with pytest.raises(FileNotFoundError):
        load_soft(tmp_path / "nowhere.safetensors")


# The explorer --------------------------------------------------------------------------------


def explorer(nets=None, groups=GROUPS, n=20, holds="O(2)_xy", **spoil):
    nets = {"PER": network(), "no penalty": network(seed=1)} if nets is None else nets
    x = torch.randn(n, 12, generator=torch.Generator().manual_seed(0))
    y = torch.randn(n, 9, generator=torch.Generator().manual_seed(1))
    given = {"x": x, "y": y, "holds": holds, **spoil}
    return soft_explorer(nets, groups, **given)


def test_it_fits_and_is_reproducible():
    page = explorer().to_html()
    assert len(page) < MAX_BYTES / 2
    assert page == explorer().to_html()
    assert "is best at t =" in page  # the picture's words


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"nets": {}}, "networks must hold at least one"),
        ({"holds": "O(9)"}, "holds must be one of"),
        ({"groups": GROUPS[:2]}, "groups must be those of"),
        ({"x": torch.zeros(20, 11)}, r"x must be \(..., 12\)"),
        ({"y": torch.zeros(20, 8)}, r"y must be \(..., 9\)"),
        ({"y": torch.zeros(3, 9)}, "1 to 200 samples"),
        ({"n": 201}, "1 to 200 samples"),
        ({"nets": {"a": network(bypass=True)}}, "neither unit products nor a bypass"),
        ({"nets": {"a": network(unit=True)}}, "neither unit products nor a bypass"),
    ],
    ids=lambda v: "" if isinstance(v, str) else next(iter(v)),
)
def test_bad_input(spoil, words):
    with pytest.raises(ValueError, match=words):
        explorer(**spoil)
