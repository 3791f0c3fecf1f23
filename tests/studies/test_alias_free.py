"""The study of alias-free diffusion: what its comparisons rest on."""

import pandas as pd
import pytest
import torch
from laboratory import lab  # noqa: F401

from equitutor.studies import alias_free as study
from equitutor.studies import estimate, find, verdicts
from equitutor.studies.verdicts import MissingRuns


def table(**fids):
    """Runs of networks, {name: ((small, imagenet), ...)}, one pair a seed."""
    rows = [
        dict(network=name, data="mnist", steps=100, seed=seed, fid_small=a, fid_imagenet=b)
        for name, pairs in fids.items()
        for seed, (a, b) in enumerate(pairs)
    ]
    return pd.DataFrame(rows)


def test_the_study_runs(lab):  # noqa: F811
    lab.path = lab.results / "alias-free-diffusion.jsonl"
    lab.study = "alias-free-diffusion"
    lab.run(only={"network": ["average, radial", "average"]})
    found = {r["config"]["network"]: r["metrics"] for r in lab.records()}
    assert list(found) and all(set(m) == set(study.UNITS) for m in found.values())
    assert found["average, radial"]["eq_90deg_500"] > 100 > found["average"]["eq_90deg_500"]
    assert found["average, radial"]["parameters"] == found["average"]["parameters"]
    assert all(list(r["data"]) == ["scikit-learn/digits"] for r in lab.records())


def test_runs_of_one_seed_share_weights_and_batches():
    small = dict(width=4)
    nets = []
    for name in ("max-pool", "Kaiser D", "average, circular"):
        torch.manual_seed(1)
        nets.append(study.network(dict(network=name, **small)).state_dict())
    for other in nets[1:]:
        assert nets[0].keys() == other.keys()
        assert all(torch.equal(nets[0][key], other[key]) for key in other)
    x = torch.rand(40, 1, 8, 8)
    batch = study.NoisyBatches(x, 6, seed=1)
    for a, b in zip(batch(4), study.NoisyBatches(x, 6, seed=1)(4), strict=True):
        assert torch.equal(a, b)
    for twin in (study.NoisyBatches(x, 6, seed=2)(4), batch(5)):  # another seed, another step
        assert not torch.equal(batch(4)[0], twin[0])


def test_velocity_and_image_fit():
    """From the noisy image and its velocity the clean image follows."""
    x0 = torch.rand(1, 1, 8, 8)
    packed, velocity = study.NoisyBatches(x0, 5, seed=0)(0)
    level = study.CHAIN.alpha_bar[packed[:, 1, 0, 0].long()].float().view(-1, 1, 1, 1)
    clean = level.sqrt() * packed[:, :1] - (1 - level).sqrt() * velocity
    torch.testing.assert_close(clean, x0.expand(5, -1, -1, -1), atol=1e-5, rtol=1e-5)


def test_a_judge_does_not_move_the_random_numbers_of_a_run():
    study.judge.cache_clear()
    draws = []
    for _ in range(2):  # the first call trains it, the second finds it
        torch.manual_seed(3)
        study.judge("digits", 16, 40, False, steps=2)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_both_eyes_have_to_see_a_gain():
    runs = table(
        a=((8, 8.0), (8.1, 8.1), (7.9, 7.9)),
        b=((8, 11), (8.1, 11.2), (7.9, 10.8)),  # the second eye sees a loss
        base=((10, 10.0), (10.1, 10.1), (9.9, 9.9)),
    )
    judge = study.CLAIMS[0].rule.judge
    assert judge(study.seen_by_both("a", "base")(runs)) == "holds"
    assert judge(study.seen_by_both("b", "base")(runs)) == "does not hold"
    assert judge(study.seen_by_both("base", "a", sign=-1)(runs)) == "holds"
    assert judge(study.seen_by_both("b", "base", sign=-1)(runs)) == "does not hold"
    small = study.change(runs, "b", "base", "small")
    assert small.values == pytest.approx((-20, -19.80198, -20.20202))


def test_of_several_lengths_the_longest_is_judged():
    runs = pd.concat([table(a=((5, 5.0),)), table(a=((3, 3.0),)).assign(steps=300)])
    assert study.rows(runs, "a")["fid_small"].tolist() == [3]
    assert study.rows(runs, "a", steps=100)["fid_small"].tolist() == [5]


def test_an_incomplete_pair_is_missing():
    runs = table(a=((5, 5.0), (5, 5.0)), b=((5, 5.0),))
    for a, b in (("a", "b"), ("a", "nobody")):
        with pytest.raises(MissingRuns):
            study.change(runs, a, b, "small")


def test_without_records_every_claim_is_not_tested():
    declared, _ = find("alias-free-diffusion")
    columns = ["size", "network", "data", "steps", "seed", *study.UNITS]
    empty = pd.DataFrame(columns=columns)
    found = verdicts(declared, empty, "cpu")
    assert len(found) == len(study.CLAIMS)
    assert {v.verdict for v in found} == {"not tested"}
    one = pd.DataFrame([dict.fromkeys(columns, 1.0) | dict(size="cpu", network="max-pool",
                                                           data="mnist")])  # fmt: skip
    assert {v.verdict for v in verdicts(declared, one, "cpu")} <= {"not tested", "undecided"}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((-5, -6, -7), "holds"), ((5, 6, 7), "does not hold"), ((-5, 0, 5), "undecided")],
)
def test_below(values, verdict):
    assert study.below(0).judge(estimate(values)) == verdict
