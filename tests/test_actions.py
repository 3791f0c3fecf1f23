"""Actions: each is checked against its definition and as a group action, beside a broken twin."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from equitutor import actions, groups

DTYPES = [torch.float32, torch.float64, torch.int64]
SHIFTS = st.one_of(st.integers(-9, 9), st.integers(-(2**63), 2**63 - 1))
D4 = groups.dihedral(4)


def images(*shape, dtype=torch.float64):
    """Return images in which all pixels differ."""
    return torch.randperm(math.prod(shape), generator=seeded(0)).view(shape).to(dtype)


def seeded(n):
    return torch.Generator().manual_seed(n)


# Rolls -------------------------------------------------------------------------------------


def check_roll(roll, x, dy, dx):
    """Assert pixel by pixel that (T_t x)(n) = x(n - t)."""
    out = roll(x, torch.tensor(dy), torch.tensor(dx))
    assert out.dtype == x.dtype
    assert out.shape == x.shape
    height, width = x.shape[-2:]
    for b in range(len(x)):
        rows = [(r - dy[b]) % height for r in range(height)]
        columns = [(c - dx[b]) % width for c in range(width)]
        assert torch.equal(out[b], x[b][:, rows][:, :, columns])


@st.composite
def rolls(draw):
    # both sides of the number of samples from which the gather takes over
    batch = draw(st.sampled_from([1, 3, 8, 11]))
    shape = (batch, draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    x = images(*shape, dtype=draw(st.sampled_from([*DTYPES, torch.float16, torch.uint8])))
    several = st.lists(SHIFTS, min_size=batch, max_size=batch)
    return x, draw(several), draw(several)


@settings(max_examples=40)
@given(rolls())
def test_roll_is_what_it_says(case):
    check_roll(actions.roll_images, *case)


def test_the_roll_check_rejects_the_opposite_roll():
    x = images(8, 1, 3, 5)
    check_roll(actions.roll_images, x, [1] * 8, [0] * 8)
    with pytest.raises(AssertionError):
        check_roll(lambda x, dy, dx: actions.roll_images(x, -dy, -dx), x, [1] * 8, [0] * 8)
    with pytest.raises(AssertionError):
        check_roll(lambda x, dy, dx: actions.roll_images(x, dx, dy), x, [1] * 8, [0] * 8)


@settings(max_examples=40)
@given(rolls(), st.integers(-9, 9), st.integers(-9, 9))
def test_roll_is_an_action(case, p, q):
    x, dy, dx = case
    dy, dx = torch.tensor(dy) // 4, torch.tensor(dx) // 4  # so that sums and negatives fit
    twice = actions.roll_images(actions.roll_images(x, dy, dx), p, q)
    assert torch.equal(twice, actions.roll_images(x, dy + p, dx + q))
    assert torch.equal(actions.roll_images(actions.roll_images(x, dy, dx), -dy, -dx), x)
    assert torch.equal(actions.roll_images(x, 0, 0), x)


@settings(max_examples=40)
@given(rolls(), SHIFTS, SHIFTS)
def test_all_ways_to_give_a_shift_agree(case, p, q):
    x, _, _ = case
    b = len(x)
    expected = torch.roll(x, (p % x.shape[-2], q % x.shape[-1]), (-2, -1))
    for dy in (p, torch.tensor(p), torch.full((b,), p)):
        for dx in (q, torch.tensor(q), torch.full((b,), q)):
            assert torch.equal(actions.roll_images(x, dy, dx), expected)


# torch's own forward-mode machinery uses its deprecated torch.jit.script
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (9, 2, 5, 4), (9, 1, 80, 60)])
def test_roll_of_large_maps_and_gradients(shape):
    x = images(*shape).requires_grad_()
    dy = torch.randint(-200, 200, shape[:1], generator=seeded(1))
    dx = torch.randint(-200, 200, shape[:1], generator=seeded(2))
    check_roll(actions.roll_images, x.detach(), dy.tolist(), dx.tolist())
    out = actions.roll_images(x, dy, dx)
    grad = torch.randn(shape, dtype=x.dtype, generator=seeded(3))
    for _ in range(2):  # a second backward gives the same
        (got,) = torch.autograd.grad(out, x, grad, retain_graph=True)
        assert torch.equal(got, actions.roll_images(grad, -dy, -dx))
    _, tangent = torch.func.jvp(lambda z: actions.roll_images(z, dy, dx), (grad,), (grad,))
    assert torch.equal(tangent, actions.roll_images(grad, dy, dx))


@pytest.mark.parametrize("batch", [2, 9])
def test_roll_passes_gradcheck(batch):
    x = torch.randn(batch, 1, 3, 2, dtype=torch.float64, generator=seeded(0), requires_grad=True)
    t = torch.arange(batch)
    assert torch.autograd.gradcheck(lambda x: actions.roll_images(x, t, -t), x)
    assert torch.autograd.gradgradcheck(lambda x: actions.roll_images(x, t, -t), x)


@pytest.mark.parametrize("shape", [(2, 2, 5, 4), (9, 2, 5, 4), (8, 1, 80, 60)])
def test_roll_compiles_in_one_graph(shape):
    x, t = images(*shape), torch.arange(shape[0])
    compiled = torch.compile(actions.roll_images, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, t, -t), actions.roll_images(x, t, -t))
    assert torch.equal(compiled(x, t, 3), actions.roll_images(x, t, 3))


def test_roll_takes_any_layout_and_empty_batches():
    x = images(9, 3, 6, 5)
    t = torch.arange(9)
    expected = actions.roll_images(x, t, t)
    channels_last = x.to(memory_format=torch.channels_last)
    assert torch.equal(actions.roll_images(channels_last, t, t), expected)
    strided = x.transpose(-2, -1).contiguous().transpose(-2, -1)
    assert torch.equal(actions.roll_images(strided, t.int(), t.to(torch.uint8)), expected)
    none = torch.empty(0, dtype=torch.int64)
    assert actions.roll_images(x[:0], none, none).shape == (0, 3, 6, 5)
    assert actions.roll_images(x[..., :0], t, 1).shape == (9, 3, 6, 0)


@pytest.mark.parametrize(
    ("shape", "dy", "error", "message"),
    [
        ((3, 4, 4), 0, ValueError, "need images"),
        ((2, 1, 4, 4), torch.tensor([1, 2, 3]), ValueError, r"dy has shape \(3,\)"),
        ((2, 1, 4, 4), torch.tensor([[1], [2]]), ValueError, "dy has shape"),
        ((2, 1, 4, 4), torch.tensor([1.0, 2.0]), TypeError, "dy has dtype torch.float32"),
        ((2, 1, 4, 4), torch.tensor([True, False]), TypeError, "dy has dtype torch.bool"),
        ((2, 1, 4, 4), 1.0, TypeError, "dy is 1.0"),
        ((2, 1, 4, 4), None, TypeError, "dy is None"),
    ],
)
def test_roll_refuses(shape, dy, error, message):
    with pytest.raises(error, match=message):
        actions.roll_images(torch.zeros(shape), dy, 0)


# Rotations of images -----------------------------------------------------------------------


def blob(height, width, x, y):
    """Return an image with one smooth spot at (x right, y up) from the center, in pixels."""
    up = (height - 1) / 2 - torch.arange(height, dtype=torch.float64)[:, None]
    right = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return torch.exp(-((right - x) ** 2 + (up - y) ** 2) / (2 * 2.5**2))[None, None]


def check_rotation(rotate, height, width, radius, start, angle, atol=0.02):
    """Assert that a spot moves counter-clockwise on the screen by the angle."""
    a, b = math.radians(start), math.radians(start + angle)
    before = blob(height, width, radius * math.cos(a), radius * math.sin(a))
    after = blob(height, width, radius * math.cos(b), radius * math.sin(b))
    assert_close(rotate(before, angle), after, atol=atol, rtol=0)


angles = st.floats(-720, 720, allow_nan=False)


@settings(max_examples=40)
@given(st.integers(31, 36), st.integers(31, 44), angles, angles)
def test_rotation_moves_a_spot_where_it_should(height, width, start, angle):
    def rotate(x, angle):
        return actions.rotate_images(x, angle, resampler="bicubic")

    check_rotation(rotate, height, width, 6, start, angle)


def test_the_rotation_check_rejects_broken_twins():
    twins = {
        "clockwise": lambda x, a: actions.rotate_images(x, -a),
        "radians": lambda x, a: actions.rotate_images(x, math.radians(a)),
        "about a corner pixel": lambda x, a: actions.rotate_images(x.roll(1, -1), a).roll(-1, -1),
        # a rotation of normalized coordinates shears images that are not square
        "normalized": lambda x, a: torch.nn.functional.interpolate(
            actions.rotate_images(torch.nn.functional.interpolate(x, (40, 40)), a), x.shape[-2:]
        ),
    }
    check_rotation(actions.rotate_images, 32, 44, 6, 20, 50, atol=0.1)
    for name, twin in twins.items():
        with pytest.raises(AssertionError):
            check_rotation(twin, 32, 44, 6, 20, 50, atol=0.1)
            pytest.fail(f"the twin {name!r} passed")


def check_rotations_compose(rotate, a, b):
    x = blob(33, 34, 4, 3)
    twice = rotate(rotate(x, a, "bicubic"), b, "bicubic")
    assert_close(twice, rotate(x, a + b, "bicubic"), atol=0.06, rtol=0)


@settings(max_examples=40)
@given(angles, angles)
def test_rotations_compose_up_to_interpolation(a, b):
    check_rotations_compose(actions.rotate_images, a, b)


def test_the_composition_check_rejects_an_angle_without_sign():
    with pytest.raises(AssertionError):
        check_rotations_compose(lambda x, a, r: actions.rotate_images(x, abs(a), r), 50, -30)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("k", range(-4, 9))
@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_right_angles(size, k, dtype):
    x = images(2, 3, size, size, dtype=dtype)
    expected = torch.rot90(x, k, (-2, -1))
    assert torch.equal(actions.rotate_images(x, 90.0 * k, exact_right_angles=True), expected)
    assert torch.equal(actions.transform_scalar(x, k % 4), expected)
    if dtype == torch.float64:
        for resampler in ("bilinear", "bicubic", "nearest"):
            assert_close(
                actions.rotate_images(x, 90 * k, resampler, "edge"), expected, atol=1e-9, rtol=0
            )


def test_exact_half_turn_of_a_rectangle():
    x = images(1, 1, 4, 6)
    half = actions.rotate_images(x, 180, exact_right_angles=True)
    assert torch.equal(half, x.flip(-2, -1))
    quarter = actions.rotate_images(x, 90, exact_right_angles=True)
    assert quarter.shape == x.shape
    assert torch.equal(quarter, actions.rotate_images(x, 90))


@pytest.mark.parametrize("exact", [False, True])
def test_one_angle_for_each_sample(exact):
    x = images(4, 2, 9, 9)
    several = torch.tensor([0.0, 90.0, 33.0, -450.0], dtype=torch.float64)
    out = actions.rotate_images(x, several, exact_right_angles=exact)
    for i, angle in enumerate(several.tolist()):
        alone = actions.rotate_images(x[i : i + 1], angle, exact_right_angles=exact)
        assert_close(out[i : i + 1], alone, atol=1e-9, rtol=0)
        scalar = actions.rotate_images(x[i : i + 1], several[i], exact_right_angles=exact)
        assert_close(scalar, alone, atol=1e-9, rtol=0)
    if exact:
        assert torch.equal(out[3], torch.rot90(x[3], -5, (-2, -1)))


def test_rotation_has_gradients_in_image_and_angle():
    x = blob(9, 8, 1, 1).requires_grad_()
    angle = torch.tensor([20.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, a: actions.rotate_images(x, a), (x, angle))


def test_interpolation_alone_makes_an_identity_spike():
    """Trap: exact right angles stay sharp and all other angles are blurred."""
    x = torch.ones(32, 32).index_fill(0, torch.arange(0, 32, 2), -1)[None, None]
    middle = (..., slice(10, 22), slice(10, 22))
    contrast = {a: float(actions.rotate_images(x, a)[middle].std()) for a in (0, 3, 45)}
    assert contrast[0] > 0.99
    assert contrast[3] < 0.9
    assert contrast[45] < 0.9


def test_fill():
    x = torch.ones(1, 1, 8, 8)
    assert_close(actions.rotate_images(x, 45, fill="edge"), x)
    assert actions.rotate_images(x, 45)[0, 0, 0, 0] == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.zeros(1, 4, 4)}, ValueError, "need images"),
        ({"x": torch.zeros(1, 1, 4, 4, dtype=torch.int64)}, TypeError, "floating point"),
        ({"angle": math.nan}, ValueError, "angle is nan"),
        ({"angle": math.inf, "exact_right_angles": True}, ValueError, "angle is inf"),
        ({"angle": torch.zeros(3)}, ValueError, r"angle has shape \(3,\)"),
        ({"resampler": "lanczos"}, ValueError, "resampler is 'lanczos'"),
        ({"fill": "circular"}, ValueError, "fill is 'circular'"),
    ],
)
def test_rotation_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        actions.rotate_images(**{"x": torch.zeros(1, 1, 4, 4), "angle": 10.0, **arguments})


# Symmetries of the square ------------------------------------------------------------------


def affine_flow(size, M, t):
    """Return the flow w(p) = M p + t (x right, y up), sampled on pixels with v down."""
    steps = 2 * torch.arange(size, dtype=torch.float64) - (size - 1)  # odd or even integers
    p = torch.stack(torch.meshgrid(steps, -steps, indexing="xy"))  # (2, H, W): x right, y up
    w = torch.einsum("ij,jhw->ihw", M, p) + t[:, None, None]
    return torch.stack([w[0], -w[1]])[None]


def check_flow(transform, size, M, t):
    """Assert that the flow of M, t becomes that of A M A^-1, A t, bit for bit."""
    for i, A in enumerate(D4.elements):
        expected = affine_flow(size, A @ M @ A.T, A @ t)
        assert torch.equal(transform(affine_flow(size, M, t), i), expected)
        assert torch.equal(transform(affine_flow(size, M, t), A), expected)


integers = st.integers(-5, 5).map(float)


@settings(max_examples=40)
@given(st.integers(1, 6), st.lists(integers, min_size=6, max_size=6))
def test_flow_pixels_move_and_vectors_turn(size, numbers):
    numbers = torch.tensor(numbers, dtype=torch.float64)
    check_flow(actions.transform_flow, size, numbers[:4].view(2, 2), numbers[4:])


def test_the_flow_check_rejects_broken_twins():
    zero, one = torch.zeros(2, 2).double(), torch.tensor([1.0, 2.0], dtype=torch.float64)
    down = torch.tensor([1.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1)

    def pixels_only(u, g):
        return actions.transform_scalar(u, g)

    def vectors_as_if_v_were_up(u, g):
        return down * actions.transform_flow(down * u, g)

    def vectors_only(u, g):
        back = g.T if torch.is_tensor(g) else D4.inv[g]
        return actions.transform_scalar(actions.transform_flow(u, g), back)

    check_flow(actions.transform_flow, 4, zero, one)  # a uniform flow finds both wrong vectors
    for twin in (pixels_only, vectors_as_if_v_were_up):
        with pytest.raises(AssertionError):
            check_flow(twin, 4, zero, one)
    shear = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    with pytest.raises(AssertionError):
        check_flow(vectors_only, 4, shear, one)


@pytest.mark.parametrize("transform", [actions.transform_scalar, actions.transform_flow])
@pytest.mark.parametrize("dtype", DTYPES)
def test_d4_acts(transform, dtype):
    x = images(2, 2, 4, 4, dtype=dtype)
    assert torch.equal(transform(x, 0), x)
    for g in range(8):
        assert transform(x, g).dtype == dtype
        assert torch.equal(transform(transform(x, g), int(D4.inv[g])), x)
        for h in range(8):
            assert torch.equal(transform(transform(x, h), g), transform(x, D4.mul[g, h]))
    wrong_order = [
        torch.equal(transform(transform(x, g), 4), transform(x, D4.mul[g, 4])) for g in range(4)
    ]
    assert not all(wrong_order)  # the group is not abelian, so the order is really checked


def test_d4_on_rectangles():
    x = images(1, 2, 3, 5)
    for g, dims in ((0, []), (2, [-2, -1]), (4, [-2]), (6, [-1])):
        assert torch.equal(actions.transform_scalar(x, g), x.flip(dims))
        assert actions.transform_flow(x, g).shape == x.shape
    for g in (1, 3, 5, 7):
        for transform in (actions.transform_scalar, actions.transform_flow):
            with pytest.raises(ValueError, match="square"):
                transform(x, g)


@pytest.mark.parametrize(
    ("g", "error", "message"),
    [
        (8, ValueError, "g is 8"),
        (-1, ValueError, "g is -1"),
        (1.0, TypeError, "g is 1.0"),
        (torch.eye(3), ValueError, "eight"),
        (2 * torch.eye(2), ValueError, "eight"),
    ],
)
def test_d4_refuses(g, error, message):
    for transform in (actions.transform_scalar, actions.transform_flow):
        with pytest.raises(error, match=message):
            transform(torch.zeros(1, 2, 4, 4), g)


def test_flow_needs_two_channels():
    with pytest.raises(ValueError, match="need a flow"):
        actions.transform_flow(torch.zeros(1, 3, 4, 4), 0)


# Boxes, points -----------------------------------------------------------------------------


def draw_box(box, size=16):
    x1, y1, x2, y2 = (int(v) for v in box)
    mask = torch.zeros(1, 1, size, size)
    mask[..., y1:y2, x1:x2] = 1
    return mask


def check_boxes(shift):
    """Assert that a shifted box still frames the object in the shifted image."""
    box = torch.tensor([[5.0, 6.0, 8.0, 10.0]])
    for dy, dx in ((1, 0), (0, 1), (-3, 4)):
        shifted = draw_box(shift(box, dy, dx)[0])
        assert torch.equal(shifted, actions.roll_images(draw_box(box[0]), dy, dx))


def test_boxes_follow_images():
    check_boxes(actions.shift_boxes)
    for twin in (
        lambda b, dy, dx: actions.shift_boxes(b, dx, dy),
        lambda b, dy, dx: b + torch.tensor([dx, dy, 0.0, 0.0]),  # as if (x, y, width, height)
    ):
        with pytest.raises(AssertionError):
            check_boxes(twin)


@settings(max_examples=40)
@given(st.sampled_from(DTYPES), st.integers(1, 3), st.integers(0, 3), st.data())
def test_shift_boxes_is_an_action(dtype, batch, boxes_each, data):
    shape = (batch, boxes_each, 4) if boxes_each else (batch, 4)
    boxes = images(*shape, dtype=dtype)
    several = st.lists(st.integers(-99, 99), min_size=batch, max_size=batch).map(torch.tensor)
    dy, dx, p, q = (data.draw(several) for _ in range(4))
    once = actions.shift_boxes(boxes, dy, dx)
    assert once.dtype == dtype
    assert once.shape == boxes.shape
    both = actions.shift_boxes(boxes, dy + p, dx + q)
    assert torch.equal(actions.shift_boxes(once, p, q), both)
    assert torch.equal(actions.shift_boxes(once, -dy, -dx), boxes)
    for i in range(batch):
        alone = actions.shift_boxes(boxes[i : i + 1], int(dy[i]), int(dx[i]))
        assert torch.equal(alone, once[i : i + 1])


@pytest.mark.parametrize(
    ("shape", "dy", "message"),
    [((4,), 0, "boxes"), ((2, 5), 0, "boxes"), ((2, 4), torch.zeros(3), "dy has shape")],
)
def test_shift_boxes_refuses(shape, dy, message):
    with pytest.raises(ValueError, match=message):
        actions.shift_boxes(torch.zeros(shape), dy, 0)


def check_linear_action(act, p, g, h):
    """Assert composition, inverse and identity of a linear action."""
    assert_close(act(act(p, h), g), act(p, g @ h))
    assert_close(act(act(p, g), g.transpose(-2, -1)), p)
    assert torch.equal(act(p, torch.eye(p.shape[-1]).double()), p)


tolerant_dtypes = st.sampled_from([torch.float32, torch.float64])


@settings(max_examples=40)
@given(tolerant_dtypes, st.integers(1, 3), st.integers(0, 5), st.integers(0, 999), st.booleans())
def test_rotate_points_is_an_action(dtype, batch, n, seed, each):
    p = torch.randn(batch, n, 3, generator=seeded(seed)).to(dtype)
    rotations = groups.haar_so3(2 * batch, seeded(seed)).view(2, batch, 3, 3)
    g, h = rotations if each else rotations[:, 0]
    check_linear_action(actions.rotate_points, p, g, h)
    out = actions.rotate_points(p, g)
    assert out.dtype == dtype
    for b, k in ((b, k) for b in range(batch) for k in range(n)):
        R = g[b] if each else g
        assert_close(out[b, k], (R.to(dtype) @ p[b, k]))


def test_the_action_check_rejects_a_right_action():
    p = torch.randn(2, 4, 3, dtype=torch.float64, generator=seeded(0))
    g, h = groups.haar_so3(2, seeded(0))
    check_linear_action(actions.rotate_points, p, g, h)
    with pytest.raises(AssertionError):
        check_linear_action(lambda p, R: p @ R, p, g, h)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: actions.rotate_points(torch.zeros(4, 3), torch.eye(3)), ValueError, "p has"),
        (lambda: actions.rotate_points(torch.zeros(1, 4, 2), torch.eye(3)), ValueError, "p has"),
        (lambda: actions.rotate_points(torch.zeros(1, 4, 3), torch.eye(2)), ValueError, "R has"),
        (
            lambda: actions.rotate_points(torch.zeros(1, 4, 3).long(), torch.eye(3)),
            TypeError,
            "int64",
        ),
    ],
)
def test_points_refuse(call, error, message):
    with pytest.raises(error, match=message):
        call()
