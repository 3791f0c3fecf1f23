"""Embeddings: planted families of orbits come apart, and nothing else is made up."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from equitutor import figures
from equitutor.nero import Embedding, embed, plot_embedding
from equitutor.orbits import OrbitResult, so2

METHODS = ("pca", "tsne", "isomap")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def families(elements=12, samples=12, noise=0.0, seed=0):
    """Return scores (G, N): the first half of the samples do well where the rest do badly."""
    first = torch.arange(samples) < samples // 2
    well = torch.arange(elements) < elements // 3
    scores = torch.where(well[:, None] == first, 0.9, 0.2).double()
    generator = torch.Generator().manual_seed(seed)
    return scores + noise * torch.rand(elements, samples, generator=generator).double()


def apart(points, first):
    """Return the distance between two families' means, in units of their largest radius."""
    a, b = points[:first], points[first:]
    radius = max((f - f.mean(0)).norm(dim=1).max() for f in (a, b))
    return ((a.mean(0) - b.mean(0)).norm() / radius.clamp(min=1e-9)).item()


# The features are the samples' orbits ------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("elements", [5, 24])
def test_planted_families_come_apart(method, elements):
    result = OrbitResult(families(elements, 24, noise=0.05), so2(elements))
    embedding = embed(result, method)
    assert embedding.points.shape == (24, 2)
    assert embedding.points.dtype == torch.float64
    assert embedding.method == method
    assert apart(embedding.points, 12) > 1.5


def test_transposed_scores_lose_the_families():
    """As many elements as samples: no shape gives the transposed array away (trap T4)."""
    scores = families(12, 12, noise=0.05)
    assert apart(embed(OrbitResult(scores, so2(12))).points, 6) > 3
    assert apart(embed(OrbitResult(scores.T.contiguous(), so2(12))).points, 6) < 1.5


def test_pca_keeps_the_distances_of_a_plane():
    generator = torch.Generator().manual_seed(0)
    plane, _ = torch.linalg.qr(torch.randn(9, 2, generator=generator, dtype=torch.float64))
    flat = torch.randn(2, 7, generator=generator, dtype=torch.float64)
    points, explained, _ = embed(OrbitResult(plane @ flat + 0.3, so2(9)))
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(flat.T, flat.T))
    assert sum(explained) == pytest.approx(1)
    assert explained[0] >= explained[1] > 0
    share = points.var(0) / points.var(0).sum()
    assert explained == pytest.approx(tuple(share.tolist()))


@given(st.integers(3, 9), st.integers(2, 9), st.integers(0, 1000))
def test_pca_follows_the_samples_and_forgets_the_order_of_the_elements(samples, elements, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(elements, samples, generator=generator).double()
    orbit = so2(elements)
    points = embed(OrbitResult(scores, orbit)).points
    order = torch.randperm(samples, generator=generator)
    moved = embed(OrbitResult(scores[:, order], orbit)).points
    torch.testing.assert_close(moved, points[order], atol=1e-9, rtol=0)
    shuffled = scores[torch.randperm(elements, generator=generator)]
    torch.testing.assert_close(
        embed(OrbitResult(shuffled, orbit)).points, points, atol=1e-9, rtol=0
    )


def test_shuffling_each_sample_on_its_own_moves_the_points():
    """The broken twin: an order of elements that differs between samples does matter."""
    scores = families(8, 6, noise=0.1)
    rolled = torch.stack([scores[:, n].roll(n) for n in range(6)], 1)
    before, after = (embed(OrbitResult(s, so2(8))).points for s in (scores, rolled))
    assert (after - before).abs().max() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_signs_are_fixed_and_runs_agree(method):
    result = OrbitResult(families(7, 15, noise=0.3), so2(7))
    points = embed(result, method, seed=3).points
    for axis in range(2):
        assert points[points[:, axis].abs().argmax(), axis] > 0
    assert torch.equal(embed(result, method, seed=3).points, points)
    negated = embed(OrbitResult(-result.scores, so2(7)), "pca").points
    torch.testing.assert_close(negated, embed(result, "pca").points)


def test_a_tie_of_the_farthest_points_goes_to_the_first():
    for sign in (1.0, -1.0):
        scores = 0.5 + sign * torch.tensor([[0.1, 0.1, -0.1, -0.1]]).expand(4, 4)
        assert embed(OrbitResult(scores, so2(4))).points[0, 0] > 0


def test_the_random_state_is_left_alone():
    torch.manual_seed(0), np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    embed(OrbitResult(families(7, 9, noise=0.3), so2(7)), "tsne")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


# Small and flat ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 5), (2, 3), (6, 3), (6, 4), (4, 40)])
def test_small_results_embed_without_a_warning(method, size):
    scores = torch.rand(size, generator=torch.Generator().manual_seed(0))
    assert embed(OrbitResult(scores, so2(size[0])), method).points.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_samples_with_equal_orbits_stand_at_the_origin(method):
    constant = OrbitResult(torch.full((6, 8), 0.7), so2(6))
    rounded = OrbitResult(constant.scores + 6e-8 * (torch.arange(8) % 2), so2(6))
    for result in (constant, rounded, OrbitResult(torch.zeros(6, 8), so2(6))):
        points, explained, _ = embed(result, method)
        assert torch.equal(points, torch.zeros(8, 2).double())
        assert explained == ((0.0, 0.0) if method == "pca" else None)
    seen = OrbitResult(constant.scores + 1e-4 * (torch.arange(8) % 2), so2(6))  # no rounding
    assert embed(seen, "pca").points.abs().max() > 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_invariant_models_and_repeated_samples_embed(method):
    level = torch.linspace(0, 1, 9).expand(6, 9)  # constant along each orbit
    repeated = families(6, 20)  # two points in all
    for scores in (level, repeated):
        assert embed(OrbitResult(scores, so2(6)), method).points.isfinite().all()


# Refusals ----------------------------------------------------------------------------------


def holed():
    scores = families()
    scores[2, 3] = torch.nan
    return OrbitResult(scores, so2(12))


FAMILIES = OrbitResult(families(), so2(12))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: embed(FAMILIES.scores), "result must be an OrbitResult"),
        (lambda: embed(FAMILIES, "lda"), "method must be one of"),
        (lambda: embed(FAMILIES, seed=-1), "seed must be"),
        (lambda: embed(FAMILIES, seed=0.5), "seed must be"),
        (
            lambda: embed(OrbitResult(torch.rand(4, 2), so2(4))),
            "at least 3 samples to embed, got 2",
        ),
        (lambda: embed(holed()), "finite scores to embed, got 1"),
        (lambda: plot_embedding(FAMILIES, "median"), "color must be"),
        (lambda: plot_embedding(FAMILIES, torch.zeros(11, dtype=torch.long)), "12 integer labels"),
        (lambda: plot_embedding(FAMILIES, torch.zeros(12)), "12 integer labels"),
        (lambda: plot_embedding(FAMILIES, torch.arange(12), limits=(0, 1)), "limits must be None"),
        (lambda: plot_embedding(FAMILIES, limits=(1, 0)), "limits must be"),
        (
            lambda: plot_embedding(FAMILIES, embedding=Embedding(torch.zeros(6, 2), None, "pca")),
            "embedding must hold 12 points",
        ),
    ],
)
def test_what_cannot_be_embedded_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The plot ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("color", "words"), [("mean", "mean"), ("spread", "standard deviation")])
def test_points_carry_the_color_the_bar_names(color, words):
    result = OrbitResult(families(8, 10, noise=0.3), so2(8))
    ax = plot_embedding(result, color, label="confidence")
    (dots,) = ax.collections
    np.testing.assert_allclose(dots.get_offsets(), embed(result).points)
    values = result.scores.mean(0) if color == "mean" else result.scores.std(0, correction=0)
    np.testing.assert_allclose(dots.get_array(), values)
    assert dots.get_clim() == pytest.approx((values.min().item(), values.max().item()))
    assert "confidence" in dots.colorbar.ax.get_ylabel()
    assert words in dots.colorbar.ax.get_ylabel()


def brightness(color):
    """The relative luminance of a color, as the contrast of WCAG takes it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_labels_can_be_read_on_white_and_on_dark_paper():
    ax = plot_embedding(FAMILIES, torch.arange(12) % 10)
    ax.figure.canvas.draw()
    shades = [brightness(dots.get_facecolor()[0]) for dots in ax.collections]
    dark = brightness([18 / 255] * 3)
    assert len({round(shade, 4) for shade in shades}) == 10
    assert all(1.05 / (shade + 0.05) > 3 for shade in shades)
    assert all((shade + 0.05) / (dark + 0.05) > 3 for shade in shades)


def test_labels_are_drawn_as_themselves():
    result, labels = FAMILIES, torch.tensor([7, 2, 2] * 4)
    ax = plot_embedding(result, labels)
    points = embed(result).points
    assert len(ax.collections) == 2
    for dots, kind in zip(ax.collections, (2, 7), strict=True):
        np.testing.assert_allclose(dots.get_offsets(), points[labels == kind])
    assert len({tuple(dots.to_rgba(dots.get_array())[0]) for dots in ax.collections}) == 2
    bar = ax.collections[-1].colorbar
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == ["2", "7"]


def test_axes_say_what_they_show():
    ax = plot_embedding(FAMILIES)
    assert ax.get_xlabel() == "PCA 1 (100% of the variance)"
    assert ax.get_ylabel() == "PCA 2 (0% of the variance)"
    assert ax.get_aspect() == 1
    given = Embedding(torch.rand(12, 2).double(), None, "tsne")
    _, axes = figures.grid(1)
    ax = plot_embedding(FAMILIES, embedding=given, limits=(0, 0.3), ax=axes[0, 0])
    assert ax is axes[0, 0]
    assert ax.get_xlabel() == "t-SNE 1 (arbitrary units)"
    np.testing.assert_allclose(ax.collections[0].get_offsets(), given.points)
    assert "clipped" in ax.collections[0].colorbar.ax.get_ylabel()
