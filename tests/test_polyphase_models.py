"""Layers and models of the polyphase method: exact under shifts, beside plain twins."""

import itertools

import pytest
import torch
from conftest import rounding
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from equitutor.methods.polyphase import (
    CircularPEG,
    PolyOrder,
    PolyPatchEmbed,
    PolyTwins,
    PolyViT,
    SubsampledAttention,
    WindowAttention,
    anchor,
    roll_batch,
    undo_roll,
)
from equitutor.methods.polyphase.layers import Attention, order_tokens

SMALL_VIT = {"size": 24, "patch": 4, "dim": 16, "depth": 1, "heads": 2}
SMALL_TWINS = {"size": 24, "patch": 2, "dims": (16, 24)}
MODELS = {
    "vit": lambda **k: PolyViT(**SMALL_VIT, **k),
    "vit, class token": lambda **k: PolyViT(**SMALL_VIT, pool="cls", **k),
    "vit, power 4": lambda **k: PolyViT(**SMALL_VIT, power=4, **k),
    "vit, filtered": lambda **k: PolyViT(**SMALL_VIT, filtered=True, **k),
    "vit, oblong": lambda **k: PolyViT((12, 20), (3, 5), channels=2, dim=16, heads=2, **k),
    "twins": lambda **k: PolyTwins(**SMALL_TWINS, **k),
    "twins, each": lambda **k: PolyTwins(**SMALL_TWINS, each=True, **k),
    "twins, deep": lambda **k: PolyTwins(**SMALL_TWINS, depths=(2, 2), **k),
    "twins, oblong": lambda **k: PolyTwins(
        (24, 64), (2, 4), channels=2, window=(3, 2), ratio=(2, 4), each=True, **k
    ),
}
SIZES = {"vit, oblong": (2, 12, 20), "twins, oblong": (2, 24, 64)}
SHIFTS = [(0, 1), (1, 0), (-3, 2), (5, 7), (29, -31)]


def images(*shape, seed=0, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make(name, dtype=torch.float32, seed=0, **kwargs):
    """Return a model of that name in eval mode, and images that fit it."""
    torch.manual_seed(seed)
    model = MODELS[name](**kwargs).to(dtype).eval()
    return model, images(4, *SIZES.get(name, (1, 24, 24)), seed=seed, dtype=dtype)


@torch.no_grad()
def violation(model, x, shifts=SHIFTS):
    """Return the largest change of a logit under the shifts."""
    still = model(x)
    return max((model(torch.roll(x, t, (2, 3))) - still).abs().max().item() for t in shifts)


def trained(model, x, steps=50):
    """Return the model after a quick training on random labels."""
    y = torch.arange(len(x)) % 10
    optimizer = torch.optim.Adam(model.train().parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


# Layers ------------------------------------------------------------------------------------


@st.composite
def embeddings(draw):
    p = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    cells = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    x = images(draw(st.integers(1, 9)), 2, p[0] * cells[0], p[1] * cells[1],
               seed=draw(st.integers(0, 99)), dtype=torch.float64)  # fmt: skip
    return p, x, draw(st.tuples(st.integers(-20, 20), st.integers(-20, 20)))


def check_embedding(embed, p, x, t):
    """Assert that the tokens of a shifted image are rolled by floor((a + t) / p) cells."""
    dy, dx = anchor(x, p)
    rows = torch.div(dy + t[0], p[0], rounding_mode="floor")
    columns = torch.div(dx + t[1], p[1], rounding_mode="floor")
    tokens = embed(x).permute(0, 3, 1, 2)
    moved = embed(torch.roll(x, t, (2, 3))).permute(0, 3, 1, 2)
    assert_close(moved, roll_batch(tokens, rows, columns), atol=1e-12, rtol=0)


@given(embeddings())
@torch.no_grad()
def test_patch_tokens_move_by_whole_cells(case):
    p, x, t = case
    check_embedding(PolyPatchEmbed(p, 2, 3).double(), p, x, t)


@torch.no_grad()
def test_plain_patch_tokens_do_not():
    x, plain = images(3, 2, 8, 8).double(), PolyPatchEmbed(4, 2, 3, anchored=False).double()
    with pytest.raises(AssertionError):
        check_embedding(plain, (4, 4), x, (1, 0))


@pytest.mark.parametrize("layer", [lambda: WindowAttention(8, 2, (2, 3)),
                                   lambda: SubsampledAttention(8, 2, (2, 3))],
                         ids=["window", "subsampled"])  # fmt: skip
@torch.no_grad()
def test_grid_attention_is_equivariant_only_behind_an_anchor(layer):
    torch.manual_seed(0)
    layer = layer().double()
    tokens = images(3, 4, 6, 8, dtype=torch.float64)  # (B, h, w, D)
    order = PolyOrder((2, 3), power=4)

    def anchored(tokens):
        tokens, dy, dx = order_tokens(order, tokens)
        return undo_roll(layer(tokens).permute(0, 3, 1, 2), dy, dx).permute(0, 2, 3, 1)

    for t in itertools.product(range(2), range(3)):
        wanted = torch.roll(anchored(tokens), t, (1, 2))
        assert_close(anchored(torch.roll(tokens, t, (1, 2))), wanted, atol=1e-12, rtol=0)
    error = layer(torch.roll(tokens, 1, 2)) - torch.roll(layer(tokens), 1, 2)
    assert error.abs().max() > 1e-3


@torch.no_grad()
def test_a_window_attends_to_itself_and_to_nothing_else():
    layer, tokens = WindowAttention(8, 2, (2, 3)).double(), images(1, 4, 6, 8).double()
    touched = tokens.clone()
    touched[0, 1, 4] += 1  # the window of rows 0, 1 and columns 3, 4, 5
    changed = (layer(touched) - layer(tokens)).abs().amax(-1)[0] > 1e-12
    assert changed[:2, 3:].all()
    assert changed.sum() == 6


@torch.no_grad()
def test_attention_is_the_softmax_of_scaled_products():
    layer, x, context = Attention(6, 2).double(), *(images(2, n, 6).double() for n in (3, 5))
    q, (k, v) = layer.query(x), layer.key_value(context).chunk(2, -1)
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        weights = (q[..., part] @ k[..., part].mT / 3**0.5).softmax(-1)
        heads.append(weights @ v[..., part])
    assert_close(layer(x, context), layer.out(torch.cat(heads, -1)))


@torch.no_grad()
def test_position_code_commutes_with_rolls_only_if_circular():
    tokens = images(2, 4, 6, 8).double()
    for mode, exact in (("circular", True), ("zeros", False)):
        peg = CircularPEG(8, mode).double()
        error = peg(torch.roll(tokens, (1, 2), (1, 2))) - torch.roll(peg(tokens), (1, 2), (1, 2))
        assert (error.abs().max() < 1e-12) == exact


# Models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_logits_do_not_change_under_shifts(name):
    for dtype in (torch.float32, torch.float64):
        model, x = make(name, dtype)
        assert violation(model, x) <= rounding(dtype, model)


@pytest.mark.parametrize("name", MODELS)
def test_logits_of_the_plain_twin_do(name):
    assert violation(*make(name, poly=False)) > 1e-2


@pytest.mark.parametrize("name", ["vit", "twins", "twins, each"])
def test_training_keeps_the_invariance_and_does_not_lend_it(name):
    model, x = make(name)
    size = trained(model, x)(x).abs().max().item()
    assert violation(model, x) <= rounding(torch.float32, model, size)
    assert violation(model.double(), x.double()) <= rounding(torch.float64, model, size)
    plain, x = make(name, poly=False)
    assert violation(trained(plain, x), x) > 1e-2


@pytest.mark.parametrize(("name", "side"), [("vit", 4), ("twins", 12)])
def test_every_residue_leaves_the_logits_alone(name, side):
    model, x = make(name, torch.float64)
    assert violation(model, x, itertools.product(range(side), range(side))) <= 1e-12


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=9, max_size=9))
@torch.no_grad()
def test_each_image_of_a_batch_may_move_on_its_own(shifts):
    torch.manual_seed(0)
    x = images(9, 1, 24, 24).double()
    dy, dx = torch.tensor(shifts).T
    for model in (PolyViT(**SMALL_VIT).double(), PolyTwins(**SMALL_TWINS).double()):
        logits = model(x)
        assert_close(model(roll_batch(x, dy, dx)), logits, atol=1e-12, rtol=0)
        assert_close(model(x[3:4]), logits[3:4], atol=1e-12, rtol=0)


def test_plain_and_poly_twins_have_the_same_weights_but_for_the_position_code():
    vit, plain = (dict(PolyViT(24, poly=p).named_parameters()) for p in (True, False))
    assert {k for k in vit.keys() ^ plain.keys() if "position" not in k} == set()
    shapes = [
        {k: v.shape for k, v in PolyTwins(24, poly=p).named_parameters()} for p in (True, False)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("anchored", "position", "pixel", "patch"),
    [
        (True, "circular", True, True),
        (True, "none", True, True),
        (True, "absolute", False, False),
        (True, "zeros", False, False),
        (False, "circular", False, True),
        (False, "absolute", False, False),
    ],
)
def test_each_half_of_the_method_cures_one_cause(anchored, position, pixel, patch):
    model, x = make("vit", torch.float64, anchored=anchored, position=position)
    assert (violation(model, x, [(1, 0), (0, 3)]) < 1e-12) == pixel
    assert (violation(model, x, [(4, 0), (0, 8)]) < 1e-12) == patch


@torch.no_grad()
def test_a_normalized_map_scored_by_power_two_ties():
    torch.manual_seed(0)
    x = images(300, 1, 24, 24)
    shift = lambda x: torch.roll(x, (1, 1), (2, 3))
    moved = {}
    for power in (2, 4):
        model = PolyTwins(**SMALL_TWINS, power=power).eval()
        moved[power] = ((model(shift(x)) - model(x)).abs().amax(1) > 1e-4).double().mean().item()
    assert moved[4] == 0
    assert moved[2] > 0


@pytest.mark.parametrize(("ratio", "needed"), [(2, False), (3, True)])
def test_merging_needs_its_own_anchor_where_the_last_period_is_odd(ratio, needed):
    model, x = make("twins, each", torch.float64, ratio=ratio)
    assert violation(model, x) <= 1e-12
    model.merge_order = None
    assert (violation(model, x) > 1e-3) == needed


def test_one_anchor_a_stage_covers_odd_periods():
    model, x = make("twins", torch.float64, ratio=3)
    assert model.stage1.orders[0].stride == (6, 6)
    assert violation(model, x) <= 1e-12
    model.stage1.orders[0] = PolyOrder(3, power=4)  # misses the merge
    assert violation(model, x) > 1e-3


# Dense outputs -----------------------------------------------------------------------------


def dense(model, x, cell):
    """Return the features at the resolution of the image, moved back by the anchors."""
    features, dy, dx = model.features(x)
    for axis in (0, 1):
        features = features.repeat_interleave(cell[axis], axis + 2)
    return undo_roll(features, dy, dx)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("vit", (4, 4)),
        ("vit, oblong", (3, 5)),
        ("twins", (4, 4)),
        ("twins, each", (4, 4)),
        ("twins, deep", (4, 4)),
        ("twins, oblong", (4, 8)),
    ],
)
@torch.no_grad()
def test_dense_outputs_move_with_the_image(name, cell):
    model, x = make(name, torch.float64)
    still = dense(model, x, cell)
    raw = model.features(x)[0]
    unrolled = 0.0
    for t in SHIFTS:
        moved = torch.roll(x, t, (2, 3))
        assert_close(dense(model, moved, cell), torch.roll(still, t, (2, 3)), atol=1e-12, rtol=0)
        up = lambda f: f.repeat_interleave(cell[0], 2).repeat_interleave(cell[1], 3)
        error = up(model.features(moved)[0]) - torch.roll(up(raw), t, (2, 3))
        unrolled = max(unrolled, error.abs().max().item())
    assert unrolled > 1e-2  # the twin that forgets to move back


@pytest.mark.parametrize("name", ["vit", "twins"])
@torch.no_grad()
def test_features_are_what_the_logits_are_read_from(name):
    model, x = make(name, torch.float64)
    assert_close(model.head(model.features(x)[0].mean((2, 3))), model(x))


# Precision and compilation -----------------------------------------------------------------


@torch.no_grad()
def test_bfloat16_keeps_the_class():
    model, x = make("vit")
    x = images(32, 1, 24, 24)
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = [model(torch.roll(x, t, (2, 3))).float() for t in [(0, 0), *SHIFTS]]
    for logits in coarse:
        assert (logits - exact).abs().max() < 0.2 * exact.std()
        assert_close(logits, coarse[0], atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", ["vit", "twins", "twins, each"])
@torch.no_grad()
def test_models_compile_to_one_graph(name):
    torch.compiler.reset()
    model, x = make(name, torch.float64)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), model(x), atol=1e-12, rtol=0)


# Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PolyViT(25, 4), r"patch \(4, 4\) for a map of 25 x 25"),
        (lambda: PolyViT(24, 0), "patch"),
        (lambda: PolyViT(24, pool="max"), "pool"),
        (lambda: PolyViT(24, position="sine"), "position"),
        (lambda: PolyViT(24, dim=10, heads=4), "heads"),
        (lambda: PolyViT(24, power=0), "power"),
        (lambda: PolyTwins(20, patch=2), "window"),
        (lambda: PolyTwins(24, patch=8, window=1, ratio=1), "merge"),
        (lambda: PolyTwins(24, window=3, ratio=4), r"ratio \(4, 4\) for a map of 6 x 6"),
        (lambda: PolyTwins(16, window=2, ratio=4, patch=1, dims=(8,)), "dims"),
        (lambda: PolyTwins((12, 24), patch=2, window=3, ratio=1, depths=(0, 1)), "depths"),
        (lambda: CircularPEG(8, "reflect"), "padding_mode"),
        (lambda: PolyPatchEmbed(4, 1, 8)(images(1, 1, 24, 22)), "patch"),
        (lambda: PolyPatchEmbed(4, 1, 8)(images(1, 24, 24)), "x must be"),
        (lambda: WindowAttention(8, 2, 3)(images(1, 4, 6, 8)), "window"),
        (lambda: SubsampledAttention(8, 2, 4)(images(1, 6, 8, 8)), "ratio"),
        (lambda: PolyViT(24, poly=False)(images(1, 1, 48, 24)), "grid"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
