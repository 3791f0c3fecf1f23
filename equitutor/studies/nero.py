"""NERO (Zhao et al. 2023) on digits that turn: six networks, one curve each.

The paper's three other cases are the studies `nero_boxes`, `nero_flows` and `nero_clouds`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from equitutor import groups, runtime
from equitutor.actions import rotate_images
from equitutor.data.images import Images, digits, mnist, on_canvas
from equitutor.models.group_cnn import GroupCNN, SteerableCNN
from equitutor.orbits.box_consensus import rescore
from equitutor.orbits.consensus import consensus, variance_decomposition
from equitutor.orbits.elements import finite, so2
from equitutor.orbits.equivariance import equivariance_error
from equitutor.orbits.evaluate import evaluate
from equitutor.orbits.result import OrbitResult
from equitutor.studies.study import Claim, Rule, Study, grid
from equitutor.studies.verdicts import above, estimate, paired
from equitutor.training import Batches, Checkpoint, fit

ANGLES = range(0, 360, 10)
NETWORKS = {  # orientations, and whether it is trained on turned digits
    "CNN": (1, False),
    "CNN, turned": (1, True),
    "C4": (4, False),
    "C4, turned": (4, True),
    "C8": (8, False),
    "steerable": (None, False),
}
RIGHT_ANGLES = finite(groups.cyclic(4), lambda x, i: torch.rot90(x, i, (-2, -1)))


def run(config: dict, checkpoint: Checkpoint) -> dict[str, float]:
    """Returns what one network makes of digits at 36 angles.

    Args:
        config: `data` ("mnist", or "digits", scikit-learn's on a canvas of 24 x 24 pixels),
            `network` (a key of `NETWORKS`), `seed`, `width`, `steps`, `batch`, `lr`, `tested`
            digits.
        checkpoint: where the training is kept.
    """
    runtime.seed(config["seed"])
    train, test = images(config["data"], "train"), images(config["data"], "test")
    model = network(config)
    augment = random_turn if NETWORKS[config["network"]][1] else None
    batches = Batches(train.x, train.y, config["batch"], config["seed"], augment)
    history = fit(model, batches, F.cross_entropy, config["steps"], config["lr"],
                  checkpoint=checkpoint, progress=False)  # fmt: skip
    last = history.loss[-max(1, len(history.loss) // 20) :]
    return measure(model, test.x[: config["tested"]], test.y[: config["tested"]]) | {
        "training_loss": sum(last) / len(last),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def images(name: str, split: str) -> Images:
    """Returns digits on a canvas that loses (nearly) no ink when it turns."""
    if name == "mnist":
        return mnist(split)
    small = digits(split, size=16)
    return Images(on_canvas(small.x, 24), small.y, name, small.classes)


def network(config: dict) -> torch.nn.Module:
    """Returns the network of a configuration, untrained."""
    n, _ = NETWORKS[config["network"]]
    return GroupCNN(n, width=config["width"]) if n else SteerableCNN()


def random_turn(x: Tensor, generator: torch.Generator) -> Tensor:
    """Returns images (B, 1, H, W), each turned by a random angle of its own."""
    return rotate_images(x, 360 * torch.rand(len(x), generator=generator))


def measure(model: torch.nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Returns the curve of a trained model over the angles, and what it says."""
    device = runtime.device()
    model.to(device).eval()
    walk = evaluate(model, x, y, so2(len(ANGLES)), "correct", device=device, keep_outputs=True,
                    progress=False)  # fmt: skip
    curve = 100 * walk.aggregate()
    sure = rescore(walk, y, "confidence")
    few = x[:50].to(device)
    numbers = {f"angle_{a}": value for a, value in zip(ANGLES, curve.tolist(), strict=True)}
    numbers |= {
        "area": curve.mean(),
        "worst_angle": curve.min(),
        "right_angles": curve[:: len(ANGLES) // 4].mean(),
        "spread": 100 * sure.spread().mean(),
        "range": 100 * sure.spread("range").mean(),
        "logit_change": equivariance_error(model, few, RIGHT_ANGLES).max(),
        "interpolated": there_and_back(model, x, y, device),
    }
    numbers |= mistakes(walk, y) | confidences(walk, y) | by_itself(walk, sure, y)
    return {name: float(value) for name, value in numbers.items()}


@torch.no_grad()
def there_and_back(model, x: Tensor, y: Tensor, device) -> Tensor:
    """Returns the share that is right after a turn by 40 degrees and back: blurred, upright."""
    blurred = rotate_images(rotate_images(x, 40.0), -40.0).split(500)
    answers = torch.cat([model(part.to(device)).argmax(1).cpu() for part in blurred])
    return 100 * (answers == y).float().mean()


def mistakes(walk: OrbitResult, y: Tensor) -> dict[str, Tensor]:
    """Returns how many of the mistakes concern 6 and 9, and how many take one for the other."""
    said = walk.outputs.argmax(2)  # (36, N)
    wrong, pair = said != y, (y == 6) | (y == 9)
    swapped = ((said == 6) & (y == 9)) | ((said == 9) & (y == 6))
    count = wrong.sum().clamp(min=1)
    return {
        "six_nine": 100 * wrong[:, pair].sum() / count,
        "six_nine_swapped": 100 * swapped.sum() / count,
    }


def confidences(walk: OrbitResult, y: Tensor) -> dict[str, Tensor]:
    """Returns how sure the network is where it is wrong, on digits that are turned."""
    sure, said = walk.outputs[1:].softmax(2).max(2)
    right = said == y
    good, bad = sure[right], sure[~right]
    rank = torch.searchsorted(bad.sort().values, good)  # wrong answers that are less sure
    pairs = max(1, len(good) * len(bad))
    return {
        "wrong_and_sure": 100 * (bad > 0.9).float().mean() if len(bad) else torch.tensor(0.0),
        "told_apart": 100 * rank.double().sum() / pairs,
    }


def by_itself(walk: OrbitResult, sure: OrbitResult, y: Tensor) -> dict[str, Tensor]:
    """Returns how well the orbit's own answer stands in for the label, and what the spectrum says.

    The squared error is that of the probabilities; it is the sum of its two parts.
    """
    vote = consensus(walk, "vote")
    by_vote = rescore(walk, vote, "confidence").mean()
    chances = OrbitResult(walk.scores, walk.orbit, outputs=walk.outputs.softmax(2))
    split = variance_decomposition(chances, F.one_hot(y, walk.outputs.shape[2]).float())
    power = torch.fft.rfft(walk.outputs, dim=0).abs().square()[1:].mean((1, 2))
    return {
        "vote_right": 100 * (vote == y).float().mean(),
        "vote_correlation": torch.corrcoef(torch.stack([sure.mean(), by_vote]))[0, 1],
        "symmetrized_error": split.symmetrized_error.mean(),
        "equivariance_variance": split.equivariance_variance.mean(),
        "power_in_fours": 100 * power[3::4].sum() / power.sum(),
    }


def of(metric: str, **where):
    """Returns the measure "the mean of a metric over the runs with these values"."""
    return lambda runs: estimate(_rows(runs, where)[metric].tolist())


def gap(metric: str, other: str, than: str | None = None, **where):
    """Returns the measure "one metric minus another", seed by seed.

    Args:
        metric, other: the two metrics.
        than: a network of which `other` is taken; default the same one.
        where: values that the runs have.
    """

    def difference(runs):
        elsewhere = where if than is None else where | {"network": than}
        a, b = (
            _rows(runs, at)[["seed", name]].set_axis(["seed", "value"], axis=1)
            for at, name in ((where, metric), (elsewhere, other))
        )
        return paired(a, b, "value")

    return difference


def at_most(threshold: float, unit: str = "") -> Rule:
    """Returns the rule "holds if no run gives more", for what is to be rounding alone."""
    return Rule(
        f"holds if no run gives more than {threshold:g}{unit}, else does not hold",
        lambda e: "holds" if max(e.values) <= threshold else "does not hold",
        ("holds", "does not hold"),
    )


def _rows(runs, where: dict):
    for key, value in where.items():
        runs = runs[runs[key] == value]
    return runs


MORE = "The interval over seeds contains the threshold: more seeds are needed."
MNIST = dict(data="mnist")
CLAIMS = [
    Claim(
        "NERO shows what one number hides: digits (MNIST)",
        "claimed, no figure",
        gap("angle_0", "area", network="CNN", **MNIST),
        above(10, " points"),
        {
            "holds": "A plain CNN: points lost from upright digits to the mean over all angles. "
            "The number that is usually printed shows none of it.",
            "does not hold": "A plain CNN hardly loses when digits turn: then one number hides "
            "nothing here.",
            "undecided": MORE,
        },
        "points",
    ),
    Claim(
        "Consensus can take the place of labels: a plain CNN (MNIST)",
        "claimed, no figure",
        of("vote_right", network="CNN", **MNIST),
        above(90, " %"),
        {
            "holds": "Share of digits whose true class wins the vote along the orbit.",
            "does not hold": "The true class wins the vote along the orbit too rarely: where most "
            "poses are wrong, a vote elects a wrong class.",
            "undecided": MORE,
        },
        "%",
    ),
    *(
        Claim(
            f"Consensus can take the place of labels: {name}, which is nearly invariant (MNIST)",
            "not distinguished",
            of("vote_right", network=name, **MNIST),
            above(90, " %"),
            {
                "holds": "Share of digits whose true class wins the vote along the orbit. Where "
                "few poses are wrong, the vote stands in for the label.",
                "does not hold": "Even here too many votes elect a wrong class.",
                "undecided": MORE,
            },
            "%",
        )
        for name in ("C8", "CNN, turned")
    ),
    Claim(
        "(Ours) C4 is exact at right angles (MNIST)",
        "not stated",
        of("logit_change", network="C4", **MNIST),
        at_most(1e-4),
        {
            "holds": "Largest change of any logit under quarter turns: rounding.",
            "does not hold": "Quarter turns change the logits: the convolution is not that of C4.",
        },
    ),
    Claim(
        "(Ours) Between right angles C4 is not invariant: a clover, no circle (MNIST)",
        "not stated",
        gap("right_angles", "worst_angle", network="C4", **MNIST),
        above(5, " points"),
        {
            "holds": "Points from the right angles to the worst one. Only the subgroup is exact.",
            "does not hold": "The curve is flat between the right angles, too.",
            "undecided": MORE,
        },
        "points",
    ),
    Claim(
        "(Ours) Of equally trained networks C8 has more area under its curve than C4 (MNIST)",
        "not stated",
        gap("area", "area", "C4", network="C8", **MNIST),
        above(0, " points"),
        {
            "holds": "Same steps, same upright digits, about as many weights: the finer group "
            "fills the gaps between the leaves.",
            "does not hold": "The finer group gains nothing over all angles.",
            "undecided": MORE,
        },
        "points",
    ),
    Claim(
        "(Ours) Training on turned digits costs more upright than building C8 in (MNIST)",
        "not stated",
        gap("angle_0", "angle_0", "CNN, turned", network="C8", **MNIST),
        above(0, " points"),
        {
            "holds": "Points on upright digits that C8, which has seen no others, has over the CNN "
            "of turned ones, after as many steps. The table has their areas.",
            "does not hold": "On upright digits the CNN of turned ones is as good as C8.",
            "undecided": MORE,
        },
        "points",
    ),
    Claim(
        "(Ours) Blur is not what a plain CNN falls over (MNIST)",
        "not stated",
        gap("interpolated", "angle_40", network="CNN", **MNIST),
        above(10, " points"),
        {
            "holds": "Turned by 40 degrees and back, digits are as blurred as turned ones, but "
            "upright, and are read. Turned by 40 degrees, they are not.",
            "does not hold": "Upright and blurred digits are misread as often as turned ones.",
            "undecided": MORE,
        },
        "points",
    ),
    Claim(
        "The interface helps to understand models",
        "claimed",
        None,
        None,
        {"not tested": "Would take a study with people."},
    ),
]

UNITS = {f"angle_{a}": "%" for a in ANGLES} | {
    "area": "%",
    "worst_angle": "%",
    "right_angles": "%",
    "spread": "points",
    "range": "points",
    "logit_change": "",
    "interpolated": "%",
    "six_nine": "%",
    "six_nine_swapped": "%",
    "wrong_and_sure": "%",
    "told_apart": "%",
    "vote_right": "%",
    "vote_correlation": "",
    "symmetrized_error": "",
    "equivariance_variance": "",
    "power_in_fours": "%",
    "training_loss": "nats",
    "parameters": "",
}

SEEDS = [0, 1, 2]
ALIKE = dict(width=8, batch=64, lr=1e-2)
OTHERS = [name for name in NETWORKS if name != "steerable"]
STUDY = Study(
    name="nero",
    run=run,
    sizes={
        "smoke": grid(data="digits", network=list(NETWORKS), seed=0, steps=8, tested=20, **ALIKE),
        # The steerable network costs as much as all others together: one seed.
        "cpu": grid(data="mnist", network=OTHERS, seed=SEEDS, steps=800, tested=500, **ALIKE)
        + grid(data="mnist", network="steerable", seed=0, steps=800, tested=500, **ALIKE),
        "gpu": grid(
            data="mnist", network=list(NETWORKS), seed=SEEDS, steps=4000, tested=2000,
            width=16, batch=128, lr=1e-2,
        ),
        "paper": "MNIST at 73 angles, a CNN and a steerable network of e2cnn: hours of one GPU.",
    },
    units=UNITS,
    claims=CLAIMS,
)  # fmt: skip
