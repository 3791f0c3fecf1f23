"""Alias-free diffusion (Anjum 2024): resamplers, paddings and kernels, judged by paired seeds.

Runs of one seed share initial weights, images, times and noise. Two eyes judge what a network
makes: a small classifier trained on the same data, and one that was trained on ImageNet.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equitutor import runtime
from equitutor.data.images import Images, cifar10_jpeg, digits, mnist
from equitutor.data.mnist_m import mnist_m
from equitutor.methods.alias_free.measures import (
    band_limit,
    disc_mask,
    eq_psnr,
    ideal_rotate,
    ideal_shift,
)
from equitutor.methods.diffusion.fidelity import FeatureNet, fid, kid
from equitutor.methods.diffusion.process import Diffusion
from equitutor.methods.diffusion.radial import radial_convolutions
from equitutor.methods.diffusion.rotation import (
    RotationPlan,
    border_level,
    group_averaged,
    realized_angles,
)
from equitutor.methods.diffusion.unet import UNet
from equitutor.studies.pretrained import pretrained
from equitutor.studies.study import Claim, Estimate, Study, grid
from equitutor.studies.verdicts import MissingRuns, above, below, estimate, paired, within
from equitutor.training import Batches, Checkpoint, fit

NETWORKS = {
    "max-pool": dict(resampler="maxpool_bilinear"),  # the paper's A
    "average": dict(resampler="avg_nearest"),
    "paper B": dict(resampler="paper3x3"),
    "paper D": dict(resampler="paper3x3", act_factor=2),
    "Kaiser B": dict(resampler="kaiser"),
    "Kaiser D": dict(resampler="kaiser", act_factor=2),
    "average, radial": dict(resampler="avg_nearest"),
    "average, turned": dict(resampler="avg_nearest"),
    "average, C4 mean": dict(resampler="avg_nearest"),
    "average, circular": dict(resampler="avg_nearest", padding="circular"),
    "Kaiser D, circular": dict(resampler="kaiser", act_factor=2, padding="circular"),
}
RIVALS = ["max-pool", "average", "paper B", "Kaiser B", "Kaiser D"]
CURES = [name for name in NETWORKS if ", " in name]

CHAIN = Diffusion("cosine", 1000, predict="velocity")
TIMES = (200, 500, 800)  # noise levels at which equivariance is measured
MOVES = {  # name -> move of images, band limit before it, whether a disc is compared
    "4px": (lambda x: x.roll((4, -4), (2, 3)), 0.99, False),
    "1px": (lambda x: x.roll((1, -1), (2, 3)), 0.99, False),
    "0.37px": (partial(ideal_shift, shift=(0.37, 0.21)), 0.99, False),
    **{f"{a}deg": (partial(ideal_rotate, angle=a), 0.8, True) for a in (90, 45, 30, 10)},
}
ANGLES = (30, 60, 90)  # asked of a network that turns its images while it makes them
WINDOWS = {"first_half": (0, 0.5), "last_half": (0.5, 1), "last_quarter": (0.75, 1)}
EYES = ("small", "imagenet")


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns what one denoiser, trained on one data set from one seed, makes, and how it follows.

    Args:
        config: `data`, `network` (a key of `NETWORKS`), `seed`, `side` of the images in pixels,
            `width` of the network, `steps`, `batch`, `lr`, `images` (of the training set), `made`
            images to judge, `walk` (steps of the sampler), `turned` images.
        checkpoint: where the training is kept.
    """
    device = runtime.device()
    train = images(config["data"], "train", config["side"], config["images"])
    test = images(config["data"], "test", config["side"], max(500, config["made"]))
    judges = {turn: judge(config["data"], config["side"], config["images"], turn)
              for turn in (False, True)}  # fmt: skip
    runtime.seed(config["seed"])  # after the judges, which may have been trained before
    net = network(config, train.x.shape[1])
    augment = turned if config["network"] == "average, turned" else None
    noisy = NoisyBatches(train.x, config["batch"], config["seed"], augment)
    fit(Packed(net), noisy, F.mse_loss, config["steps"], config["lr"], amp=True,
        checkpoint=checkpoint, progress=False)  # fmt: skip
    net.requires_grad_(False)
    model = group_averaged(net) if config["network"] == "average, C4 mean" else net
    x = test.x.to(device)
    y = draw_images(model, (config["made"], *x.shape[1:]), config["walk"], device)
    return {
        "loss": CHAIN.loss(model, x[:500], torch.Generator().manual_seed(9)).item(),
        "parameters": sum(p.numel() for p in net.parameters()),
        **quality(y, x[: config["made"]], judges),
        **follows(model, x[:24]),
        **turning(model, judges[False], (config["turned"], *x.shape[1:]), config["walk"], device),
    }


def images(name: str, split: str, side: int, count: int) -> Images:
    """Returns images in [-1, 1] with `side` pixels; a fixed random choice of at most `count`."""
    load = {"mnist": mnist, "cifar10_jpeg": cifar10_jpeg, "digits": partial(digits, size=16)}
    found = load[name](split) if name in load else mnist_m(split, n=10_000)
    order = torch.randperm(len(found.x), generator=torch.Generator().manual_seed(0))[:count]
    x = F.interpolate(found.x[order], (side, side), mode="bilinear", antialias=True)
    return Images(2 * x.clamp(0, 1) - 1, found.y[order], name, found.classes, found.subset)


def network(config: dict, channels: int = 1) -> UNet:
    """Returns the denoiser of a configuration, untrained; the name changes no parameter."""
    net = UNet(channels=channels, width=config["width"], **NETWORKS[config["network"]])
    return radial_convolutions(net) if config["network"] == "average, radial" else net


class NoisyBatches:
    """Batch k of noisy images and their velocities, the same for all networks of one seed.

    >>> noisy = NoisyBatches(torch.zeros(8, 1, 4, 4), 2, seed=0)
    >>> noisy(3)[0].shape, torch.equal(noisy(3)[1], noisy(3)[1])
    (torch.Size([2, 2, 4, 4]), True)
    """

    def __init__(self, x: Tensor, size: int, seed: int, augment: Callable | None = None):
        self.x, self.size, self.seed, self.augment = x, size, seed, augment

    def __call__(self, k: int) -> tuple[Tensor, Tensor]:
        """Returns noisy images with the time as their last channel, and velocities."""
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + k)
        x0 = self.x[torch.randint(len(self.x), (self.size,), generator=draw)]
        x0 = x0 if self.augment is None else self.augment(x0, draw)
        t = torch.randint(CHAIN.steps, (self.size,), generator=draw)
        noise = torch.randn(x0.shape, generator=draw)
        level = CHAIN.alpha_bar[t].float().view(-1, 1, 1, 1)
        velocity = level.sqrt() * noise - (1 - level).sqrt() * x0
        time = t.float().view(-1, 1, 1, 1).expand(-1, 1, *x0.shape[2:])
        return torch.cat([CHAIN.add_noise(x0, t, noise), time], 1), velocity


class Packed(nn.Module):
    """A denoiser that takes what `NoisyBatches` gives: the last channel holds the time."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, packed: Tensor) -> Tensor:
        return self.net(packed[:, :-1], packed[:, -1, 0, 0].long())


def turned(x: Tensor, draw: torch.Generator) -> Tensor:
    """Returns images (B, C, n, n), each eighth of them turned by a random angle of its own."""
    parts = x.chunk(8)
    angles = (360 * torch.rand(len(parts), generator=draw)).tolist()
    return torch.cat([ideal_rotate(p, a) for p, a in zip(parts, angles, strict=True)]).clamp(-1, 1)


@lru_cache(maxsize=8)  # all runs on one data set share them
def judge(data: str, side: int, count: int, turn: bool, steps: int = 600) -> FeatureNet:
    """Returns a small classifier; with `turn` it is trained on turned images, to be fair to them.

    Its 64 features are divided by their deviation over real images: `scale`.
    """
    train = images(data, "train", side, count)
    with torch.random.fork_rng():  # whoever calls first must not draw other numbers than the rest
        torch.manual_seed(0)
        net = FeatureNet(train.x.shape[1], len(train.classes))
        size = min(50, len(train.x))
        batches = Batches(train.x, train.y, size, augment=turned if turn else None)
        fit(net, batches, F.cross_entropy, min(steps, 2 * count), progress=False)
    return net.requires_grad_(False)


@lru_cache(maxsize=1)
def _imagenet() -> nn.Module:
    return pretrained().requires_grad_(False)


@torch.no_grad()
def seen(eye: FeatureNet | str, x: Tensor, batch: int = 100) -> Tensor:
    """Returns the features (N, d) of images x (N, C, n, n) in [-1, 1], float64, on the CPU.

    Args:
        eye: a small classifier (64 features), or "imagenet": the means of the 112 maps in the
            middle of EfficientNet-Lite0 (stride 16), with images enlarged to 64 pixels and gray
            ones repeated to three channels.
    """
    if eye != "imagenet":
        return torch.cat([eye.features(part).cpu().double() for part in x.split(batch)])
    net, found = _imagenet().to(x.device), []
    middle = net._blocks[10].register_forward_hook(
        lambda _module, _args, maps: found.append(maps.mean((2, 3)).cpu().double())
    )
    for part in x.split(batch):
        big = F.interpolate(part, (64, 64), mode="bilinear", antialias=True)
        net.extract_features(big.expand(-1, 3, -1, -1))
    middle.remove()
    return torch.cat(found)


@torch.no_grad()
def draw_images(model: Callable, shape: tuple, walk: int, device, seed: int = 0) -> Tensor:
    """Returns images made from the same noise for every model, in `walk` steps."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    return torch.cat(
        [CHAIN.sample(model, part.shape, walk, start=part) for part in noise.split(128)]
    )


def quality(y: Tensor, real: Tensor, judges: dict[bool, FeatureNet]) -> dict[str, float]:
    """Returns FID and KID of images y to real ones, as both eyes see them.

    `fid_quarter`, `fid_any`: to real images turned by quarter turns, by any angles; `fid_upright`:
    to those not turned; all three by the eye that was trained on turned images.
    """
    found = {}
    for eye, net in zip(EYES, (judges[False], "imagenet"), strict=True):
        a, b = seen(net, y), seen(net, real)
        scale = b.std()
        found[f"fid_{eye}"] = fid(a / scale, b / scale)
        found[f"kid_{eye}"] = kid(a / scale, b / scale)
    draw = torch.Generator().manual_seed(7)
    quarters = torch.randint(4, (len(real),), generator=draw).tolist()
    goals = {
        "upright": real,
        "quarter": torch.stack([x.rot90(k, (1, 2)) for x, k in zip(real, quarters, strict=True)]),
        "any": torch.cat([turned(part, draw) for part in real.split(8)]),
    }
    a = seen(judges[True], y)
    for name, goal in goals.items():
        b = seen(judges[True], goal)
        found[f"fid_{name}"] = fid(a / b.std(), b / b.std())
    return found


def clean(model: Callable, t: int) -> Callable[[Tensor], Tensor]:
    """Returns the estimate of the clean image as a function of the noisy one at step t."""

    def estimate_clean(x: Tensor) -> Tensor:
        time = torch.full((len(x),), t, device=x.device)
        return CHAIN.estimate(x, t, CHAIN.noise_in(model, x, time), clip=1.5)

    return estimate_clean


@torch.no_grad()
def follows(model: Callable, x0: Tensor) -> dict[str, float]:
    """Returns how well a denoiser follows each move, `eq_<move>_<t>` in dB, at most 200."""
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(5)).to(x0)
    mask = disc_mask(x0.shape[-1])
    found = {}
    for t in TIMES:
        noisy = CHAIN.add_noise(x0, t, noise)
        for name, (act, radius, disc) in MOVES.items():
            x = band_limit(noisy, radius)
            dB = eq_psnr(clean(model, t), act, x, mask if disc else None)
            found[f"eq_{name}_{t}"] = min(dB, 200.0)  # 200 stands for exact
    return found


@torch.no_grad()
def turning(
    model: Callable, judge: FeatureNet, shape: tuple, walk: int, device
) -> dict[str, float]:
    """Returns what becomes of images that are turned while they are made.

    `realized_<angle>`: median of the angles found, `likeness_90`: correlation there;
    `kept_<angle>`: share of images that, turned back, keep the class they have without turning;
    `nudged`: that share where only the start is nudged, the control; `border`: change of the
    background; `realized_` and `kept_` for 90 degrees within a part of the chain.
    """
    draw = torch.Generator().manual_seed(3)
    start, nudge = (torch.randn(shape, generator=draw).to(device) for _ in range(2))
    walk_from = lambda x, plan=None: CHAIN.sample(model, shape, walk, rotate=plan, start=x)
    still = walk_from(start)
    says = lambda x: judge(x).argmax(1)
    kept = lambda y: 100 * (says(y) == says(still)).float().mean().item()
    found = {"nudged": kept(walk_from((start + 0.1 * nudge) / 1.01**0.5))}
    plans = {angle: RotationPlan(angle) for angle in ANGLES}
    plans |= {name: RotationPlan(90, *window) for name, window in WINDOWS.items()}
    for name, plan in plans.items():
        y = walk_from(start, plan)
        realized, alike = realized_angles(still, y)
        found[f"realized_{name}"] = realized.median().item()
        found[f"kept_{name}"] = kept(ideal_rotate(y, -plan.angle))
        if name == 90:
            found["likeness_90"] = alike.mean().item()
            found["border"] = border_level(y) - border_level(still)
    return found


def rows(runs, network: str, data: str = "mnist", steps: int | None = None):
    """Returns the runs of one network; of several lengths the longest, if `steps` is None."""
    mine = runs[(runs["network"] == network) & (runs["data"] == data)]
    return mine[mine["steps"] == (mine["steps"].max() if steps is None else steps)]


def change(runs, a: str, b: str, eye: str, data: str = "mnist", steps: int | None = None):
    """Returns the change of FID from network b to network a in percent, over paired seeds.

    Raises MissingRuns where a pair is incomplete.
    """
    both = [rows(runs, name, data, steps)[["seed", f"fid_{eye}"]] for name in (a, b)]
    (new, old) = (part.set_index("seed")[f"fid_{eye}"].sort_index() for part in both)
    if not len(new) or not new.index.equals(old.index):
        raise MissingRuns(f"{a} and {b} need runs of the same seeds on {data}")
    return estimate((100 * (new - old) / old).tolist())


def seen_by_both(a: str, b: str, data: str = "mnist", steps: int | None = None, sign: int = 1):
    """Returns the measure "change of FID", by the eye that is farther from a clear gain.

    So a claim holds only if both eyes see it. With sign -1, of a clear loss.
    """

    def measure(runs) -> Estimate:
        found = [change(runs, a, b, eye, data, steps) for eye in EYES]
        found = [estimate([sign * v for v in e.values]) for e in found]
        return max(found, key=lambda e: e.high if len(e.values) > 1 else e.mean)

    return measure


def of(network: str, metric: str):
    """Returns the measure "the mean of a metric over the longest runs of a network on MNIST"."""
    return lambda runs: estimate(rows(runs, network)[metric].tolist())


def gap(metric: str, a: str, b: str, than: str | None = None, steps: int | None = None):
    """Returns the measure "metric of a minus `than` (the same, if None) of b, seed by seed"."""

    def measure(runs) -> Estimate:
        part = lambda name, column: rows(runs, name, steps=steps)[["seed", column]].set_axis(
            ["seed", "value"], axis=1
        )
        return paired(part(a, metric), part(b, than or metric), "value")

    return measure


SHORT, MAIN, LONG = 150, 500, 1500  # steps of training at size cpu
UNSURE = "The interval over seeds contains zero for one of the eyes: more seeds are needed."


def better(text: str, paper: str, a: str, b: str, why: str, data="mnist", steps=None) -> Claim:
    """Returns the claim "network a makes better images than network b"."""
    return Claim(
        text,
        paper,
        seen_by_both(a, b, data, steps),
        below(0, " %"),
        {
            "holds": f"{why} Both eyes see a lower FID.",
            "does not hold": f"{why} At least one of the two eyes sees no gain, but a loss.",
            "undecided": f"{why} {UNSURE}",
        },
        "% FID",
    )


NEAR = "Between the two, or more seeds are needed."
CLAIMS = [
    better(
        "MNIST: the paper's resampler improves FID", "B-2N: 9.61 to 12.78, +33 %",
        "paper B", "max-pool", "Small images and networks, the longest training.",
    ),
    better(
        "CIFAR-10 (JPEG copy): the paper's alias-free network improves FID",
        "D-1N: 98.77 to 90.21, −8.7 %", "paper D", "max-pool",
        "The kernel with β = 2, small images and networks.", "cifar10_jpeg",
    ),
    better(
        "MNIST-M: the paper's alias-free network improves FID", "D-2N: 85.00 to 82.46, −3.0 %",
        "paper D", "max-pool", "MNIST-M rebuilt by its recipe, small images and networks.",
        "mnist_m",
    ),
    better(
        "(Ours) Plain averaging, without any filter, beats the paper's baseline",
        "not tested there", "average", "max-pool",
        "Average-pooling and nearest against max-pool and bilinear.",
    ),
    better(
        "(Ours) A correct alias-free resampler beats the paper's baseline", "not stated",
        "Kaiser B", "max-pool", "12 taps, gain 4, even length, the longest training.",
    ),
    better(
        f"(Ours) It beats a fair plain baseline after a short training of {SHORT} steps",
        "not tested there", "Kaiser B", "average", "Against average-pooling and nearest.",
        steps=SHORT,
    ),
    better(
        "(Ours) It still beats the fair plain baseline after longer training", "not tested there",
        "Kaiser B", "average", "The longest training, as decided before the run.",
    ),
    better(
        "(Ours) Filtered activations, too, beat the fair plain baseline", "not tested there",
        "Kaiser D", "average", "At the same number of steps, which take longer here.",
    ),
    Claim(
        "Alias-free networks follow rotations better", "shown in a picture, no number",
        gap("eq_30deg_500", "Kaiser D", "max-pool"), above(1, " dB"),
        {
            "holds": "Kaiser D minus max-pool, 30 degrees, t = 500.",
            "does not hold": "Kaiser D minus max-pool, 30 degrees, t = 500: a decibel or less. "
            "Their learned 3 × 3 kernels have a direction, and no resampler can take it away.",
            "undecided": f"Kaiser D minus max-pool, 30 degrees, t = 500. {NEAR}",
        },
        "dB",
    ),
    Claim(
        "Turning while sampling realizes the asked angle",
        "shown in a picture, −90 to 90 degrees, no number",
        of("Kaiser D", "realized_90"), above(81, "°"),
        {
            "holds": "Median over images, more than 90 % of 90 degrees: the picture does turn.",
            "does not hold": "Median over images: part of 90 degrees is lost on the way.",
            "undecided": f"Median over images. {NEAR}",
        },
        "°",
    ),
    Claim(
        "Turning while sampling keeps what the image shows", "shown in a picture, no number",
        of("Kaiser D", "kept_90"), above(90, " %"),
        {
            "holds": "Turned back by 90 degrees, it has the class of the unturned image.",
            "does not hold": "Turned back by 90 degrees, many show another class than the "
            "unturned image: they were not turned but replaced.",
            "undecided": f"Turned back by 90 degrees. {NEAR}",
        },
        "%",
    ),
    Claim(
        "(Ours) The later an image is turned, the more of it is kept", "not tested there",
        gap("kept_last_quarter", "max-pool", "max-pool", "kept_90"), above(0, " points"),
        {
            "holds": "Last quarter of the chain against the whole, max-pool. The limit of later is "
            "to turn the finished image, which needs no sampler.",
            "does not hold": "Last quarter of the chain against the whole, max-pool: no gain.",
            "undecided": f"Last quarter of the chain against the whole, max-pool. {NEAR}",
        },
        "points",
    ),
    Claim(
        "No parameter is added", "5.9 million in all variants",
        gap("parameters", "Kaiser D", "max-pool"), within(0, 0),
        {
            "holds": "Parameters, not time: filtered activations work on four times the pixels.",
            "does not hold": "The networks differ in their number of parameters.",
            "undecided": "The runs differ among each other, which they must not.",
        },
    ),
    Claim(
        "(Ours) With borders of zeros, resamplers differ by less than 3 dB at fractional shifts",
        "not tested there",
        gap("eq_0.37px_500", "Kaiser D", "average"), within(-3, 3, " dB"),
        {
            "holds": "Kaiser D minus average, (0.37, 0.21) pixels, t = 500: the border of zeros "
            "tells where it is, whatever the resampler does.",
            "does not hold": "Kaiser D minus average, (0.37, 0.21) pixels, t = 500: it shows "
            "through the border of zeros.",
            "undecided": f"Kaiser D minus average, (0.37, 0.21) pixels, t = 500. {NEAR}",
        },
        "dB",
    ),
    Claim(
        "(Ours) On a torus, alias-free networks follow fractional shifts", "not tested there",
        gap("eq_0.37px_500", "Kaiser D, circular", "average, circular"), above(3, " dB"),
        {
            "holds": "Circular padding, Kaiser D minus average, t = 500: without a border the "
            "resampler decides.",
            "does not hold": "Circular padding, Kaiser D minus average, t = 500: 3 dB or less.",
            "undecided": f"Circular padding, Kaiser D minus average, t = 500. {NEAR}",
        },
        "dB",
    ),
    Claim(
        "(Ours) Radial kernels make quarter turns exact", "not tested there",
        of("average, radial", "eq_90deg_500"), above(100, " dB"),
        {
            "holds": "Above 100 dB is rounding.",
            "does not hold": "More than rounding is left.",
            "undecided": NEAR,
        },
        "dB",
    ),
    Claim(
        "(Ours) Radial kernels cost quality on upright digits", "not tested there",
        seen_by_both("average, radial", "average", steps=MAIN, sign=-1), below(0, " %"),
        {
            "holds": "Both eyes see a higher FID (shown with the sign turned). Two causes: digits "
            "in all directions, and two free numbers in a kernel instead of nine.",
            "does not hold": "At least one of the two eyes sees no cost.",
            "undecided": UNSURE,
        },
        "% FID",
    ),
]  # fmt: skip

PUBLISHED = {  # FID and KID x 100 on CIFAR-10, MNIST-M, MNIST: the project page of Anjum 2024
    "A": (98.77, 5.97, 85.00, 6.23, 9.61, 0.47),
    "B-0": (94.23, 5.44, 93.81, 7.37, 10.23, 0.58),
    "C-0": (129.42, 7.92, 124.10, 9.43, 14.07, 0.96),
    "D-0": (97.44, 6.67, 98.16, 7.56, 14.37, 1.01),
    "B-1": (121.45, 6.90, 94.11, 7.40, 11.00, 0.64),
    "C-1": (138.88, 10.47, 124.78, 7.86, 14.76, 1.05),
    "D-1": (108.06, 7.42, 114.27, 8.35, 16.08, 1.12),
    "B-1N": (125.71, 6.64, 100.91, 7.53, 11.62, 0.72),
    "C-1N": (107.37, 6.96, 144.41, 9.69, 15.95, 1.23),
    "D-1N": (90.21, 5.54, 108.14, 7.65, 14.25, 0.97),
    "B-2N": (109.96, 7.65, 88.05, 5.47, 12.78, 0.87),
    "C-2N": (95.11, 6.70, 101.59, 6.78, 16.73, 1.29),
    "D-2N": (102.28, 6.81, 82.46, 5.35, 11.19, 0.71),
}

UNITS = {
    "loss": "",
    "parameters": "",
    **{f"{kind}_{eye}": "" for eye in EYES for kind in ("fid", "kid")},
    **{f"fid_{goal}": "" for goal in ("upright", "quarter", "any")},
    **{f"eq_{move}_{t}": "dB" for t in TIMES for move in MOVES},
    **{f"realized_{name}": "°" for name in (*ANGLES, *WINDOWS)},
    **{f"kept_{name}": "%" for name in (*ANGLES, *WINDOWS)},
    "nudged": "%",
    "likeness_90": "",
    "border": "",
}

SEEDS = [0, 1, 2]
TINY = dict(side=16, width=4, batch=8, lr=3e-3, images=60, made=24, walk=4, turned=4)
CPU = dict(side=16, width=8, batch=32, lr=3e-3, images=20_000, made=256, walk=20, turned=32)
GPU = dict(side=32, width=32, batch=128, lr=1e-3, images=50_000, made=2000, walk=50, turned=100)
STUDY = Study(
    name="alias-free-diffusion",
    run=run,
    sizes={
        "smoke": grid(data="digits", network=list(NETWORKS), steps=6, seed=0, **TINY),
        "cpu": [
            *grid(seed=SEEDS, steps=[SHORT, MAIN, LONG], data="mnist", network=RIVALS, **CPU),
            *grid(seed=SEEDS, steps=MAIN, data="mnist", network=CURES, **CPU),
            *grid(seed=SEEDS, steps=MAIN, data=["cifar10_jpeg", "mnist_m"],
                  network=["max-pool", "paper D"], **CPU),
        ],
        "gpu": grid(
            seed=SEEDS, steps=[500, 4000], data="mnist", network=["average", "Kaiser B"], **GPU
        ),
        "paper": "The paper's network of 5.9 million parameters at 32 pixels, 13 variants on three "
        "data sets, 100 epochs of each, several seeds: days of a data-center GPU.",
    },
    units=UNITS,
    claims=CLAIMS,
)  # fmt: skip
