"""Means, intervals and verdicts, at their edges; and what a study may be."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from laboratory import lab  # noqa: F401
from scipy import stats

from equitutor.studies import (
    Claim,
    Rule,
    Study,
    above,
    estimate,
    every,
    grid,
    load,
    paired,
    records,
    shown,
    table,
    verdicts,
    within,
)
from equitutor.studies.pages import claims_markdown, largest, origin
from equitutor.studies.study import Estimate, check_metrics
from equitutor.studies.verdicts import MissingRuns

# Estimates ---------------------------------------------------------------------------------


def test_the_interval_is_students():
    values = np.random.default_rng(0).normal(5, 2, 7)
    e = estimate(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (e.low, e.high) == pytest.approx((expected.low, expected.high))
    assert e.mean == pytest.approx(values.mean())
    assert e.half == pytest.approx(stats.sem(values) * stats.t.ppf(0.975, 6))


def test_95_of_100_intervals_hold_the_mean():
    draws = np.random.default_rng(1).normal(3, 1, (1000, 3))
    hit = [e.low <= 3 <= e.high for e in map(estimate, draws)]
    assert 0.93 <= np.mean(hit) <= 0.97


def test_one_value_tells_nothing_of_others_and_equal_values_all():
    assert (estimate([4]).low, estimate([4]).high) == (-math.inf, math.inf)
    assert (estimate([4, 4]).low, estimate([4, 4]).high) == (4, 4)
    assert estimate(pd.Series([1, 2])).values == (1.0, 2.0)


@pytest.mark.parametrize("values", [[math.inf, 1], 3.0, [[1.0, 2.0]], ["a"], None, "12"])
def test_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError):
        estimate(values)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [None, 1.0]])
def test_what_is_not_recorded_is_missing(values):
    with pytest.raises(MissingRuns):
        estimate(values)


# Rules -------------------------------------------------------------------------------------


def interval(low, high):
    return Estimate((low, high), (low + high) / 2, low, high)


RULES = [
    (above(0), interval(1e-9, 1), "holds"),
    (above(0), interval(0, 1), "undecided"),  # it touches the threshold from above
    (above(0), interval(-1, 1), "undecided"),
    (above(0), interval(-1, 0), "does not hold"),  # from below: no gain is found at best
    (above(0), estimate([0, 0, 0]), "does not hold"),
    (above(0), estimate([2, 2]), "holds"),
    (above(0), estimate([1e9]), "undecided"),
    (above(0), estimate([-1e9]), "undecided"),
    (within(10, 30), interval(10, 30), "holds"),
    (within(10, 30), interval(10 - 1e-9, 30), "undecided"),
    (within(10, 30), interval(30, 31), "undecided"),
    (within(10, 30), interval(30 + 1e-9, 31), "does not hold"),
    (within(10, 30), interval(5, 10), "undecided"),
    (within(10, 30), interval(5, 10 - 1e-9), "does not hold"),
    (within(10, 30), estimate([30, 30]), "holds"),
    (within(10, 30), estimate([31, 31]), "does not hold"),
    (within(10, 30), estimate([20]), "undecided"),
    (every(100, 99), estimate([100]), "holds"),
    (every(100, 99), estimate([100, 99]), "holds in part"),
    (every(100, 99), estimate([100, 99 - 1e-9]), "does not hold"),
    (every(100, 99), estimate([99, 99]), "holds in part"),
    (every(100, 99), estimate([101, 100]), "holds in part"),
]


@pytest.mark.parametrize(("rule", "found", "verdict"), RULES)
def test_rules_at_their_edges(rule, found, verdict):
    assert rule.judge(found) == verdict
    assert verdict in rule.verdicts
    assert verdict in rule.words or verdict == "does not hold"


# Pairs -------------------------------------------------------------------------------------


def test_what_a_pair_shares_cancels():
    seeds = np.arange(5)
    luck = np.random.default_rng(0).normal(0, 10, 5)
    a = pd.DataFrame({"seed": seeds, "accuracy": 50 + luck + 0.1 * seeds})
    b = pd.DataFrame({"seed": seeds[::-1], "accuracy": (49 + luck)[::-1]})
    e = paired(a, b, "accuracy")
    assert e.mean == pytest.approx(1.2)
    assert e.half < 0.3
    loose = stats.ttest_ind(a["accuracy"], b["accuracy"]).confidence_interval()
    assert loose.high - loose.low > 10


@pytest.mark.parametrize(
    ("a", "b", "error"),
    [([0, 1], [0], MissingRuns), ([0, 1], [0, 2], MissingRuns), ([], [], MissingRuns),
     ([0, 0], [0, 1], ValueError)],
)  # fmt: skip
def test_pairs_that_are_none(a, b, error):
    frames = [pd.DataFrame({"seed": s, "x": [1.0] * len(s)}) for s in (a, b)]
    with pytest.raises(error) as caught:
        paired(*frames, "x")
    assert type(caught.value) is error
    with pytest.raises(ValueError, match="must have the columns 'y'"):
        paired(*frames, "y")


# Verdicts ----------------------------------------------------------------------------------

REASONS = {"holds": "up", "does not hold": "down", "undecided": "who knows"}
GAIN = Claim("Gain", "1", lambda runs: estimate(runs["gain"].tolist()), above(0), REASONS)
UNTESTED = Claim("Never", "–", None, None, {"not tested": "No data."})


def study(**changes):
    made = {
        "name": "small",
        "run": lambda config, checkpoint: {"gain": 1.0},
        "sizes": {"smoke": grid(seed=[0, 1]), "cpu": grid(seed=[0, 1, 2]), "paper": "never"},
        "units": {"gain": "points"},
        "claims": [GAIN, UNTESTED],
    }
    return Study(**(made | changes))


def test_verdicts_never_mix_sizes():
    runs = pd.DataFrame({"size": ["smoke"] * 2 + ["cpu"] * 2, "gain": [1.0, 1.0, -1.0, -1.0]})
    small, large = (verdicts(study(), runs, size) for size in ("smoke", "cpu"))
    assert [(v.verdict, v.reason) for v in small] == [("holds", "up"), ("not tested", "No data.")]
    assert large[0].verdict == "does not hold"
    assert large[0].estimate.values == (-1.0, -1.0)
    assert large[0].size == "cpu"


@pytest.mark.parametrize("runs", [[], [math.nan, 1.0]])
def test_a_claim_whose_runs_are_missing_is_not_tested(runs):
    frame = pd.DataFrame({"size": ["cpu"] * len(runs), "gain": runs})
    found = verdicts(study(), frame, "cpu")[0]
    assert (found.verdict, found.estimate) == ("not tested", None)
    assert "cpu" in found.reason


def broken(**changes):
    made = {"text": "t", "paper": "p", "measure": GAIN.measure, "rule": GAIN.rule,
            "reasons": REASONS}  # fmt: skip
    return lambda: Claim(**(made | changes))


REFUSED = [
    (broken(reasons={"holds": "up"}), "reasons must have a sentence for each"),
    (broken(reasons=REASONS | {"maybe": "?"}), "reasons must"),
    (broken(measure=None), "go together"),
    (broken(rule=None), "go together"),
    (broken(rule=Rule("w", lambda e: "x", ("x",))), "reasons must have a sentence for each of"),
    (lambda: study(name="a/b"), "name must be"),
    (lambda: study(name=""), "name must be"),
    (lambda: study(name="aux: 1"), "name must be"),
    (lambda: study(sizes={"full": []}), "sizes must be among"),
    (lambda: study(sizes={"cpu": grid(seed=[0, 0])}), "must differ"),
    (lambda: study(sizes={"cpu": grid(lr=[1e-3, 0.001])}), "must differ"),
    (lambda: study(sizes={"cpu": grid(seconds=1)}), "must use other names"),
    (lambda: study(sizes={"cpu": grid(gain=1)}), "must use other names"),
    (lambda: study(sizes={"cpu": [{1: 2}]}), "must use other names"),
    (lambda: study(sizes={"cpu": grid(x=math.nan)}), "finite numbers"),
    (lambda: study(sizes={"cpu": grid(x=np.int64(3))}), "x=.*int64"),
    (lambda: study(sizes={"cpu": grid(x=torch.tensor(3))}), "Tensor"),
    (lambda: study(sizes={"cpu": grid(x=(1, 2))}), "tuple"),
    (lambda: study(sizes={"cpu": [{"x": [1, 2]}]}), "list"),
    (lambda: study(sizes={"cpu": grid(x=print)}), "builtin_function"),
    (lambda: study(units={"seconds": "s"}), "units must not use the names .'seconds'"),
    (lambda: study().configs("gpu"), "size must be one of"),
    (lambda: study().configs("paper"), "cannot be run here: never"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_is_no_study_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_texts_of_any_script_and_numbers_survive():
    configs = grid(
        name=["größe", "日本, 語", "\u2028", ""], x=[1, 1.5, True, None, np.float64(2.5)]
    )
    made = study(sizes={"smoke": configs})
    assert len(made.texts["smoke"]) == 20
    assert made.configs("smoke", {"name": ["日本, 語"], "x": ["2.5"]})[0]["name"] == "日本, 語"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [(None, "must return the metrics"), ([1.0], "must return"), ({}, "must return"),
     ({"gain": math.inf}, "finite"), ({"gain": None}, "must return numbers"),
     ({"gain": [1.0]}, "must return numbers"), ({"gain": torch.ones(2)}, "must return numbers"),
     ({"gain": 1, 2: 3}, "must return the metrics")],
)  # fmt: skip
def test_what_is_no_metric_is_refused(metrics, said):
    with pytest.raises(ValueError, match=said):
        check_metrics(study(), metrics)


@pytest.mark.parametrize("one", [1, True, np.float32(1), np.int64(1), torch.tensor(1.0)])
def test_metrics_become_floats(one):
    assert type(check_metrics(study(), {"gain": one})["gain"]) is float


# Pages -------------------------------------------------------------------------------------


def test_tables():
    runs = pd.DataFrame({"net": ["a", "a", "b"], "acc": [97.0, 99.0, 5.0], "n": [1.0, math.nan, 2]})
    made = table(runs, "net", ["acc", "n"], {"acc": "%"})
    assert list(made.columns) == ["acc (%)", "n"]
    assert made.loc["a"].tolist() == ["98.0 ± 12.7", "–"]
    assert made.loc["b"].tolist() == ["5.0", "2.0"]
    with pytest.raises(ValueError, match="must be among"):
        table(runs, "network", ["acc"])
    with pytest.raises(ValueError, match="must be among"):
        table(runs, "net", ["accuracy"])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (shown(estimate([97.0, 98.0, 99.0]), "%"), "98.0 ± 2.5 %"),
        (shown(estimate([-2.0])), "−2.0"),
        (shown(estimate([0.0, 0.0])), "0.0 ± 0.0"),
        (shown(estimate([-3e-7]), "px", 2), "−3.00e-07 px"),
    ],
)
def test_estimates_in_words(found, words):
    assert found == words


def toy_records(lab, number, size="smoke", code=None):  # noqa: F811
    from toy import STUDY

    for config in STUDY.configs(size)[:number]:
        record = {
            "study": "toy", "size": size, "config": config,
            "metrics": {"error": 10.0 + config["seed"], "taken": 60.0}, "seconds": 1800.0,
            "peak_mb": 1, "device": "cpu", "versions": {}, "date": "2026-01-31", "data": {},
            "code": code or {},
        }  # fmt: skip
        records.append(lab.path, records.seal(record))


def test_pages_say_what_is_stale_and_what_is_missing(lab):  # noqa: F811
    assert "No run" in claims_markdown("toy", results=lab.results)
    toy_records(lab, 3)
    runs = load("toy", results=lab.results)
    assert largest(runs) == "smoke"
    words = origin("toy", runs, "smoke")
    assert "3 of 24 runs are recorded, 2026-01-31, on cpu; 1.5 hours" in words
    assert "tale" not in words
    assert "none of 4 runs" in origin("toy", runs, "cpu")
    toy_records(lab, 2, code={"equitutor.training": "0", "toy": "1"})
    words = origin("toy", load("toy", results=lab.results), "smoke")
    assert "**Stale**: 2 runs, `equitutor.training`, `toy` changed since." in words
    text = claims_markdown("toy", results=lab.results)
    assert "| Small error | **holds** | 11.00 ± 2.48, n = 3 | none | It is. |" in text.replace(
        "\xa0", " "
    )
    assert "| All steps | **holds in part** | 60.00 ± 0.00, n = 3 | none | b |" in text.replace(
        "\xa0", " "
    )
    assert words in text
    toy_records(lab, 1, size="cpu")
    assert "**undecided** | 10.00, n = 1" in claims_markdown("toy", results=lab.results)
