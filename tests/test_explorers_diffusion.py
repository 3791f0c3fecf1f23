"""The explorers of denoisers: networks, moves and chains in the page are those of PyTorch."""

import json
import math
import shutil
import subprocess

import pytest
import torch
from conftest import missing, rounding
from torch import nn
from torch.testing import assert_close

from equitutor.explorers.denoisers import load_denoiser, page_denoiser, rounded, save_denoiser
from equitutor.explorers.diffusion import dial_explorer, equivariance_explorer
from equitutor.explorers.host import pack, source
from equitutor.methods.alias_free import (
    band_limit,
    disc_mask,
    eq_psnr,
    ideal_rotate,
    ideal_shift,
)
from equitutor.methods.diffusion import (
    Diffusion,
    RotationPlan,
    UNet,
    radial_convolutions,
    realized_angles,
)

CHAIN = Diffusion("cosine", 1000, predict="velocity")
SIDE = 16

DRIVER = """
import { readFileSync } from "node:fs";
const job = JSON.parse(readFileSync(0, "utf8"), (_, value) => {
  if (typeof value?.float32 !== "string") return value;
  const bytes = Uint8Array.from(atob(value.float32), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
});
const f64 = (x) => Float64Array.from(x);
console.log(JSON.stringify(run(job, f64), (_, v) => ArrayBuffer.isView(v) ? [...v] : v));
"""


def in_node(body, **job):
    """Returns what the JavaScript function body, of `job` and `f64`, returns."""
    node = shutil.which("node")
    if node is None:
        missing("needs Node.js to run js/unet.js")
    code = "\n".join([source("unet.js"), source("moves.js"), DRIVER])
    code = f"function run(job, f64) {{ {body} }}\n{code}"
    done = subprocess.run(
        [node, "--input-type=module", "--eval", code],
        input=json.dumps(pack(job)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def net(radial=False, seed=0, **settings):
    torch.manual_seed(seed)
    model = UNet(**{"width": 4, "time_dim": 8} | settings).eval()
    with torch.no_grad():
        for p in model.parameters():  # random numbers everywhere, biases and norms as well
            p.add_(0.1 * torch.randn_like(p))
    return radial_convolutions(model) if radial else model


def like(x, values):
    return torch.tensor(values, dtype=torch.float64).view_as(x)


CASES = {
    "max-pool": dict(resampler="maxpool_bilinear"),
    "average": dict(resampler="avg_nearest"),
    "kaiser": dict(resampler="kaiser", padding="circular"),
    "kaiser filtered": dict(resampler="kaiser", act_factor=2),
    "jinc filtered": dict(resampler="jinc", act_factor=2, padding="circular"),
    "ideal": dict(resampler="ideal", padding="circular", act_factor=2),
    "three levels": dict(resampler="kaiser", levels=3),
    "radial": dict(resampler="avg_nearest", radial=True),
}


class Sent(nn.Module):
    """A resampler with its matrices as the page gets them: by the side of the map, of float32."""

    factor = 2  # the page knows no other

    def __init__(self, terms):
        super().__init__()
        self.terms = {int(n): value for n, value in terms.items()}

    def forward(self, x):
        number = lambda matrix: torch.tensor(matrix).float().to(x)
        terms = self.terms[x.shape[-1]]
        return sum(number(t["left"]) @ x @ number(t["right"]) for t in terms)


def as_sent(model):
    """What the page computes with, to the last digit: rounded weights and filters, in float64."""
    config, model = page_denoiser(model, SIDE)["config"], rounded(model).double()
    model.up = Sent(config["up"])
    if config["down"]:
        model.down = Sent(config["down"])
    if config["act"]:
        act = model.enter.act  # the one of all layers
        act.up = Sent({n: terms["up"] for n, terms in config["act"].items()})
        act.down = Sent({2 * int(n): terms["down"] for n, terms in config["act"].items()})
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_the_network_in_the_page_is_that_of_pytorch(name):
    model = net(**CASES[name])
    x, steps = noise(2, 1, SIDE, SIDE), torch.tensor([3, 720])
    got = in_node(
        "const net = unpackNetwork(job.net);"
        "const image = (k) => f64(job.x.subarray(256 * k, 256 * k + 256));"
        "return job.steps.map((t, k) => unetForward(net, image(k), t));",
        net=page_denoiser(model, SIDE),
        x=x.numpy(),
        steps=steps.tolist(),
    )
    got, x = torch.tensor(got, dtype=torch.float64).view(x.shape), x.double()
    same, exact = as_sent(model), rounded(model).double()
    assert_close(got, same(x, steps), atol=rounding(torch.float64, exact), rtol=0)
    assert_close(got, exact(x, steps), atol=rounding(torch.float32, exact), rtol=0)
    assert_close(got, model.double()(x, steps), atol=3e-2, rtol=3e-2)  # halves cost little
    other = rounded(net(**CASES[name], seed=1)).double()(x, steps)  # broken twin
    assert (got - other).abs().max() > 1e-2


def test_halves_are_unpacked_bit_for_bit():
    import base64

    values = torch.tensor([0.0, -0.0, 1.0, -2.5, 65504.0, 6e-8, -1e-5, 0.1]).half()
    text = base64.b64encode(values.numpy().astype("<f2").tobytes()).decode()
    got = in_node("return unpackHalf(job.text);", text=text)
    assert_close(torch.tensor(got).half(), values, atol=0, rtol=0)


@pytest.mark.parametrize("angle", [0, 30, 45, -45, 90, 135, -170, 180])
def test_turns_are_those_of_the_package(angle):
    x = noise(1, 1, SIDE, SIDE)
    turned = in_node("return idealRotate(f64(job.x), 16, job.angle);", x=x.numpy(), angle=angle)
    assert_close(like(x, turned), ideal_rotate(x.double(), angle), atol=1e-12, rtol=0)


@pytest.mark.parametrize("shift", [(0.37, -5.21), (-4, 3), (2, 0.5), (-0.5, 17), (1e-9, 0)])
def test_shifts_are_those_of_the_package(shift):
    x = noise(1, 1, SIDE, SIDE)  # with Nyquist waves
    got = in_node("return idealShift(f64(job.x), 16, ...job.shift);", x=x.numpy(), shift=shift)
    wanted = ideal_shift(x.double(), shift)
    whole = all(s == int(s) for s in shift)
    assert_close(like(x, got), wanted, atol=0 if whole else 1e-12, rtol=0)
    assert (like(x, got) - band_limit(wanted, 0.99)).abs().max() > 0.1  # twin: without them


def test_decibels_and_masks_are_those_of_the_package():
    a, b = noise(1, 1, SIDE, SIDE), noise(1, 1, SIDE, SIDE, seed=1)
    whole, inside, exact = in_node(
        "const [a, b] = [f64(job.a), f64(job.b)];"
        "return [decibels(a, b), decibels(a, b, discMask(16)), decibels(a, a) === Infinity];",
        a=a.numpy(),
        b=b.numpy(),
    )
    assert exact
    a, b = a.double(), b.double()
    zero_or_a = lambda x: x * 0 if x is a else a  # f(T a) = f(b) = a, and T f(a) = b
    assert whole == pytest.approx(eq_psnr(zero_or_a, lambda x: b, a), abs=1e-9)
    mse = (a - b).square().mean().item()
    assert whole == pytest.approx(10 * math.log10(4 / mse), abs=1e-9)
    mse = (a - b)[..., disc_mask(SIDE)].square().mean().item()
    assert inside == pytest.approx(10 * math.log10(4 / mse), abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("angle", [0, 60])
def test_a_chain_in_the_page_makes_the_same_image(angle):
    model, start, steps = net(), noise(1, 1, SIDE, SIDE, seed=2), 6
    times = CHAIN.times(steps)[:-1]
    plan = RotationPlan(angle)
    exact, trace = as_sent(model), []
    CHAIN.sample(exact, start.shape, steps, rotate=plan, start=start.double(), trace=trace)
    got, best = in_node(
        "const net = unpackNetwork(job.net);"
        "const trace = sampleChain(net, f64(job.start), 16, job.times, job.levels, job.turns);"
        "return [trace, realizedAngle(f64(job.start), trace[job.times.length - 1], 16)];",
        net=page_denoiser(model, SIDE),
        start=start.numpy(),
        times=times,
        levels=[CHAIN.alpha_bar[t].item() for t in times],
        turns=plan.increments(steps),
    )
    for ours, theirs in zip(got, trace, strict=True):
        assert_close(like(start, ours), theirs, atol=steps * rounding(torch.float64, exact), rtol=0)
    angles, alike = realized_angles(start.double(), trace[-1])
    assert best["angle"] == angles.item()
    assert best["alike"] == pytest.approx(alike.item(), abs=1e-9)


def test_checkpoints_come_back_rounded(tmp_path):
    config = dict(resampler="avg_nearest", width=4, time_dim=8)
    model = net(radial=True, **config)
    path = save_denoiser(model, tmp_path / "net", **config)
    back = load_denoiser(path)
    x, t = noise(2, 1, SIDE, SIDE), torch.tensor([1, 900])
    assert torch.equal(back(x, t), rounded(model)(x, t))
    assert path.stat().st_size < 3 * sum(p.numel() for p in model.parameters())
    kernel = back.enter.second.weight
    assert torch.equal(kernel, kernel.rot90(1, (2, 3)))  # still radial
    assert "parametrizations" not in "".join(back.state_dict())


def test_checkpoints_refuse_what_does_not_fit(tmp_path):
    with pytest.raises(ValueError, match="does not rebuild"):
        save_denoiser(net(), tmp_path / "net", width=8, time_dim=8)
    with pytest.raises(ValueError, match=r"takes \d+ bytes .* at most 2000000"):
        save_denoiser(UNet(width=32), tmp_path / "net", width=32)
    with pytest.raises(TypeError, match="must be a UNet, got Linear"):
        save_denoiser(torch.nn.Linear(1, 1), tmp_path / "net")
    (tmp_path / "broken").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_denoiser(tmp_path / "broken")
    with pytest.raises(FileNotFoundError):
        load_denoiser(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "side", "message"),
    [
        (dict(channels=3), 16, "one channel"),
        (dict(attend_from=1), 16, "no attention"),
        (dict(padding="replicate"), 16, "pad with zeros or around"),
        (dict(resampler="paper3x3"), 16, "can't resample with KernelDown"),
        (dict(act_factor=4), 16, "filtered ones of factor 2"),
        (dict(), 10, "side must be a multiple of 4"),
        (dict(), 16.0, "side must be a multiple of 4"),
    ],
)
def test_the_page_refuses_what_it_cannot_compute(settings, side, message):
    with pytest.raises(ValueError, match=message):
        page_denoiser(net(**settings), side)


def test_explorers_refuse_bad_arguments():
    nets, x = {"a": net()}, torch.zeros(2, 1, SIDE, SIDE)
    for call, message in [
        (lambda: equivariance_explorer({}, x, CHAIN), "networks must be 1 to 5"),
        (lambda: equivariance_explorer(nets, x[0], CHAIN), "images must be"),
        (lambda: equivariance_explorer(nets, x[:1].expand(7, -1, -1, -1), CHAIN), "images must be"),
        (lambda: equivariance_explorer(nets, x * float("nan"), CHAIN), "finite"),
        (lambda: equivariance_explorer(nets, x, Diffusion()), "must predict velocity"),
        (lambda: equivariance_explorer(nets, x, CHAIN, (1, 2)), "times must be 3 or more"),
        (lambda: equivariance_explorer(nets, x, CHAIN, (1, 2, 1000)), "times must be"),
        (lambda: dial_explorer(nets, x, CHAIN, angle=7), "angle must be a multiple of 5"),
        (lambda: dial_explorer(nets, x, CHAIN, steps=1), "steps must be 2 or more"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_an_explorer_of_four_networks_fits_a_page():
    nets = {name: net(width=6, time_dim=64, act_factor=2, seed=k) for k, name in enumerate("abcd")}
    explorer = equivariance_explorer(nets, torch.zeros(4, 1, SIDE, SIDE), CHAIN)
    assert len(explorer.to_html().encode()) < 1_000_000
    assert "dB" in explorer.alt
