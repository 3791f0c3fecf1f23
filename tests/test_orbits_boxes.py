"""Detections along windows: scores and consensus, on detectors whose errors are planted."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equitutor import data, orbits
from equitutor.orbits import (
    box_consensus,
    box_score,
    box_windows,
    evaluate,
    in_window,
    iou,
    rescore,
)

CANVAS, SIZE, REACH, STEP = 48, 24, 12, 4

# Shares of a pixel: a side of 1e-26 is lost when the box moves.
finite = st.integers(-20 * 64, 20 * 64).map(lambda n: n / 64)


def row(box, confidence: float, label: int) -> list[float]:
    return [*map(float, box), confidence, float(label)]


def scene(*boxes) -> torch.Tensor:
    """Return a canvas that names, at each pixel, its own place: a detector can know where it is."""
    y, x = torch.meshgrid(torch.arange(CANVAS), torch.arange(CANVAS), indexing="ij")
    return torch.stack([x, y]).float()[None]


def knowing(answer):
    """Return a detector that is told where its window stands and answers in the scene's pixels.

    answer: function (left, top) -> rows x1, y1, x2, y2, confidence, class.
    """

    def detect(x: torch.Tensor) -> torch.Tensor:
        found = []
        for corner in x[:, :, 0, 0]:
            rows = torch.tensor(answer(*map(int, corner)))
            rows[:, :4] -= corner.repeat(2)
            found.append(rows)
        return torch.stack(found)

    return detect


def walk(answer, target, kind="confidence x iou", visible=0.5):
    target = torch.tensor([[target]]) if not isinstance(target, torch.Tensor) else target
    orbit = box_windows(CANVAS, SIZE, REACH, STEP)
    return evaluate(knowing(answer), scene(), target, orbit, box_score(kind, SIZE, visible),
                    batch=10, keep_outputs=True, missing="count", progress=False)  # fmt: skip


TRUE = (20, 20, 28, 28)


# ---- geometry


@given(a=st.tuples(finite, finite, finite, finite), b=st.tuples(finite, finite, finite, finite),
       shift=st.tuples(finite, finite))  # fmt: skip
def test_iou_is_symmetric_bounded_and_moves_with_the_boxes(a, b, shift):
    a, b = (torch.tensor(v).double() for v in (a, b))
    value = iou(a, b)
    assert 0 <= value <= 1
    assert torch.equal(value, iou(b, a))
    move = torch.tensor([*shift, *shift]).double()
    torch.testing.assert_close(iou(a + move, b + move), value, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 4, 4), (2, 0, 6, 4), 1 / 3),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0),  # a common side has no area
        ((0, 0, 4, 4), (1, 1, 3, 3), 1 / 4),
        ((4, 4, 0, 0), (0, 0, 4, 4), 0),  # inside out
        ((1, 1, 1, 1), (1, 1, 1, 1), 0),  # 0 / 0
    ],
)
def test_iou_of_known_boxes(a, b, value):
    assert iou(torch.tensor(a).float(), torch.tensor(b).float()) == pytest.approx(value)


def test_windows_move_targets_and_detections_and_leave_the_rest():
    orbit = box_windows(CANVAS, SIZE, REACH, STEP)
    found = torch.rand(3, 2, 6)
    for i in (0, 5, len(orbit) - 1):
        back = orbit.inv_y(orbit.act_y(found, i), i)
        torch.testing.assert_close(back, found)
        assert torch.equal(orbit.act_y(found, i)[..., 4:], found[..., 4:])
        assert i == 0 or not torch.allclose(orbit.act_y(found, i)[..., :4], found[..., :4])
    with pytest.raises(ValueError, match="boxes must be"):
        orbit.act_y(torch.zeros(3), 0)


# ---- scores: an object that leaves is missing, never a silent zero


def test_a_perfect_detector_scores_one_wherever_the_object_is_seen():
    def clipped(left, top):
        low = [max(v, c) for v, c in zip(TRUE[:2], (left, top), strict=True)]
        high = [min(v, c + SIZE) for v, c in zip(TRUE[2:], (left, top), strict=True)]
        return [row((*low, *high), 1.0, 2)]

    for kind in orbits.boxes.SCORES:
        result = walk(clipped, row(TRUE, 2, 0)[:5], kind)
        assert result.scores.nan_to_num(1).eq(1).all()


def test_an_object_that_leaves_the_window_is_missing_and_counted():
    target = [2.0, 20.0, 10.0, 28.0, 1.0]  # only windows at the left edge hold it
    result = walk(lambda left, top: [row(target[:4], 0.9, 1)], target)
    params = result.orbit.params
    top, left = (params + (CANVAS - SIZE) / 2).T
    share = (10 - left.clamp(min=2)).clamp(min=0) / 8  # of the width
    share = share * (28 - top.clamp(min=20)).minimum(top + SIZE - 20).clamp(max=8) / 8
    seen = share >= 0.5
    assert 0 < seen.sum() < len(seen)
    assert torch.equal(~result.scores[:, 0].isnan(), seen)
    assert result.coverage == pytest.approx(seen.double().mean().item())
    assert result.aggregate()[seen].min() > 0
    with pytest.raises(ValueError, match="NaN"):  # what is missing has to be asked for
        evaluate(knowing(lambda a, b: [row(target[:4], 0.9, 1)]), scene(), torch.tensor([[target]]),
                 result.orbit, box_score("iou", SIZE), progress=False)  # fmt: skip


def test_a_score_of_zero_is_a_miss_and_not_a_missing_object():
    wrong = walk(lambda left, top: [row(TRUE, 0.9, 3)], row(TRUE, 2, 0)[:5])  # another class
    assert wrong.scores.nan_to_num(0).eq(0).all() and wrong.coverage > 0.9
    elsewhere = walk(lambda left, top: [row((0, 0, 4, 4), 0.9, 2)], row(TRUE, 2, 0)[:5])
    assert elsewhere.scores.nan_to_num(0).eq(0).all() and elsewhere.coverage > 0.9


def test_scores_of_known_detections():
    target = torch.tensor([[[0.0, 0, 8, 8, 1], [10.0, 10, 20, 20, 1]]])  # only the first counts
    found = torch.tensor([[row((0, 0, 8, 4), 0.8, 1), row((0, 0, 8, 8), 0.3, 1),
                           row((0, 0, 8, 8), 0.9, 0)]])  # fmt: skip
    value = lambda kind: box_score(kind, SIZE)(found, target).item()
    assert value("confidence") == pytest.approx(0.8)
    assert value("iou") == 1
    assert value("confidence x iou") == pytest.approx(0.4)
    assert value("hit") == 1
    top = box_score("iou", SIZE)(found[:, :1], target).item()
    assert top == pytest.approx(0.5)
    assert box_score("hit", SIZE, hit=0.6)(found[:, :1], target) == 0


# ---- consensus


def test_consensus_of_an_equivariant_detector_is_its_answer_and_scores_are_perfect():
    result = walk(lambda left, top: [row(TRUE, 0.7, 4)], row(TRUE, 4, 0)[:5])
    agreed = box_consensus(result)
    torch.testing.assert_close(agreed.boxes, torch.tensor([TRUE]).float())
    assert agreed.labels.tolist() == [4] and agreed.coverage.tolist() == [1]
    assert agreed.confidence.item() == pytest.approx(0.7)
    against = rescore(result, agreed.targets, box_score("iou", SIZE))
    assert against.scores.nan_to_num(1).min() > 0.99
    same = rescore(
        result, torch.tensor([[[*TRUE, 4.0]]]).float(), box_score("confidence x iou", SIZE)
    )
    torch.testing.assert_close(same.scores, result.scores, equal_nan=True)


def test_the_class_is_voted_for_and_never_averaged():
    """Class 1 and class 9 in equal numbers: their mean, 5, is a class that nobody named."""
    votes = lambda left, top: [
        row(TRUE, 0.6 if (left // STEP) % 2 else 0.7, 9 if (left // STEP) % 2 else 1)
    ]
    agreed = box_consensus(walk(votes, row(TRUE, 1, 0)[:5]))
    assert agreed.labels.item() in (1, 9)
    confident = lambda left, top: [row(TRUE, 0.9, 9) if left == 12 else row(TRUE, 0.05, 1)]
    assert box_consensus(walk(confident, row(TRUE, 1, 0)[:5])).labels.item() == 9  # by weight


def test_two_objects_are_not_averaged_into_a_box_between_them():
    """Two thirds of the windows see one object, the others another one, far away."""
    other = (36, 36, 44, 44)
    answer = lambda left, top: [row(TRUE if left < 16 else other, 0.8, 0)]
    agreed = box_consensus(walk(answer, row(TRUE, 0, 0)[:5]))
    torch.testing.assert_close(agreed.boxes, torch.tensor([TRUE]).float())
    mean = (torch.tensor(TRUE) + torch.tensor(other)) / 2  # what plain averaging would give
    assert iou(agreed.boxes[0], mean) == 0


def test_windows_that_cut_the_box_have_no_say():
    """Detections are clipped to the window: those of cut objects would shrink the mean."""
    box = (8, 8, 18, 18)  # near the corner: many windows cut it

    def clipped(left, top):
        low = [max(v, c) for v, c in zip(box[:2], (left, top), strict=True)]
        high = [min(v, c + SIZE) for v, c in zip(box[2:], (left, top), strict=True)]
        return [row((*low, *high), 0.9, 0)]

    result = walk(clipped, row(box, 0, 0)[:5])
    agreed = box_consensus(result)
    torch.testing.assert_close(agreed.boxes, torch.tensor([box]).float())
    holds = (result.orbit.params + 12 <= 8).all(1)
    assert agreed.held.item() == pytest.approx(holds.double().mean().item())
    assert agreed.coverage.item() == 1  # all windows that could see it did
    back = torch.stack([result.orbit.inv_y(result.outputs[g], g)[0, 0, :4]
                        for g in range(len(holds))])  # fmt: skip
    overlapping = back[iou(back, torch.tensor(box).float()) >= 0.5]
    assert (overlapping.mean(0) - torch.tensor(box)).abs().max() > 0.3  # with all of them


def test_coverage_is_the_share_of_windows_that_saw_it():
    blind = lambda left, top: [row(TRUE, 0.0 if left >= 16 else 0.8, 0)]
    agreed = box_consensus(walk(blind, row(TRUE, 0, 0)[:5]))
    assert agreed.coverage.item() == pytest.approx(3 / 5)  # left = 4, 8, 12, 16, 20 hold it
    assert agreed.confidence.item() == pytest.approx(0.8 * 3 / 5)


def test_no_detection_at_all_is_no_consensus():
    agreed = box_consensus(walk(lambda left, top: [row((0, 0, 0, 0), 0.0, 0)], row(TRUE, 0, 0)[:5]))
    assert agreed.boxes.isnan().all() and agreed.labels.tolist() == [-1]
    assert agreed.coverage.isnan().all()
    result = walk(lambda left, top: [row(TRUE, 0.9, 0)], row(TRUE, 0, 0)[:5])
    assert rescore(result, agreed.targets, box_score("iou", SIZE)).scores.isnan().all()


@given(seed=st.integers(0, 10**6), shift=st.sampled_from([(4, 0), (0, -4), (4, 4)]))
def test_consensus_moves_with_the_scene(seed, shift):
    """Answers that all move by a shift have a consensus that moves by it."""
    jitter = torch.randn(49, 4, generator=torch.Generator().manual_seed(seed))
    result = walk(lambda left, top: [row(TRUE, 0.8, 0)], row(TRUE, 0, 0)[:5])
    dx, dy = shift

    def agreed(dx, dy):
        move = torch.tensor([dx, dy, dx, dy, 0, 0])
        back = [result.orbit.inv_y(o, g) for g, o in enumerate(result.outputs)]  # in the scene
        for b, off in zip(back, jitter, strict=True):
            b[..., :4] += off
        outputs = [result.orbit.act_y(b + move, g) for g, b in enumerate(back)]
        return box_consensus(replace(result, outputs=torch.stack(outputs)), 0.3)

    still, moved = agreed(0, 0), agreed(dx, dy)
    holds = iou(moved.boxes[0] - torch.tensor([dx, dy, dx, dy]), still.boxes[0])
    assert holds > 0.8  # other windows hold it, with other errors
    assert iou(still.boxes[0], torch.tensor(TRUE).float()) > 0.7


def test_scenes_of_digits_pass_through_all_of_it():
    from equitutor.models.detection import CenterDetector, TopBoxes

    scenes = data.scenes(data.digits("test"), 3, size=80)
    orbit = box_windows(80, 64, 8, 8)
    torch.manual_seed(0)
    score = box_score("confidence x iou", 64)
    result = evaluate(TopBoxes(CenterDetector(), 2), scenes.x, scenes.targets, orbit, score,
                      keep_outputs=True, progress=False)  # fmt: skip
    assert result.outputs.shape == (9, 3, 2, 6)
    agreed = box_consensus(result)
    assert agreed.boxes.shape == (3, 4) and agreed.targets.shape == (3, 1, 5)


# ---- what does not fit is refused


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: iou(torch.zeros(3), torch.zeros(4)), "a must"),
        (lambda: iou(torch.zeros(4), torch.zeros(5)), "b must"),
        (lambda: in_window(torch.zeros(1, 5), 8), "targets must"),
        (lambda: in_window(torch.zeros(1, 1, 5), 0), "size"),
        (lambda: in_window(torch.zeros(1, 1, 5), 8, 0), "visible must"),
        (lambda: box_score("f1", 8), "kind must"),
        (lambda: box_score("hit", 8, hit=0), "hit must"),
        (lambda: box_score("hit", 8, visible=2), "visible must"),
        (lambda: box_score("hit", 8)(torch.zeros(1, 6), torch.zeros(1, 1, 5)), "detections must"),
        (lambda: box_score("hit", 8)(torch.zeros(1, 1, 6), torch.zeros(1, 5)), "targets must"),
        (lambda: box_windows(20, 8, 4, 3), "reach must"),
        (lambda: box_consensus(toy()), "box_windows"),
        (
            lambda: box_consensus(walk(lambda a, b: [row(TRUE, 1, 0)], row(TRUE, 0, 0)[:5]), 0),
            "least",
        ),
        (lambda: rescore(toy(keep=False), torch.zeros(2), "correct"), "keep_outputs"),
        (lambda: rescore(toy(), torch.zeros(3).long(), "correct"), "y must"),
        (lambda: rescore(toy(), torch.zeros(2).long(), lambda o, y: o), "metric must"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def toy(keep: bool = True):
    x, y = torch.rand(2, 1, 4, 4), torch.zeros(2).long()
    return evaluate(lambda x: x[:, 0, 0], x, y, orbits.shifts(4, 4, 2), keep_outputs=keep,
                    progress=False)  # fmt: skip
