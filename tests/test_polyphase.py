"""The anchor: its law, its limits, and the measures of a prediction's stability under shifts."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate, layer_norm
from torch.testing import assert_close

from equitutor.methods.polyphase import (
    PolyOrder,
    anchor,
    consistency,
    phase_scores,
    roll_batch,
    score_gap,
    tie_rate,
    undo_roll,
)

SCORES = [{"power": 2}, {"power": 4}, {"power": 1.5}, {"filtered": True}]
TIED_ROW = torch.tensor([[[[1.0, 2.0, 2.0, 1.0]]]])  # both components have energy 5


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@st.composite
def cases(draw):
    """Return generic maps, a stride that divides them, and shifts far beyond their size."""
    p = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    cells = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 3)), p[0] * cells[0], p[1] * cells[1])
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    t = draw(st.tuples(st.integers(-50, 50), st.integers(-50, 50)))
    return noise(*shape, seed=draw(st.integers(0, 999)), dtype=dtype), p, t


# The law -----------------------------------------------------------------------------------


def check_law(anchor, x, p, t):
    """Assert a(T_t x) = (a(x) + t) mod p, exactly."""
    before, after = anchor(x, p), anchor(torch.roll(x, t, (2, 3)), p)
    for k in (0, 1):
        assert torch.equal(after[k], (before[k] + t[k]) % p[k])


@settings(max_examples=40)
@given(cases())
def test_the_anchor_moves_with_the_map(case):
    check_law(anchor, *case)


@pytest.mark.parametrize("score", SCORES, ids=str)
@pytest.mark.parametrize("p", [(4, 4), (2, 3)])
def test_the_law_holds_for_every_residue_and_score(score, p):
    x = noise(5, 2, 12, 12)
    for t in itertools.product(range(p[0]), range(p[1])):
        check_law(lambda x, p: anchor(x, p, **score), x, p, t)


def test_the_law_fails_for_a_broken_anchor():
    x, p, t = noise(5, 2, 8, 8), (4, 4), (1, 0)

    def transposed(x, p):
        return anchor(x, p)[::-1]

    def by_position(x, p):  # a weight on the place: no function of values alone
        return anchor(x * torch.linspace(1, 3, x.shape[-2])[:, None], p)

    for broken in (transposed, by_position):
        with pytest.raises(AssertionError):
            for t in itertools.product(range(4), range(4)):
                check_law(broken, x, p, t)


def check_cells(order, x, p, t):
    """Assert that P(T_t x) is P(x) rolled by whole cells, bit for bit, and say by how many."""
    moved = order(torch.roll(x, t, (2, 3)))
    dy, dx = anchor(x, p)
    rows, columns = dy + t[0], dx + t[1]
    k = [torch.div(s, q, rounding_mode="floor") * q for s, q in ((rows, p[0]), (columns, p[1]))]
    assert torch.equal(moved, roll_batch(order(x), *k))


@settings(max_examples=40)
@given(cases())
def test_an_anchored_map_moves_by_whole_cells(case):
    x, p, t = case
    check_cells(PolyOrder(p), x, p, t)


@settings(max_examples=40)
@given(cases())
def test_anchoring_twice_is_anchoring_once(case):
    x, p, _ = case
    order = PolyOrder(p)
    assert torch.equal(order(order(x)), order(x))


def test_without_the_anchor_cells_are_cut_anew():
    x, p = noise(3, 1, 8, 8), (4, 4)
    with pytest.raises(AssertionError):
        check_cells(nn.Identity(), x, p, (1, 0))


@settings(max_examples=40)
@given(cases(), st.integers(0, 999))
def test_samples_do_not_see_their_neighbors(case, seed):
    x, p, _ = case
    shifts = torch.randint(-40, 40, (2, len(x)), generator=torch.Generator().manual_seed(seed))
    moved = roll_batch(x, *shifts)
    together = anchor(moved, p)
    for n in range(len(x)):
        alone = anchor(moved[n : n + 1], p)
        for k in (0, 1):
            assert together[k][n] == alone[k][0] == (anchor(x, p)[k][n] + shifts[k, n]) % p[k]


@settings(max_examples=40)
@given(cases())
def test_undo_roll_undoes_the_anchor(case):
    x, p, _ = case
    order = PolyOrder(p)
    assert torch.equal(undo_roll(order(x), *order.anchor(x)), x)


@pytest.mark.parametrize("batch", [2, 9])  # a loop and a gather
def test_the_roll_is_a_loop_of_torch_roll(batch):
    x = noise(batch, 3, 5, 7)
    dy, dx = torch.randint(-9, 9, (2, batch))
    wanted = [torch.roll(x[n], (int(dy[n]), int(dx[n])), (1, 2)) for n in range(batch)]
    assert torch.equal(roll_batch(x, dy, dx), torch.stack(wanted))


# Scores ------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_scores_are_the_sums_they_claim_to_be(power):
    x = noise(2, 3, 4, 6, dtype=torch.float64)
    scores = phase_scores(x, (2, 3), power)
    assert scores.dtype == torch.float64
    for i, j in itertools.product(range(2), range(3)):
        wanted = x[:, :, i::2, j::3].abs().pow(power).sum((1, 2, 3))
        assert_close(scores[:, i, j], wanted)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float16])
def test_scores_take_any_real_dtype(dtype):
    x = (noise(2, 1, 4, 4) * 100).abs().to(dtype)
    assert torch.equal(phase_scores(x, 2), phase_scores(x.double(), 2))


def test_scores_ignore_strides_in_memory_and_carry_no_gradient():
    x = noise(2, 4, 6, 3).permute(0, 3, 1, 2).requires_grad_()
    scores = phase_scores(x, 2)
    assert not scores.requires_grad
    assert torch.equal(scores, phase_scores(x.contiguous(), 2))


def test_autocast_does_not_coarsen_a_score():
    x = noise(4, 1, 16, 16)
    for score in SCORES:
        with torch.autocast("cpu", torch.bfloat16):
            inside = phase_scores(x, 4, **score)
        assert torch.equal(inside, phase_scores(x, 4, **score))


@pytest.mark.parametrize(
    ("x", "stride", "message"),
    [
        (noise(1, 1, 6, 8), 4, r"stride \(4, 4\) for a map of 6 x 8"),
        (noise(1, 1, 8, 6), (2, 4), r"stride \(2, 4\) for a map of 8 x 6"),
        (noise(8, 8), 4, "x must be"),
        (noise(0, 1, 8, 8), 4, "non-empty"),
        (noise(1, 1, 8, 8), 0, "stride must be a positive int"),
        (noise(1, 1, 8, 8), 2.0, "stride must be a positive int"),
        (noise(1, 1, 8, 8), (2, 2, 2), "stride must be a positive int"),
        (noise(1, 1, 8, 8), True, "stride must be a positive int"),
        (noise(1, 1, 8, 8).to(torch.complex64), 4, "real"),
    ],
)
def test_a_bad_map_or_stride_is_refused(x, stride, message):
    for function in (phase_scores, anchor, score_gap, tie_rate):
        with pytest.raises(ValueError, match=message):
            function(x, stride)


@pytest.mark.parametrize("power", [0, -1, float("nan"), float("inf")])
def test_a_bad_power_is_refused(power):
    for build in (lambda: PolyOrder(2, power), lambda: phase_scores(noise(1, 1, 4, 4), 2, power)):
        with pytest.raises(ValueError, match="power"):
            build()


# Gradient ----------------------------------------------------------------------------------


def test_the_gradient_of_the_anchored_map_is_the_inverse_roll():
    x = noise(9, 2, 4, 6, dtype=torch.float64).requires_grad_()
    order = PolyOrder((2, 3))
    assert torch.autograd.gradcheck(order, (x,))
    upstream = noise(9, 2, 4, 6, seed=1, dtype=torch.float64)
    y = order(x)
    once, twice = (torch.autograd.grad(y, x, upstream, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, undo_roll(upstream, *order.anchor(x)))
    assert torch.equal(once, twice)


# Ties --------------------------------------------------------------------------------------


def test_a_tie_breaks_the_law_and_is_reported():
    order = PolyOrder((1, 2))
    rolled = torch.roll(TIED_ROW, 1, 3)
    pairs = [{tuple(c) for c in order(x).view(2, 2).tolist()} for x in (TIED_ROW, rolled)]
    assert pairs[0] != pairs[1]  # other patches: this is what a tie does
    assert tie_rate(TIED_ROW, (1, 2)) == 1.0
    assert tie_rate(noise(8, 1, 8, 8), 4) == 0.0


def test_the_filtered_score_resolves_the_tie():
    x = TIED_ROW.expand(1, 1, 2, 4)
    assert tie_rate(x, (1, 2)) == 1.0
    assert tie_rate(x, (1, 2), filtered=True) == 0.0
    for t in range(4):
        check_law(lambda x, p: anchor(x, p, filtered=True), x, (1, 2), (0, t))


def test_upscaling_by_the_patch_ties_by_construction():
    x = interpolate(noise(20, 1, 8, 8).abs(), scale_factor=4, mode="nearest")
    assert tie_rate(x, 4) == 1.0
    assert tie_rate(interpolate(x[..., ::4, ::4], scale_factor=3, mode="bilinear"), 4) == 0.0


def test_normalized_tokens_tie_at_power_two_only():
    tokens = noise(50, 6, 6, 32)
    normalized = layer_norm(tokens, (32,)).permute(0, 3, 1, 2)
    assert score_gap(normalized, 3, power=2).median() < 1e-6
    assert score_gap(normalized, 3, power=4).median() > 1e-3
    assert score_gap(tokens.permute(0, 3, 1, 2), 3, power=2).median() > 1e-3  # not so before


def test_a_single_component_never_ties():
    assert score_gap(noise(2, 1, 4, 4), 1).tolist() == [1.0, 1.0]
    assert tie_rate(torch.zeros(2, 1, 4, 4), 2) == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_scores_that_are_not_finite_count_for_no_gap(value):
    x = torch.full((1, 1, 4, 4), value)
    with pytest.raises(ValueError, match="finite"):
        score_gap(x, 2, power=4)
    with pytest.raises(ValueError, match="finite"):
        tie_rate(x, 2, power=4)


def test_a_negative_tolerance_is_refused():
    with pytest.raises(ValueError, match="tolerance"):
        tie_rate(TIED_ROW, (1, 2), tolerance=-1.0)


# Compilation -------------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES, ids=str)
def test_the_anchor_compiles_to_one_graph(score):
    order, x = PolyOrder(4, **score), noise(3, 2, 8, 12)
    compiled = torch.compile(order, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), order(x))


# Measures ----------------------------------------------------------------------------------


def reads_column(x):
    """Return logits that follow the first row of the image: they move with it."""
    return x[:, 0, 0]


def test_consistency_is_one_for_an_invariant_and_about_chance_for_a_moving_model():
    x = torch.eye(8).view(8, 1, 1, 8)
    mean = lambda x: torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1)
    g = torch.Generator().manual_seed(0)
    assert consistency(mean, x, trials=5, generator=g) == 1.0
    assert consistency(reads_column, x, trials=400, generator=g) == pytest.approx(1 / 8, abs=0.03)
    # drawn from {0, 1}: two shifts agree half of the time
    assert consistency(reads_column, x, 1, trials=400, generator=g) == pytest.approx(0.5, abs=0.03)
    assert consistency(reads_column, x, 0, generator=g) == 1.0


def test_consistency_draws_one_shift_a_batch_only_on_request():
    x = torch.eye(8).view(8, 1, 1, 8)
    g = torch.Generator().manual_seed(0)
    batch = {consistency(reads_column, x, 3, per_image=False, generator=g) for _ in range(20)}
    assert batch == {0.0, 1.0}
    image = {consistency(reads_column, x, 3, generator=g) for _ in range(20)}
    assert len(image - {0.0, 1.0}) > 2


def test_consistency_repeats_with_its_generator():
    x = noise(8, 1, 4, 4)
    draw = lambda: consistency(
        reads_column, x, trials=3, generator=torch.Generator().manual_seed(5)
    )
    state = torch.get_rng_state()
    assert draw() == draw()
    assert torch.equal(torch.get_rng_state(), state)


def test_measures_refuse_what_they_cannot_measure():
    x = noise(3, 1, 4, 4)
    bad = [
        (lambda: consistency(reads_column, x[0]), "x must be"),
        (lambda: consistency(reads_column, x[:0]), "non-empty"),
        (lambda: consistency(reads_column, x, reach=-1), "reach"),
        (lambda: consistency(reads_column, x, reach=2.5), "reach"),
        (lambda: consistency(reads_column, x, trials=0), "trials"),
        (lambda: consistency(lambda x: x[:, 0, 0, 0], x), "logits"),
        (lambda: consistency(lambda x: x[:, 0, 0] * torch.nan, x), "NaN"),
    ]
    for call, message in bad:
        with pytest.raises(ValueError, match=message):
            call()
