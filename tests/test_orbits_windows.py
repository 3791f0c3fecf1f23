import pytest
import torch

from equitutor.orbits.windows import windows


def test_windows_show_the_pixels_and_boxes_of_the_scene():
    orbit = windows(20, 8, reach=4, step=2)
    x = torch.zeros(1, 1, 20, 20)
    x[..., 9:11, 8:12] = 1
    box = torch.tensor([[8.0, 9.0, 12.0, 11.0]])
    for i in range(len(orbit)):
        view, seen = orbit.act_x(x, i), orbit.act_y(box, i)
        x1, y1, x2, y2 = seen[0].clamp(0, 8).int().tolist()
        assert view.sum() == view[..., y1:y2, x1:x2].sum() == (y2 - y1) * (x2 - x1)
        assert torch.equal(orbit.inv_y(seen, i), box)
    assert orbit.params[orbit.identity].tolist() == [0, 0]
    assert not torch.equal(orbit.act_y(box, 0), orbit.inv_y(box, 0))


@pytest.mark.parametrize(
    "bad", [(20, 8, 4, 3), (15, 8, 2, 1), (12, 8, 4, 1), (True, 8, 2, 1), (20, 0, 2, 1)]
)
def test_windows_refuse_what_does_not_fit(bad):
    with pytest.raises(ValueError):
        windows(*bad)


def test_windows_refuse_a_scene_of_another_size():
    with pytest.raises(ValueError, match="x must be"):
        windows(20, 8, 4, 2).act_x(torch.zeros(1, 1, 18, 20), 0)
