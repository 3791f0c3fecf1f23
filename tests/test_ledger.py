"""The ledger: what an earlier run found is what the page of claims shows, with its gaps."""

import json

import pytest
from conftest import ROOT

from tools.press import ledger


def metric(values, unit=""):
    """Returns an entry of a results file, here with a given deviation of 0.5."""
    mean = sum(values) / len(values)
    std = 0.5 if len(values) > 1 else None
    return {"mean": mean, "std": std, "n": len(values), "unit": unit, "values": values}


@pytest.mark.parametrize(
    ("entry", "digits", "words"),
    [
        (metric([97.0, 99.0], "%"), 1, "98.0 ± 0.5 %"),
        (metric([3e-7]), 1, "3.0e-07"),
        (metric([-3e-7], "px"), 2, "−3.00e-07 px"),
        (metric([0.0]), 1, "0.0"),
        (metric([-1.5, -2.5], "°"), 1, "−2.0 ± 0.5°"),
        (metric([1000], "x"), 0, "1000×"),
        (metric([0.0, 100.0, 0.0], "%"), 1, "1 of 3"),
        (metric([100.0, 100.0], "%"), 1, "100.0 ± 0.5 %"),
    ],
)
def test_metrics_in_words(entry, digits, words):
    assert ledger.shown(entry, digits) == words


def test_what_was_recorded_is_shown(tmp_path):
    names = ("claim", "verdict", "paper", "metric", "why")
    rows = [("It | works.", "holds", "100 %", "set/a", "A"), ("Fast.", "not tested", "2", "", "B")]
    run = {"date": "2026-01-31", "environment": {"device": "GPU"}, "seconds": 123.0,
           "seeds": [0, 1], "metrics": {"set/a": metric([0.5, 1.5], "%")},
           "claims": [dict(zip(names, row, strict=True)) for row in rows]}  # fmt: skip
    (tmp_path / "book/results").mkdir(parents=True)
    (tmp_path / "book/results/x.json").write_text(json.dumps(run))
    assert ledger.load(tmp_path, "y") is None
    text = ledger.claims_markdown(ledger.load(tmp_path, "x")).replace("\N{NO-BREAK SPACE}", " ")
    assert "| It \\| works. | **holds** | 100 % | 1.0 ± 0.5 %, n = 2 (set) | A |" in text
    assert "| Fast. | **not tested** | 2 | – | B |" in text
    assert "Run of 2026-01-31 on GPU, 2 min, seeds 0, 1." in text


def test_what_an_earlier_run_found_stays_beside_a_study(monkeypatch):
    from tools.press.assembly import claims

    monkeypatch.setattr("equitutor.studies.pages.claims_markdown", lambda study: f"new {study}.")
    monkeypatch.setattr("tools.press.ledger.claims_markdown", lambda run: run)
    for kept in ("polyphase-vit", "alias-free-diffusion"):
        old = lambda root, name, kept=kept: f"old {name}." if name == kept else None
        monkeypatch.setattr("tools.press.ledger.load", old)
        page = claims(ROOT)
        for name in ("polyphase-vit", "alias-free-diffusion"):
            assert f"new {name}." in page
            assert (f"old {name}." in page) == (name == kept)
