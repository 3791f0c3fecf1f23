"""Generated scenes with a digit in clutter, and the windows that are cut from them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equitutor.data import Images, digits, scenes, window


@pytest.fixture(scope="module")
def made():
    return scenes(digits("train"), 60, seed=2)


def test_scenes(made):
    assert made.x.shape == (60, 1, 128, 128)
    assert made.x.dtype == torch.float32
    assert made.x.min() >= 0
    assert made.x.max() <= 1
    assert made.boxes.shape == (60, 4)
    assert made.y.shape == (60,)
    assert made.y.dtype == torch.int64
    assert len(made.y.unique()) > 5
    assert made.classes == tuple("0123456789")
    assert made.name == "scenes of digits"


def test_the_digit_is_in_the_middle(made):
    centers = (made.boxes[:, :2] + made.boxes[:, 2:]) / 2
    assert (centers == 64).all()
    width, height = (made.boxes[:, 2:] - made.boxes[:, :2]).unbind(1)
    assert 18 <= height.min() < height.max() <= 28
    assert (width <= height).all()


def touched(scene, box):
    """Whether the digit comes to within a pixel of all four sides of the box: it is tight."""
    x1, y1, x2, y2 = box.int().tolist()
    bright = scene[0] > 0.65  # the texture is darker
    return [
        bool(bright[y1 : y1 + 2, x1:x2].any()),
        bool(bright[y2 - 2 : y2, x1:x2].any()),
        bool(bright[y1:y2, x1 : x1 + 2].any()),
        bool(bright[y1:y2, x2 - 2 : x2].any()),
    ]


def test_boxes_are_tight_and_scraps_keep_away(made):
    loose = made.boxes + torch.tensor([-3.0, -3, 3, 3])  # the broken twin
    for scene, box, wide in zip(made.x, made.boxes, loose, strict=True):
        assert all(touched(scene, box))
        assert not any(touched(scene, wide))


def test_there_is_clutter_around(made):
    around = made.x.clone()
    around[..., 48:80, 48:80] = 0
    assert ((around > 0.65).flatten(1).float().mean(1) > 0.01).all()
    # As much of it near the digit as far away: clutter must not tell where the digit is.
    near = made.x[..., 32:48, :].mean(), made.x[..., :16, :].mean()
    assert abs(near[0] - near[1]) < 0.05


def test_seeds_and_counts(made):
    assert torch.equal(scenes(digits("train"), 2, seed=2).x, made.x[:2])
    assert not torch.equal(scenes(digits("train"), 2, seed=3).x, made.x[:2])


def test_other_sizes():
    small = scenes(digits("test"), 2, size=65)
    assert small.x.shape == (2, 1, 65, 65)
    assert all(touched(x, box) for x, box in zip(small.x, small.boxes, strict=True))


@settings(max_examples=100)
@given(dy=st.integers(-32, 32), dx=st.integers(-32, 32))
def test_a_window_moves_its_content(made, dy, dx):
    seen, boxes = window(made.x, made.boxes, dy, dx)
    assert seen.shape == (60, 1, 64, 64)
    assert torch.equal(seen, made.x[..., 32 - dy : 96 - dy, 32 - dx : 96 - dx])
    still = window(made.x, made.boxes, 0, 0)[1]
    assert torch.equal(boxes, still + torch.tensor([dx, dy, dx, dy]))
    # The twin of a shift that rolls the window: it makes up what enters, so it is another image.
    rolled = window(made.x, made.boxes, 0, 0)[0].roll((dy, dx), (2, 3))
    assert torch.equal(seen, rolled) == (dy == dx == 0)


@settings(max_examples=100)
@given(seed=st.integers(0, 999))
def test_a_shift_of_its_own_for_each_scene(made, seed):
    shifts = torch.randint(-32, 33, (2, 60), generator=torch.Generator().manual_seed(seed))
    seen, boxes = window(made.x, made.boxes, *shifts)
    for i in (0, 59):
        dy, dx = shifts[:, i].tolist()
        one, box = window(made.x[i : i + 1], made.boxes[i : i + 1], dy, dx)
        assert torch.equal(seen[i], one[0])
        assert torch.equal(boxes[i], box[0])


def test_color_and_dtype_pass_through():
    x = torch.arange(2 * 3 * 6 * 8).view(2, 3, 6, 8)
    seen, boxes = window(x, torch.zeros(2, 4, dtype=torch.float64), 0, 1, size=4)
    assert torch.equal(seen, x[..., 1:5, 1:5])
    assert boxes.dtype == torch.float64


X, BOXES = torch.zeros(2, 1, 8, 8), torch.zeros(2, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X[0], BOXES, 0, 0, 4), r"shapes \(1, 8, 8\) and \(2, 4\)"),
        ((X, BOXES[:1], 0, 0, 4), r"shapes \(2, 1, 8, 8\) and \(1, 4\)"),
        ((X, BOXES, 3, 0, 4), "dy is 3: a window of 4 pixels would leave the scene of 8"),
        ((X, BOXES, 0, -3, 4), "dx is -3: a window"),
        ((X, BOXES, 0, torch.tensor([0, 3]), 4), r"dx is \[0, 3\]: a window"),
        ((X, BOXES, 0.5, 0, 4), "dy is tensor.* but has to be an int or int64"),
        ((X, BOXES, torch.tensor([0, 0, 0]), 0, 4), "dy is tensor"),
        ((X, BOXES, 0, 0, 9), "would leave the scene of 8"),
        ((X, BOXES, 0, 0, 0), "size is 0, but has to be an int of at least 1"),
    ],
)
def test_windows_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        window(*arguments)


def images(x):
    return Images(x, torch.zeros(len(x), dtype=torch.int64), "toy", ("a",))


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (images(torch.ones(1, 3, 8, 8)), {}, r"images has the shape \(1, 3, 8, 8\)"),
        (images(torch.ones(0, 1, 8, 8)), {}, r"images has the shape \(0, 1, 8, 8\)"),
        (images(torch.zeros(1, 1, 8, 8)), {}, "an image without a pixel above 0.6"),
        (images(torch.ones(1, 1, 8, 8)), {"n": 0}, "n is 0"),
        (images(torch.ones(1, 1, 8, 8)), {"size": 63}, "size is 63, but has to be an int of at"),
        (images(torch.ones(1, 1, 8, 8)), {"seed": -1}, "seed is -1"),
    ],
)
def test_scenes_refuse(source, settings, message):
    with pytest.raises(ValueError, match=message):
        scenes(source, **({"n": 1} | settings))
