"""The ledger: what a run records is what pages read, with its gaps."""

import json
import math
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from equitutor import ledger
from equitutor.chapters import BookError


@pytest.fixture
def book(tmp_path, monkeypatch):
    """An empty book, as the working directory."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text("title: a book\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EQUITUTOR_PROFILE", "fast")
    return tmp_path


def entries(value=0.5):
    return {"accuracy": ledger.metric([value, value + 0.02], "%"), "error": ledger.metric(3e-7)}


def claims(verdict="holds"):
    return [
        ledger.claim("It | works.", "100 %", "accuracy", verdict, "Same setting."),
        ledger.claim("It is fast.", "twice", "", "not tested", "No such machine."),
    ]


# Metrics -----------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_a_metric_is_mean_and_sample_deviation(values):
    entry = ledger.metric(values, "px")
    assert entry["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    assert entry["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert (entry["n"], entry["unit"], entry["values"]) == (len(values), "px", values)


@pytest.mark.parametrize(
    "value", [2, 2.0, torch.tensor(2.0), np.float32(2), np.array(2.0), [2.0], torch.tensor([2.0])]
)
def test_a_single_number_has_no_deviation(value):
    entry = ledger.metric(value)
    assert (entry["mean"], entry["std"], entry["n"]) == (2.0, None, 1)
    assert json.loads(json.dumps(entry)) == entry


@pytest.mark.parametrize("values", [[], math.nan, [1.0, math.inf], "97", torch.tensor([])])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(ValueError, match="values must be"):
        ledger.metric(values)


@pytest.mark.parametrize(
    ("entry", "digits", "words"),
    [
        (ledger.metric([97.0, 99.0], "%"), 1, "98.0 ± 1.4 %"),
        (ledger.metric([97.0, 99.0], "%"), 0, "98 ± 1 %"),
        (ledger.metric(3e-7), 1, "3.0e-07"),
        (ledger.metric(-3e-7, "px"), 2, "−3.00e-07 px"),
        (ledger.metric(0.0), 1, "0.0"),
        (ledger.metric(1234.56), 1, "1234.6"),
        (ledger.metric([-1.5, -2.5], "°"), 1, "−2.0 ± 0.7°"),
        (ledger.metric(1000, "x"), 0, "1000×"),
        (ledger.metric([0, 100, 0], "%"), 1, "1 of 3"),
        (ledger.metric([100, 100], "%"), 1, "100.0 ± 0.0 %"),
    ],
)
def test_metrics_in_words(entry, digits, words):
    assert ledger.shown(entry, digits) == words


# Round trip --------------------------------------------------------------------------------


def test_what_is_recorded_is_loaded(book):
    made = ledger.record("x", entries(), claims(), seeds=[0, 1], settings={"steps": 3})
    path = book / "build" / "results" / "x.json"
    assert json.loads(path.read_text()) == made
    assert ledger.load("x", "fast") == made
    assert ledger.load("x", "full") is None
    assert made["seeds"] == [0, 1]
    assert made["settings"] == {"steps": 3}
    assert made["environment"]["device"]


def test_a_full_run_is_written_beside_the_book(book, monkeypatch):
    monkeypatch.setenv("EQUITUTOR_PROFILE", "full")
    made = ledger.record("x", entries())
    assert json.loads((book / "book" / "results" / "x.json").read_text()) == made
    assert not (book / "build").exists()


def test_a_stamp_adds_time_and_memory(book):
    made = ledger.record("x", entries(), seeds=[0, 1])
    ledger.stamp("x", "fast", 123.456, 987.6)
    stamped = ledger.load("x", "fast")
    assert stamped == made | {"seconds": 123.5, "peak_mb": 988}
    assert "2 min, seeds 0, 1" in ledger.described(stamped)


def test_a_stamp_needs_a_record(book):
    with pytest.raises(BookError, match="x recorded no results"):
        ledger.stamp("x", "fast", 1.0, 1.0)


def test_without_a_book_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def no_root():
        raise BookError("none")

    monkeypatch.setattr(ledger, "find_root", no_root)
    made = ledger.record("x", entries())
    assert made["metrics"] == entries()
    assert list(tmp_path.iterdir()) == []
    assert ledger.load("x", "fast") is None
    with pytest.raises(BookError):
        ledger.stamp("x", "fast", 1.0, 1.0)


def test_a_record_that_cannot_be_written_leaves_the_old_one(book):
    ledger.record("x", entries())
    path = book / "build" / "results" / "x.json"
    before = path.read_bytes()
    for settings in ({"lr": math.nan}, {"model": object()}):
        with pytest.raises((ValueError, TypeError)):
            ledger.record("x", entries(0.9), settings=settings)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("metrics", "claimed", "message"),
    [
        ({"a": 0.5}, [], "must come from ledger.metric"),
        ({"a": {"mean": 0.5}}, [], "must come from ledger.metric"),
        ({}, claims(), "'accuracy', which is not measured"),
    ],
)
def test_a_record_of_something_else_is_refused(book, metrics, claimed, message):
    with pytest.raises(ValueError, match=message):
        ledger.record("x", metrics, claimed)
    assert not (book / "build").exists()


@pytest.mark.parametrize("chapter", ["", "../x", "a/x", ".."])
def test_a_chapter_is_a_bare_name(book, chapter):
    with pytest.raises(ValueError, match="chapter must be"):
        ledger.record(chapter, entries())
    assert sorted(p.name for p in book.iterdir()) == ["_config.yml", "_toc.yml", "book"]


def test_verdicts_and_profiles_are_known_words():
    for verdict in ledger.VERDICTS:
        assert ledger.claim("a", "b", "", verdict, "c")["verdict"] == verdict
    with pytest.raises(ValueError, match="verdict must be one of"):
        ledger.claim("a", "b", "", "true", "c")
    with pytest.raises(ValueError, match="profile must be one of"):
        ledger.load("x", "slow")


# Tables ------------------------------------------------------------------------------------


def rows(markdown):
    """Return the cells of the claims, without head and rule."""
    plain = markdown.replace("\N{NO-BREAK SPACE}", " ")
    lines = [line for line in plain.splitlines() if line.startswith("| ")][1:]
    return [[c.strip() for c in line.replace("\\|", "¦").strip("|").split("|")] for line in lines]


def test_no_run_makes_no_table(book):
    assert ledger.claims_markdown("x") is None
    assert "No run" in ledger.table("x").data


def test_a_table_shows_both_runs_and_the_verdict_of_the_full_one(book, monkeypatch):
    ledger.record("x", entries(0.5), claims("holds in part"), seeds=[0])
    only_fast = ledger.claims_markdown("x")
    assert rows(only_fast)[0] == [
        "It ¦ works.", "**holds in part**", "100 %", "0.5 ± 0.0 %, n = 2", "–", "Same setting."
    ]  # fmt: skip
    assert rows(only_fast)[1][1:5] == ["**not tested**", "twice", "–", "–"]
    assert "ours, here | ours, recorded" in only_fast.splitlines()[0]
    assert "Ours, recorded: no run." in only_fast
    monkeypatch.setenv("EQUITUTOR_PROFILE", "full")
    full = ledger.record("x", entries(0.9), claims(), seeds=[0, 1, 2])
    both = ledger.claims_markdown("x")
    assert rows(both)[0][1:5] == [
        "**holds**", "100 %", "0.5 ± 0.0 %, n = 2", "0.9 ± 0.0 %, n = 2"
    ]  # fmt: skip
    assert "no run" not in both
    assert "seeds 0, 1, 2" in both
    assert ledger.table("x").data == both
    live = full | {"metrics": entries(0.7)}
    assert rows(ledger.claims_markdown("x", live))[0][4] == "0.7 ± 0.0 %, n = 2"
    live = live | {"profile": "fast"}
    assert rows(ledger.claims_markdown("x", live))[0][3:5] == [
        "0.7 ± 0.0 %, n = 2", "0.9 ± 0.0 %, n = 2"
    ]  # fmt: skip


def test_each_profile_answers_a_claim_with_its_own_metric(tmp_path, monkeypatch):
    def run(profile, group, value):
        name = f"{group}/net/drop"
        claims = [ledger.claim("It falls.", "20 points", name, "holds", "Because.")]
        return {
            "profile": profile,
            "date": "2026-01-01",
            "seeds": [0],
            "environment": {"device": "cpu"},
            "metrics": {name: ledger.metric(value, "points")},
            "claims": claims,
        }

    runs = {"fast": run("fast", "digits", 48.0), "full": run("full", "cifar10", 5.0)}
    monkeypatch.setattr(ledger, "load", lambda chapter, profile="full": runs[profile])
    assert rows(ledger.claims_markdown("x"))[0][3:5] == [
        "48.0 points (digits)", "5.0 points (cifar10)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "values, verdict",
    [([100, 100], "holds"), ([100, 97], "holds in part"), ([80, 90], "does not hold")],
)
def test_a_verdict_follows_from_every_seed(values, verdict):
    metrics = {"hits": ledger.metric(values)}
    rules = dict(holds=lambda v: v == 100, partly=lambda mean: mean > 95)
    line = ledger.judge("It works.", "100 %", "hits", metrics, "Same setting.", **rules)
    assert (line["verdict"], line["metric"]) == (verdict, "hits")


def test_what_was_not_measured_is_not_judged():
    line = ledger.judge("It works.", "100 %", "hits", {}, "No data.", holds=lambda v: True)
    assert (line["verdict"], line["metric"]) == ("not tested", "")
    with pytest.raises(ValueError, match="holds must be a rule for the metric 'hits'"):
        ledger.judge("It works.", "100 %", "hits", {"hits": ledger.metric(1)}, "No rule.")


def test_a_table_names_the_rows_that_have_fewer_runs():
    one, three = ledger.metric(5.0, "%"), ledger.metric([1.0, 2.0, 3.0], "%")
    below = lambda entries: ledger.grid(entries, "set").data.splitlines()[-1]
    assert below({"set/a/x": three, "set/b/x": three}) == "Mean ± standard deviation over 3 seeds."
    assert below({"set/a/x": three, "set/a/y": one, "set/b/x": one}) == (
        "Mean ± standard deviation over 3 seeds; b: one run."
    )
    assert below({"set/a/x": one, "set/b/x": one}) == "One seed."


def test_only_a_record_written_since_gets_the_time_of_a_run(book):
    before = time.time() - 10
    assert not ledger.written_since(before, "x", "fast")
    ledger.record("x", entries())
    assert ledger.written_since(before, "x", "fast")
    assert not ledger.written_since(time.time() + 10, "x", "fast")


def test_what_an_earlier_run_found_stays_beside_a_study(monkeypatch):
    from equitutor.press.assembly import claims

    monkeypatch.setattr("equitutor.studies.pages.claims_markdown", lambda study: f"new {study}.")
    for kept in ("polyphase-vit", "alias-free-diffusion"):
        old = lambda name, kept=kept: f"old {name}." if name == kept else None
        monkeypatch.setattr("equitutor.ledger.claims_markdown", old)
        page = claims(ROOT)
        for name in ("polyphase-vit", "alias-free-diffusion"):
            assert f"new {name}." in page
            assert (f"old {name}." in page) == (name == kept)
