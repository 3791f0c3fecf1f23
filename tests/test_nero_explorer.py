"""The NERO explorer's data: what travels in the page equals what was measured."""

import base64
import io
import json

import numpy as np
import pytest
import torch

from equitutor import actions
from equitutor.actions import rotate_images
from equitutor.groups import cyclic
from equitutor.nero import explorer, payload, pictures
from equitutor.orbits import (
    Orbit,
    OrbitResult,
    d4_time,
    evaluate,
    finite,
    shifts,
    so2,
    so3_disk,
    so3_haar,
)


def ints(text, dtype="<i2"):
    return np.frombuffer(base64.b64decode(text), dtype)


def data_of(made):
    return json.loads(made.payload)


def scores_of(one, model, shape):
    numbers = ints(one["models"][model]["scores"]).reshape(shape).astype(float)
    return np.where(numbers == payload.MISSING, np.nan, numbers * 10.0 ** -one["decimals"])


def made_up(scores, orbit=None, metric="score", higher=True, outputs=None):
    scores = torch.as_tensor(scores, dtype=torch.float32)
    return OrbitResult(scores, orbit or so2(len(scores)), higher, outputs, {"metric": metric})


def digits_like(n=6, side=8, classes=3, orbit=None, metric="confidence", seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, side, side, generator=generator)
    y = torch.arange(n) % classes
    model = lambda x: 4 * x.flatten(1)[:, :classes]
    orbit = orbit or so2(12)
    return x, y, evaluate(model, x, y, orbit, metric, keep_outputs=True, progress=False)


@pytest.mark.parametrize("largest", [1.0, 0.004, 75.0, 3e4, 5e7, 0.0])
def test_scores_travel_to_the_stated_precision(largest):
    scores = torch.rand(7, 5, dtype=torch.float64) * largest
    scores[3, 2] = torch.nan
    decimals = payload.decimals_of(float(scores.nan_to_num(0).max()))
    one = {"decimals": decimals, "models": [{"scores": payload.quantize(scores, decimals)}]}
    back = scores_of(one, 0, (7, 5))
    half = 0.5 * 10.0**-decimals * (1 + 1e-6)
    np.testing.assert_allclose(back, scores, rtol=1e-12, atol=half)
    if 0.1 <= largest <= 32:
        assert decimals == 3
    if largest:
        assert half < 2e-3 * largest


def test_payload_holds_the_numpy_results():
    x, y, result = digits_like()
    data = data_of(explorer({"net": result}, x, labels=y))
    truth, agreed = data["series"]
    assert (truth["reference"], agreed["reference"]) == ("truth", "consensus")
    np.testing.assert_allclose(scores_of(truth, 0, (12, 6)), result.scores, atol=5.001e-4)
    vote = result.outputs.argmax(-1).mode(0).values
    expected = result.outputs.softmax(-1)[:, torch.arange(6), vote]
    sure = [n for n in range(6) if (result.outputs.argmax(-1)[:, n] == vote[n]).sum() > 6]
    assert sure
    found = scores_of(agreed, 0, (12, 6))
    np.testing.assert_allclose(found[:, sure], expected[:, sure], atol=5.001e-4)
    bars = ints(data["bars"][0], "u1").reshape(12, 6, 3) / 255
    np.testing.assert_allclose(bars, result.outputs.softmax(-1), atol=2.01e-3)
    assert data["labels"] == y.tolist() and data["classes"] == ["0", "1", "2"]
    points = np.frombuffer(
        base64.b64decode(truth["models"][0]["maps"]["pca"]["points"]["float32"]), "<f4"
    )
    from equitutor.nero import embed

    np.testing.assert_allclose(points.reshape(6, 2), embed(result).points, atol=1e-6)


def test_consensus_of_vectors_uses_the_mean():
    outputs = torch.tensor([[[0.0], [1.0], [1.0]], [[2.0], [1.0], [1.0]]])
    result = made_up(np.ones((2, 3)), so2(2), "squared_error", False, outputs)
    assert payload.consensus_scores(result).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert payload.consensus_scores(made_up(np.ones((2, 3)), outputs=outputs)) is None


def test_missing_scores_are_kept_as_missing():
    scores = torch.rand(8, 4)
    scores[2, 1] = scores[:, 3] = torch.nan
    made = explorer(made_up(scores), torch.rand(4, 1, 6, 6))
    back = scores_of(data_of(made)["series"][0], 0, (8, 4))
    assert (np.isnan(back) == scores.isnan().numpy()).all()
    assert "NaN" not in made.payload and "Infinity" not in made.payload


def test_a_planted_failure_stands_out_in_the_map():
    scores = np.ones((9, 9))
    scores[4, 7] = 0
    data = data_of(explorer(made_up(scores, metric="correct"), torch.rand(9, 1, 6, 6)))
    raw = data["series"][0]["models"][0]["maps"]["pca"]["points"]["float32"]
    points = np.frombuffer(base64.b64decode(raw), "<f4").reshape(9, 2)
    assert np.abs(points).sum(1).argmax() == 7
    assert np.ptp(np.delete(points, 7, 0), axis=0).max() < 1e-6


def test_two_models_and_several_metrics():
    x, _, first = digits_like()
    second = digits_like(seed=1)[2]
    right = digits_like(metric="correct")[2]
    results = {"a": first, "b": second}
    results = {name: {"confidence": r, "correct": right} for name, r in results.items()}
    made = explorer(results, x, embedding=("pca", "isomap"))
    data = data_of(made)
    assert [s["metric"] for s in data["series"]] == ["confidence"] * 2 + ["correct"] * 2
    assert all(set(m["maps"]) == {"pca", "isomap"} for s in data["series"] for m in s["models"])
    np.testing.assert_allclose(
        scores_of(data["series"][0], 1, (12, 6)), second.scores, atol=5.001e-4
    )


def test_text_cannot_leave_its_place():
    x, y, result = digits_like()
    nasty = "</script><img src=x onerror=alert(1)>"
    made = explorer({nasty: result}, x, labels=y, classes=[nasty, "b", "c"], names=[nasty] * 12)
    body = made.to_html().split('class="et-data">')[1].split("</script>")[0]
    assert json.loads(body)["models"] == [nasty]
    assert "<img src=x" not in made.to_html()


def test_page_of_the_largest_size_fits():
    x = torch.zeros(200, 1, 28, 28)
    x[:, :, 4:24, 4:24] = torch.rand(200, 1, 20, 20)
    orbit = so2(72)
    outputs = torch.randn(72, 200, 10)
    y = torch.arange(200) % 10
    scores = outputs.softmax(-1)[:, torch.arange(200), y]
    results = {n: made_up(scores, orbit, "confidence", outputs=outputs) for n in "ab"}
    made = explorer(results, x, labels=y)
    size = len(made.to_html().encode())
    print(f"200 samples x 72 elements x 2 models: {size} bytes")
    assert size <= 1_000_000


def test_too_much_is_refused_in_words():
    scores = torch.rand(4, 201)
    with pytest.raises(ValueError, match="201 samples; need 3 to 200"):
        explorer(made_up(scores), torch.rand(201, 1, 6, 6))
    with pytest.raises(ValueError, match="2 samples"):
        explorer(made_up(scores[:, :2]), torch.rand(2, 1, 6, 6))
    wide = made_up(torch.rand(900, 200), shifts(30, 30), outputs=None)
    with pytest.raises(ValueError, match="bytes; need at most") as caught:
        explorer({"a": wide, "b": wide}, torch.rand(200, 1, 30, 30))
    assert "200 samples, 900 elements and 2 models" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="picture for each of 3600"):
        explorer(made_up(torch.rand(18, 200)), list(range(200)), lambda n, g: np.zeros((4, 4)))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(inputs=torch.rand(5, 1, 8, 8)), "inputs must be the 6 samples"),
        (dict(inputs=torch.rand(6, 4)), "inputs must be a tensor of images"),
        (dict(inputs=torch.full((6, 1, 8, 8), torch.nan)), "inputs must be finite"),
        (dict(renderer="bars"), "renderer must be callable or one of"),
        (dict(renderer="points"), "inputs must be finite point clouds"),
        (dict(renderer="boxes"), "renderer 'boxes' needs kept outputs"),
        (dict(labels=torch.rand(6)), "labels must be 6 integers"),
        (dict(labels=torch.arange(6), classes=["a", "b"]), "labels must lie in 0 ... 1"),
        (dict(names=["e"]), "names must be 12"),
        (dict(embedding="som"), "embedding must be some of"),
        (dict(renderer=lambda n, g: np.zeros(3)), "renderer must return"),
    ],
)
def test_bad_arguments_are_named(change, message):
    x, _, result = digits_like()
    arguments = {"results": result, "inputs": x} | change
    with pytest.raises(ValueError, match=message):
        explorer(**arguments)


def test_results_must_belong_together():
    x, _, one = digits_like()
    other = digits_like(orbit=so2(6))[2]
    for bad, message in [
        ({"a": one, "b": other}, "share orbit and samples"),
        ({"a": one, "b": one, "c": one}, "at most two models"),
        ({"a": one, "b": {"confidence": one}}, "got both"),
        ({"a": {"u": one}, "b": {"v": one}}, "same metrics"),
        ({"a": made_up(one.scores), "b": made_up(one.scores, higher=False)}, "higher_is_better"),
        (made_up(torch.full((4, 6), torch.inf)), "finite scores"),
        (made_up(torch.full((4, 6), torch.nan)), "not missing"),
    ]:
        with pytest.raises(ValueError, match=message):
            explorer(bad, x)


def picture_of(made):
    from PIL import Image

    sprite = data_of(made)["picture"]["sprite"]
    raw = base64.b64decode(sprite["uri"].split(",")[1])
    sheet = np.asarray(Image.open(io.BytesIO(raw))) / 255
    height, width = sprite["tile"]
    tile = lambda k: sheet[
        k // sprite["columns"] * height : (k // sprite["columns"] + 1) * height,
        k % sprite["columns"] * width : (k % sprite["columns"] + 1) * width,
    ]
    return tile


def test_sprite_holds_the_inputs():
    x, _, result = digits_like()
    tile = picture_of(explorer(result, x))
    for n in range(6):
        np.testing.assert_allclose(tile(n), x[n, 0], atol=1 / 255)
    color = torch.rand(6, 3, 8, 8)
    tile = picture_of(explorer(result, color))
    np.testing.assert_allclose(tile(5), color[5].permute(1, 2, 0), atol=1 / 255)


def test_pictures_of_a_function_stand_in_order():
    result = made_up(torch.rand(4, 3))
    made = explorer(result, [0, 1, 2], lambda n, g: np.full((5, 5), (10 * g + n) / 40))
    tile = picture_of(made)
    for g in range(4):
        for n in range(3):
            assert tile(3 * g + n).mean() == pytest.approx((10 * g + n) / 40, abs=1 / 255)


def test_actions_that_a_page_can_draw_are_found():
    shape = (3, 1, 12, 12)
    turns = pictures.find_motion(so2(8), shape)
    assert turns["matrices"][2] == pytest.approx([0, -1, 1, 0], abs=1e-6)
    assert pictures.find_motion(shifts(12, 12, 4), shape)["wrap"] is True
    quarter = finite(cyclic(4), lambda x, i: torch.rot90(x, i, (-2, -1)))
    assert pictures.find_motion(quarter, shape)["matrices"][1] == [0, -1, 1, 0]
    pairs = pictures.find_motion(d4_time(), (3, 2, 12, 12))
    assert pairs["swap"] == [0, 1] * 8
    steps = torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3))
    crop = lambda x, i: x[..., 4 + steps[i][0] : 8 + steps[i][0], 4 + steps[i][1] : 8 + steps[i][1]]
    window = pictures.find_motion(Orbit("window", steps, crop, kind="grid2d"), shape)
    assert window["view"] == [4, 4] and window["offsets"][1] == [-3, -2]


@pytest.mark.parametrize(
    "orbit",
    [
        Orbit("clockwise", so2(8).params, lambda x, i: rotate_images(x, -45.0 * i), kind="circle"),
        Orbit("hue", so2(8).params, lambda x, i: (x + i / 8) % 1, kind="circle"),
        Orbit("up", shifts(12, 12, 4).params, lambda x, i: x.roll(-4 * i, -2), kind="grid2d"),
        finite(cyclic(4), lambda x, i: torch.rot90(x, -i, (-2, -1))),
    ],
    ids=lambda orbit: orbit.name,
)
def test_actions_that_only_look_like_it_are_drawn_here(orbit):
    assert pictures.find_motion(orbit, (3, 1, 12, 12)) is None
    x = torch.rand(3, 1, 12, 12)
    tile = picture_of(explorer(made_up(torch.rand(len(orbit), 3), orbit), x))
    np.testing.assert_allclose(tile(3 * 1 + 2), orbit.act_x(x, 1)[2, 0], atol=1 / 255)


def test_clouds_travel_with_the_turns_of_the_orbit():
    clouds = torch.randn(4, 30, 3)
    for orbit in (so3_disk(("xy", "xz"), 4, 3), so3_haar(5)):
        data = data_of(explorer(made_up(torch.rand(len(orbit), 4), orbit), clouds))["picture"]
        turns = ints(data["turns"]["float32"], "<f4").reshape(-1, 3, 3)
        np.testing.assert_allclose(turns, orbit.extra["matrices"], atol=1e-6)
        points = (
            ints(data["points"], "i1").reshape(4, 30, 3) / 127 * clouds.norm(dim=-1).max().item()
        )
        np.testing.assert_allclose(points, clouds, atol=0.02)


def test_flow_and_boxes_carry_the_outputs():
    x = torch.rand(3, 2, 16, 16)
    outputs = torch.randn(16, 3, 2, 16, 16)
    data = data_of(explorer(made_up(torch.rand(16, 3), d4_time(), outputs=outputs), x))["picture"]
    assert data["draw"] == "flow" and data["frames"] == 2
    arrows = ints(data["arrows"][0], "i1").reshape(16, 3, 2, 8, 8)
    means = outputs.unflatten(-2, (8, 2)).unflatten(-1, (8, 2)).mean((-3, -1))
    np.testing.assert_allclose(arrows / 127 * means.abs().max().item(), means, atol=0.01)
    boxes = torch.rand(9, 3, 5) * 20
    made = explorer(made_up(torch.rand(9, 3), outputs=boxes), torch.rand(3, 1, 20, 20), "boxes")
    found = ints(data_of(made)["picture"]["boxes"][0]).reshape(9, 3, 4) / 10
    np.testing.assert_allclose(found, boxes[..., :4], atol=0.0501)
    assert data_of(made)["bars"] is None  # corners are no classes


@pytest.mark.parametrize(
    "orbit, labels",
    [
        (so2(4), ["0°", "90°", "180°", "270°"]),
        (shifts(2, 2), ["no shift", "1 px left", "1 px up", "1 px left, 1 px up"]),
        (finite(cyclic(2), lambda x, i: x), ["identity", "180°"]),
    ],
    ids=["circle", "grid", "finite"],
)
def test_elements_have_names(orbit, labels):
    assert payload.layout(orbit, None)["labels"] == labels
    own = [f"element {g}" for g in range(len(orbit))]
    assert payload.layout(orbit, own)["labels"] == own


def test_layouts_of_windows_tiles_and_disks():
    steps = torch.cartesian_prod(torch.arange(-4, 5, 4), torch.arange(-2, 3, 2))
    made = payload.layout(Orbit("w", steps, lambda x, i: x, kind="grid2d"), None)
    assert made["cells"][4] == [1, 1] and made["labels"][0] == "2 px left, 4 px up"
    assert payload.layout(d4_time(), None)["cells"][:2] == [[0, 1], [0, 0]]
    disk = payload.layout(so3_disk(("yz",), 4, 3), None)
    assert disk["shape"] == [1, 4, 3] and disk["planes"] == ["yz"]
    bad = Orbit("d", torch.rand(5, 3), actions.rotate_points, kind="disk")
    with pytest.raises(ValueError, match="so3_disk"):
        payload.layout(bad, None)


def test_nothing_global_changes():
    x, _, result = digits_like()
    state = torch.get_rng_state()
    explorer(result, x)
    assert torch.equal(state, torch.get_rng_state())
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_models_that_share_a_name_as_text_are_refused():
    x, _, one = digits_like()
    with pytest.raises(ValueError, match="different names"):
        explorer({1: one, "1": one}, x)


@pytest.mark.parametrize(
    "picture", [np.full((4, 4), np.nan), np.ones((4, 4), int), np.zeros((0, 4)), None]
)
def test_pictures_that_are_none_are_refused(picture):
    x, _, results = digits_like()
    with pytest.raises(ValueError, match="renderer must return"):
        explorer(results, x, lambda n, g: picture)
