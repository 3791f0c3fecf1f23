"""The detector by centers: what it says, what it learns, and what breaks its symmetry."""

import pytest
import torch
from conftest import needs_data
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from equitutor import data, orbits
from equitutor.models.detection import (
    BlurPool,
    CenterDetector,
    TopBoxes,
    center_loss,
    decode,
)
from equitutor.models.torchvision_boxes import TorchvisionBoxes
from equitutor.orbits import box_score, iou


def perfect_maps(box, label: int = 1, classes: int = 3, cells: int = 16) -> torch.Tensor:
    """Return maps (1, classes + 4, cells, cells) that describe one box without error."""
    maps = torch.full((1, classes + 4, cells, cells), -9.0)
    x, y = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    column, row = int(x // 4), int(y // 4)
    maps[0, label, row, column] = 9.0
    center = torch.tensor([4 * column + 2, 4 * row + 2] * 2)
    reach = (torch.tensor(box) - center) * torch.tensor([-1.0, -1.0, 1.0, 1.0]) / 4
    maps[0, classes:] = reach.log()[:, None, None]
    return maps


@given(
    cell=st.tuples(st.integers(4, 11), st.integers(4, 11)),
    off=st.tuples(st.floats(-1.4, 1.4), st.floats(-1.4, 1.4)),  # no other cell is as near
    side=st.tuples(st.floats(10, 24), st.floats(10, 24)),
    label=st.integers(0, 2),
)
def test_decode_inverts_what_the_loss_asks_for(cell, off, side, label):
    x, y = (4 * c + 2 + d for c, d in zip(cell, off, strict=True))
    box = [x - side[0] / 2, y - side[1] / 2, x + side[0] / 2, y + side[1] / 2]
    maps = perfect_maps(box, label)
    found = decode(maps)[0, 0]
    torch.testing.assert_close(found[:4], torch.tensor(box), atol=1e-3, rtol=0)
    assert found[5] == label and found[4] > 0.99
    right = center_loss(maps, torch.tensor([[[*box, label]]]))
    assert right < 0.1
    for wrong in ([*box, (label + 1) % 3], [*(v + 8 for v in box), label]):
        assert center_loss(maps, torch.tensor([[wrong]])) > right + 1
    shrunk = maps.clone()
    shrunk[:, 3:] -= 0.5  # all sides too short: the box part alone sees it
    torch.testing.assert_close(
        center_loss(shrunk, torch.tensor([[[*box, label]]])), right + 0.5, atol=0.02, rtol=0
    )


def test_decode_ranks_peaks_and_gives_a_plateau_no_extra_boxes():
    maps = torch.full((1, 6, 8, 8), -9.0)
    maps[0, 0, 2, 2], maps[0, 0, 2, 3], maps[0, 1, 6, 6] = 3.0, 2.0, 2.5  # the second is a neighbor
    found = decode(maps, 3)[0]
    assert found[:2, 5].tolist() == [0, 1]
    assert found[0, 4] > found[1, 4] > 0.9 > 0.1 > found[2, 4]
    assert found[:, :4].min() >= 0 and found[:, :4].max() <= 32


def test_targets_outside_are_dropped_and_partly_visible_ones_are_clipped():
    maps = perfect_maps([0.0, 20.0, 12.0, 40.0])
    whole = center_loss(maps, torch.tensor([[[0.0, 20.0, 12.0, 40.0, 1]]]))
    cut = center_loss(maps, torch.tensor([[[-8.0, 20.0, 12.0, 40.0, 1]]]))
    torch.testing.assert_close(cut, whole)
    quiet = torch.full_like(maps, -9.0)
    for gone in (
        [-18.0, 20.0, 2.0, 40.0, 1],
        [90.0, 90.0, 99.0, 99.0, 1],
        [0.0, 0.0, 9.0, 9.0, -1],
    ):
        assert center_loss(quiet, torch.tensor([[gone]])) < 1e-2
        assert center_loss(maps, torch.tensor([[gone]])) > 5  # a false alarm costs


def test_each_object_counts_and_padding_does_not():
    maps = torch.cat([CenterDetector(3)(torch.rand(1, 1, 64, 64))] * 2)
    two = torch.tensor([[[4.0, 4, 20, 20, 0], [40.0, 40, 60, 60, 2]]]).expand(2, -1, -1)
    padded = torch.cat([two, torch.tensor([[[0.0, 0, 0, 0, -1]]]).expand(2, 3, -1)], 1)
    torch.testing.assert_close(center_loss(maps, two), center_loss(maps, padded))
    assert not center_loss(maps, two).isclose(center_loss(maps, two[:, :1]))


def settled(**options) -> nn.Module:
    """Return a detector whose normalization fits noise, so that its maps are of unit size."""
    torch.manual_seed(0)
    net = CenterDetector(**options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over what it sees
    with torch.no_grad():
        net(torch.rand(8, 1, 64, 64))
    return net.eval()


def interior(net: nn.Module, shift: int) -> float:
    """Return the largest change of the maps' middle when the image moves by `shift` pixels."""
    torch.manual_seed(1)
    net, scene = net.double(), torch.rand(1, 1, 192, 192).double()
    with torch.no_grad():
        still, moved = net(scene[..., :160, :160]), net(scene[..., shift:][..., :160, :160])
    cells = shift // 4
    a, b = still[..., 14:26, 14 + cells : 26 + cells], moved[..., 14:26, 14:26]
    return (a - b).abs().max().item()


@pytest.mark.parametrize("options", [{}, {"blur": True, "padding": "replicate"}])
def test_far_from_the_border_maps_move_with_the_image_by_whole_cells(options):
    net = settled(**options)
    assert interior(net, 8) < 1e-12
    assert interior(net, 6) > 1e-2  # half a cell: the stride shows


def test_coordinates_break_it_everywhere():
    assert interior(settled(coordinates=True), 8) > 1e-2


def test_zero_padding_marks_the_border_and_replicate_padding_does_not():
    flat = torch.full((1, 1, 64, 64), 0.5).double()
    for padding, marks in (("zeros", True), ("replicate", False)):
        with torch.no_grad():
            spread = settled(padding=padding).double()(flat).flatten(2).std(-1).max()
        assert spread > 1e-2 if marks else spread < 1e-12


def test_mirrored_images_have_mirrored_cells():
    """The subsampling is symmetric: mirrored filters on a mirrored image give mirrored maps."""
    net = settled().double()
    x = torch.rand(1, 1, 64, 64).double()
    before = net(x)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.flip(-1)
    torch.testing.assert_close(net(x.flip(-1)).flip(-1), before, atol=1e-12, rtol=0)


def test_blur_is_less_sensitive_to_a_shift_by_one_pixel():
    torch.manual_seed(0)
    x = torch.rand(8, 4, 33, 33)
    blur = BlurPool(4)
    change = lambda f: (f(x[..., :32]) - f(x[..., 1:])).square().mean() / f(x[..., 1:]).var()
    assert change(lambda v: blur(v[..., :32, :])) < 0.8 * change(lambda v: v[..., :32:2, ::2])


def trained(options: dict, jitter: float, steps: int = 60) -> nn.Module:
    """Return a detector of bright squares (class 0) and rings (class 1), trained in a moment."""
    torch.manual_seed(0)
    net = CenterDetector(2, width=8, **options)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x, targets = shapes(16, jitter, generator)
        loss = center_loss(net(x), targets)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return TopBoxes(net).eval()


def shapes(n: int, jitter: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x = 0.3 * torch.rand(n, 1, 48, 48, generator=generator)
    off = (jitter * (2 * torch.rand(n, 2, generator=generator) - 1)).round().int()
    half = torch.randint(4, 8, (n,), generator=generator)
    label = torch.randint(0, 2, (n,), generator=generator)
    targets = torch.zeros(n, 1, 5)
    for i in range(n):
        top, left = (24 + off[i] - half[i]).tolist()
        side = 2 * int(half[i])
        x[i, 0, top : top + side, left : left + side] = 1.0
        if label[i]:
            x[i, 0, top + 3 : top + side - 3, left + 3 : left + side - 3] = 0.0
        targets[i, 0] = torch.tensor([left, top, left + side, top + side, int(label[i])])
    return x, targets


def test_it_learns_and_jitter_decides_where():
    x, targets = shapes(64, 14, torch.Generator().manual_seed(5))
    middle = shapes(64, 0, torch.Generator().manual_seed(6))
    score = box_score("hit", 48)
    jittered, centered = trained({}, 14), trained({"coordinates": True}, 0)
    with torch.no_grad():
        everywhere = score(jittered(x), targets).mean()
        assert everywhere > 0.8
        assert score(centered(middle[0]), middle[1]).mean() > 0.8
        assert score(centered(x), targets).mean() < everywhere - 0.3


class Zoo(nn.Module):
    """Answers as torchvision's detectors do: n boxes on image n, by brightness; not sorted."""

    def forward(self, images):
        assert not self.training  # in train mode torchvision's would ask for targets
        assert isinstance(images, list)
        answers = []
        for image in images:
            n = int(image[0, 0, 0])
            corner = torch.arange(n).float()[:, None].expand(-1, 2)
            scores = (torch.arange(n).float() + 1) / 10
            answers.append({"boxes": torch.cat([corner, corner + 4], 1), "scores": scores,
                            "labels": torch.arange(n) + 1})  # fmt: skip
        return answers


def test_answers_of_torchvision_become_detections():
    x = torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1).expand(3, 3, 8, 8)
    found = TorchvisionBoxes(Zoo(), 2).eval()(x)
    assert found[0].eq(0).all()
    assert found[1].tolist() == [[0, 0, 4, 4, pytest.approx(0.1), 1], [0] * 6]
    torch.testing.assert_close(found[2], torch.tensor([[2, 2, 6, 6, 0.3, 3], [1, 1, 5, 5, 0.2, 2]]))
    result = orbits.evaluate(
        TorchvisionBoxes(Zoo()).train(), x[2:, :, :1, :1].expand(1, 3, 16, 16),
        torch.tensor([[[6.0, 6, 10, 10, 3]]]), orbits.box_windows(16, 8, 4, 4),
        box_score("confidence x iou", 8), missing="count", progress=False,
    )  # fmt: skip
    # the box is always at 2 ... 6 of the window: right where the object stands there
    assert result.scores[result.orbit.identity].item() == pytest.approx(0.3)
    assert result.scores.nan_to_num(0).sum() < 9 * 0.3 - 0.5


@needs_data("bccd")
def test_scenes_of_blood_cells_hold_a_cell_in_the_middle_and_windows_follow_it():
    found = data.blood_cells("val")
    scenes = data.centered(found, 96, 4, ("WBC",), alone=True)
    assert len(scenes) >= 15 and scenes.classes == ("WBC",) and scenes.x.shape[1:] == (3, 96, 96)
    middle = (scenes.boxes[:, :2] + scenes.boxes[:, 2:]) / 2
    assert (middle - 48).abs().max() <= 0.5
    x, targets = data.window(scenes.x, scenes.targets, 16, -16)
    assert x.shape[2:] == (64, 64)
    moved = (targets[:, 0, :2] + targets[:, 0, 2:4]) / 2 - torch.tensor([16.0, 48.0])
    assert moved.abs().max() <= 0.5
    # white cells are darker and bluer than what is around them: the box is on the cell
    inside = torch.stack(
        [image[0, b[1] : b[3], b[0] : b[2]].median()
         for image, b in zip(scenes.x, scenes.boxes.clamp(0, 96).int().tolist(), strict=True)]
    )  # fmt: skip
    around = scenes.x[:, 0].flatten(1).median(1).values
    assert (inside < around).float().mean() > 0.8


@needs_data("bccd")
def test_the_detector_learns_to_box_white_cells():
    scenes = data.centered(data.blood_cells("train"), 96, 4, ("WBC",), alone=True)
    torch.manual_seed(0)
    net = CenterDetector(1, 3, width=8)
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        pick = torch.randint(len(scenes), (16,), generator=generator)
        off = torch.randint(-16, 17, (2, 16), generator=generator)
        x, targets = data.window(scenes.x[pick], scenes.targets[pick], *off)
        loss = center_loss(net(x), targets)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    test = data.centered(data.blood_cells("val"), 96, 4, ("WBC",), alone=True)
    x, targets = data.window(test.x, test.targets, 8, -8)
    with torch.no_grad():
        found = TopBoxes(net).eval()(x)
    overlap = iou(found[:, 0, :4], targets[:, 0, :4].clamp(0, 64))
    assert overlap.mean() > 0.4
    blind = torch.tensor([16.0, 16, 48, 48])  # a box in the middle, whatever there is to see
    assert overlap.mean() > iou(blind.expand(len(x), 4), targets[:, 0, :4].clamp(0, 64)).mean()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: CenterDetector(0), "classes"),
        (lambda: CenterDetector(channels=True), "channels"),
        (lambda: CenterDetector(width=1.5), "width"),
        (lambda: CenterDetector(padding="reflect"), "padding"),
        (lambda: CenterDetector()(torch.rand(1, 1, 62, 64)), "x must"),
        (lambda: CenterDetector()(torch.rand(1, 3, 64, 64)), "x must"),
        (lambda: CenterDetector()(torch.rand(1, 64, 64)), "x must"),
        (lambda: TopBoxes(CenterDetector(), 0), r"\bk\b"),
        (lambda: TorchvisionBoxes(None), "model must"),
        (lambda: TorchvisionBoxes(Zoo(), 0), r"\bk\b"),
        (lambda: TorchvisionBoxes(lambda x: [])(torch.rand(1, 3, 8, 8)), "1 answers"),
        (lambda: TorchvisionBoxes(lambda x: [{}])(torch.rand(1, 3, 8, 8)), "boxes, scores, labels"),
        (lambda: decode(torch.rand(1, 5, 4, 4), 17), r"\bk\b"),
        (lambda: decode(torch.rand(1, 4, 4, 4)), "maps must"),
        (lambda: decode(torch.zeros(1, 5, 4, 4).long()), "maps must"),
        (lambda: center_loss(torch.rand(1, 5, 4, 4), torch.zeros(1, 5)), "targets must"),
        (lambda: center_loss(torch.rand(1, 5, 4, 4), torch.zeros(2, 1, 5)), "targets must"),
        (lambda: center_loss(torch.rand(1, 5, 4, 4), torch.zeros(1, 0, 5)), "targets must"),
        (lambda: center_loss(torch.rand(1, 5, 4, 4), torch.ones(1, 1, 5)), "classes"),
        (
            lambda: center_loss(
                torch.rand(1, 5, 4, 4), torch.tensor([[[0.0, 0, torch.nan, 4, 0]]])
            ),
            "finite",
        ),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


@pytest.mark.parametrize(
    "x", [torch.zeros(1, 1, 8, 8).double(), torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
          torch.zeros(1, 1, 0, 8), [1], None],
)  # fmt: skip
def test_images_that_the_network_can_not_take_are_refused(x):
    with pytest.raises(ValueError, match="x must be"):
        CenterDetector(width=2)(x)


@pytest.mark.parametrize("label", [0.5, -0.5, float("nan")])
def test_classes_between_classes_are_refused(label):
    with pytest.raises(ValueError, match="whole numbers"):
        center_loss(torch.zeros(1, 6, 4, 4), torch.tensor([[[0.0, 0, 8, 8, label]]]))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "a", None])
def test_weights_of_the_box_part_are_checked(weight):
    with pytest.raises(ValueError, match="box_weight must"):
        center_loss(torch.zeros(1, 6, 4, 4), torch.tensor([[[0.0, 0, 8, 8, 1]]]), weight)


@pytest.mark.parametrize(
    "change", [{"boxes": torch.zeros(2, 4)}, {"scores": torch.zeros(1, 1)},
               {"labels": torch.zeros(3)}],
)  # fmt: skip
def test_answers_of_unlike_lengths_are_refused(change):
    answer = {"boxes": torch.zeros(1, 4), "scores": torch.zeros(1), "labels": torch.zeros(1)}
    with pytest.raises(ValueError, match="model must return boxes"):
        TorchvisionBoxes(lambda images: [answer | change])(torch.zeros(1, 3, 8, 8))
