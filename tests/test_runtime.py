"""Seed, device, profile and versions."""

import random

import numpy as np
import pytest
import torch

from equitutor import runtime


def draws(generator=None):
    own = [] if generator is None else torch.rand(3, generator=generator).tolist()
    return random.random(), np.random.rand(), *torch.rand(3).tolist(), *own


def test_a_seed_repeats_every_generator():
    first = draws(runtime.seed(5))
    assert draws(runtime.seed(5)) == first
    assert not set(first[:5]) & set(draws(runtime.seed(6)))


@pytest.mark.parametrize("n", [-1, 2**32, 1.0, True, "0", None])
def test_a_bad_seed_is_refused_before_anything_changes(n):
    states = torch.get_rng_state(), random.getstate()
    with pytest.raises(ValueError, match="n must be an int"):
        runtime.seed(n)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_the_ends_of_the_range_are_seeds():
    runtime.seed(0)
    runtime.seed(2**32 - 1)


def test_the_profile_is_read_when_asked_for(monkeypatch):
    monkeypatch.delenv("EQUITUTOR_PROFILE", raising=False)
    assert runtime.profile() == "fast"
    assert runtime.pick(fast=1, full=2) == 1
    monkeypatch.setenv("EQUITUTOR_PROFILE", "full")
    assert runtime.profile() == "full"
    assert runtime.pick(fast=1, full=2) == 2


@pytest.mark.parametrize("value", ["", "FAST", "slow"])
def test_an_unknown_profile_is_refused(monkeypatch, value):
    monkeypatch.setenv("EQUITUTOR_PROFILE", value)
    for call in (runtime.profile, lambda: runtime.pick(fast=1, full=2), runtime.report):
        with pytest.raises(ValueError, match="EQUITUTOR_PROFILE"):
            call()


@pytest.mark.parametrize(("kind", "picked"), [("cpu", None), ("cuda", 2)])
def test_a_full_run_without_an_accelerator_may_be_smaller(monkeypatch, kind, picked):
    monkeypatch.setenv("EQUITUTOR_PROFILE", "full")
    monkeypatch.setattr(runtime, "device", lambda: torch.device(kind))
    assert runtime.pick(fast=1, full=2, cpu=None) == picked  # None is a value, too
    assert runtime.pick(fast=1, full=2) == 2
    monkeypatch.setenv("EQUITUTOR_PROFILE", "fast")
    assert runtime.pick(fast=1, full=2, cpu=3) == 1


def test_the_report_says_what_a_bug_report_needs(capsys):
    runtime.report()
    words = capsys.readouterr().out
    for word in (runtime.profile(), torch.__version__, np.__version__, runtime.device().type):
        assert word in words
