"""What the two explorers of the first chapter carry, and what they refuse."""

import json
import re

import pytest

from equitutor import groups
from equitutor.explorers import cayley_explorer, orbit_explorer
from equitutor.explorers.symmetry import SHAPES


def payload(explorer):
    return json.loads(explorer.payload)


def test_the_tables_are_those_of_the_groups():
    chosen = [groups.cyclic(4), groups.dihedral(2), groups.dihedral(3), groups.dihedral(4)]
    for group, table in zip(chosen, payload(cayley_explorer())["groups"], strict=True):
        assert table["name"] == group.name
        assert table["mul"] == group.mul.tolist()
        assert table["matrices"] == group.elements.flatten(1).tolist()
        assert len(set(table["labels"])) == len(set(table["short"])) == group.order


def test_names_say_what_the_matrices_do():
    (table,) = payload(cayley_explorer([groups.dihedral(3)]))["groups"]
    assert table["short"] == ["e", "r", "r²", "m", "rm", "r²m"]
    assert table["labels"][1] == "turn by 120°"
    assert table["labels"][5] == "mirror and turn by 240°"


def test_the_shapes_travel_with_their_names():
    sent = payload(orbit_explorer({"<bar>": [(0, 0), (1, 0)]}))["shapes"]
    assert sent == [{"name": "&lt;bar&gt;", "cells": [[0, 0], [1, 0]]}]
    assert [s["name"] for s in payload(orbit_explorer())["shapes"]] == list(SHAPES)


@pytest.mark.parametrize("make", [orbit_explorer, cayley_explorer])
def test_pages_are_small_and_have_a_picture(make):
    html = make().to_html()
    assert len(html) < 100_000
    assert re.search(r'<div role="img" aria-label="[^"]{20,}"><svg', html)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({}, "shapes must be 1 to 8, got 0"),
        ({"dot": []}, r"shapes\['dot'\] must be different cells"),
        ({"far": [(0, 3)]}, r"integers from -2 to 2, got \[\(0, 3\)\]"),
        ({"half": [(0.5, 0)]}, r"shapes\['half'\]"),
        ({"twice": [(0, 0), (0, 0)]}, r"shapes\['twice'\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, said):
    with pytest.raises(ValueError, match=said):
        orbit_explorer(shapes)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([], "at least one group"),
        (["C4"], "must hold FiniteGroup, got str"),
        ([groups.icosahedral()], "at most 8 elements"),
        ([groups.cyclic(9)], "at most 8 elements"),
    ],
)
def test_groups_that_do_not_fit_are_refused(chosen, said):
    with pytest.raises(ValueError, match=said):
        cayley_explorer(chosen)
