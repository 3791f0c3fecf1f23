"""ArtEq: its convolution against the naive form and e3nn, its memory, and against optimization."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from lib.timing import compare, table

from equitutor.groups import haar_so3
from equitutor.methods.articulated import (
    ArtEq,
    fit_body,
    fit_loss,
    fit_metrics,
    random_scans,
    toy_body,
    use_true_labels,
)
from equitutor.methods.icosahedral import InterConv, nearest, rotation_tables, take

BATCH, POINTS, NEAR, WIDTH = 8, 320, 24, 8
STEPS = 400  # of training, before the forward pass is compared with optimization
BODIES = 8  # that are fitted


def naive(layer: InterConv, elements, x, near, f) -> torch.Tensor:
    """Return the same convolution as the formula has it: gather for every R_a k_m.

    Written with some care: one matrix product for the distances, one contraction at a time.
    """
    u = take(x, near) - x[:, :, None]
    turned = torch.einsum("aij,mj->ami", elements, layer.kernel)  # (60, 13, 3)
    square = u.square().sum(-1)
    apart = square[..., None, None] - 2 * torch.einsum("bski,ami->bskam", u, turned)
    apart = apart + turned.square().sum(-1)
    kappa = (1 - apart * (4 / layer.radius**2)).relu()  # (B, S, k, 60, 13)
    gathered = torch.einsum("bskam,bskac->bsamc", kappa, take(f, near))
    out = torch.einsum("bsamc,mcd->bsad", gathered, layer.weight)
    count = (1 - square / layer.radius**2).relu().sum(2).clamp(min=1)
    return out / count[..., None, None]


def inputs(width: int):
    draw = torch.Generator().manual_seed(0)
    scans = random_scans(toy_body(), BATCH, POINTS, generator=draw)
    x = scans.points
    features = torch.randn(BATCH, POINTS, 60, width, generator=draw)
    return x, nearest(x, x, NEAR), features


def backward(call, f):
    f = f.requires_grad_()
    call(f).square().sum().backward()


def convolution() -> None:
    """Print forward and backward times of one layer."""
    from e3nn import o3

    from equitutor.methods.articulated.tensor_field import Message

    tables = rotation_tables()
    elements = tables.elements.float()
    rows = []
    for width in (WIDTH, 2 * WIDTH):
        x, near, f = inputs(width)
        layer = InterConv(tables, width, width, 0.16)
        rivals = {
            "ours": (lambda f, layer=layer, x=x, near=near: layer(x, x, near, f), f),
            "naive": (lambda f, layer=layer, x=x, near=near: naive(layer, elements, x, near, f), f),
        }
        if width == WIDTH:  # it takes seconds
            irreps = o3.Irreps(f"{width}x0e + {width}x1e + {width}x2e")
            tensor_product = Message(irreps, irreps, 0.16)
            g = torch.randn(BATCH, POINTS, irreps.dim)
            rivals["e3nn"] = (lambda g, tp=tensor_product, x=x, near=near: tp(x, near, g), g)
        check_equal(*(rivals[name] for name in ("ours", "naive")), layer)
        for name, run in (("forward", lambda call, f: call(f)), ("forward + backward", backward)):
            ms = compare(
                {
                    k: lambda call=call, f=f, run=run: run(call, f)
                    for k, (call, f) in rivals.items()
                },
                repeats=3,
            )
            e3nn = (ms["e3nn"], ms["e3nn"] / ms["ours"]) if "e3nn" in ms else ("-", "-")
            rows.append((f"{width} channels", name, ms["ours"], ms["naive"], e3nn[0],
                         ms["naive"] / ms["ours"], e3nn[1]))  # fmt: skip
    table(
        f"convolution between points, B {BATCH}, N {POINTS}, {NEAR} neighbors, 60 x 13, ms, one "
        "thread (target: naive / ours >= 5 with the backward pass); e3nn: as many channels of each "
        "of the degrees 0, 1, 2",
        ("layer", "pass", "ours", "naive", "e3nn", "naive/ours", "e3nn/ours"),
        rows,
    )


def check_equal(ours, theirs, layer) -> None:
    """Raise unless values and gradients of both calls are equal."""
    found = []
    for call, f in (ours, theirs):
        f = f.clone().requires_grad_()
        out = call(f)
        found.append((out.detach(), *torch.autograd.grad(out.square().mean(), (f, layer.weight))))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * float(b.abs().max()), rtol=1e-4)


def memory(kind: str) -> float:
    """Return the megabytes that the peak of this process grows by in one forward and backward."""
    tables = rotation_tables()
    x, near, f = inputs(WIDTH)
    layer = InterConv(tables, WIDTH, WIDTH, 0.16)
    elements = tables.elements.float()
    before = peak_kb()
    if kind == "ours":
        backward(lambda f: layer(x, x, near, f), f)
    else:
        backward(lambda f: naive(layer, elements, x, near, f), f)
    return (peak_kb() - before) / 1024


def peak_kb() -> float:
    """Return the peak memory of this process in kB.

    Not from `resource` where it can be helped: a child begins there with its parent's peak.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return float(lines["VmHWM"].split()[0])


def trained(body) -> ArtEq:
    """Return a network trained a little on bodies turned at random."""
    torch.manual_seed(0)
    net = ArtEq(body.parents, body.n_shape)
    draw = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=STEPS, pct_start=0.1)
    for step in range(STEPS):
        scans = random_scans(body, BATCH, POINTS, root="random", generator=draw)
        labels = scans.labels if use_true_labels(step, STEPS) else None
        loss = fit_loss(net(scans.points, labels), scans)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        rate.step()
    return net.eval()


def optimization() -> None:
    """Print the time for one body: forward pass, and fits from one start or several."""
    body = toy_body()
    net = trained(body)
    draw = torch.Generator().manual_seed(9)
    scans = random_scans(body, BODIES, POINTS, root="random", generator=draw)
    rows = []

    def measure(name, call, repeats=1):
        start = time.process_time()
        for _ in range(repeats):
            prediction = call()
        ms = 1000 * (time.process_time() - start) / repeats / BODIES
        found = fit_metrics(prediction, scans, body)
        rows.append((name, ms, float(found["v2v"].mean()), float(found["v2v"].median()),
                     float(found["world"].mean())))  # fmt: skip

    def fit(starts, steps):
        turns = haar_so3(starts, torch.Generator().manual_seed(1)).float()
        return fit_body(body, scans.points, steps, turns).prediction(body.n_parts)

    with torch.no_grad():
        net(scans.points)
        measure("network", lambda: net(scans.points), 5)
    fit(1, 2)
    for starts, steps in ((1, 50), (1, 150), (4, 50), (12, 50), (24, 50), (24, 100)):
        measure(f"Adam, {starts} starts, {steps} steps", lambda a=starts, b=steps: fit(a, b))
    first = rows[0]
    rows = [(*row, row[1] / first[1], "yes" if row[2] <= first[2] else "no") for row in rows]
    table(
        f"one of {BODIES} bodies of {POINTS} points, any root; the network was trained for {STEPS} "
        "steps; as good: mean V2V no larger than the network's",
        ("method", "ms", "V2V cm", "median", "world deg", "ms/network's", "as good"),
        rows,
    )


def main() -> None:
    """Print three tables."""
    torch.set_num_threads(1)
    convolution()
    rows = []
    for kind in ("ours", "naive"):
        grown = subprocess.run([sys.executable, __file__, kind], capture_output=True, check=True)
        rows.append((kind, float(grown.stdout)))
    table(f"peak memory of one layer with {WIDTH} channels, MB", ("layer", "MB"), rows)
    optimization()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:  # a process of its own, for a peak of its own
        torch.set_num_threads(1)
        print(memory(sys.argv[1]))
