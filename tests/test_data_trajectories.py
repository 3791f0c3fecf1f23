"""Walks: real scenes where they are at hand, small written ones elsewhere; and no label leak."""

import numpy as np
import pytest
import torch
from conftest import needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_images import serve_from
from torch.testing import assert_close

from equitutor.data import (
    SETS,
    ChecksumError,
    DataSet,
    DownloadError,
    FormatError,
    constant_velocity,
    displacement_errors,
    past_and_future,
    street,
    trajectories,
)
from equitutor.data.trajectories import read_walks, windows


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@needs_data("eth_ucy")
@pytest.mark.parametrize(
    ("scene", "count", "people", "ade", "fde"),
    [
        ("zara01", 2356, 142, 0.427, 0.952),
        ("zara02", 5910, 189, 0.324, 0.724),
        ("students003", 10039, 370, 0.618, 1.369),
    ],
)
def test_real_scenes(scene, count, people, ade, fde):
    walks = trajectories(scene)
    assert len(walks) == count
    assert walks.x.shape == (count, 7, 2)
    assert walks.y.shape == (count, 12, 2)
    assert walks.last.shape == (count, 2)
    assert walks.x.dtype == walks.y.dtype == torch.float32
    assert len(walks.person.unique()) == people
    speed = walks.x.norm(dim=-1).quantile(0.9) * 2.5  # metres a second
    assert 0.5 < speed < 2.0  # many stand, but those who go do walk
    errors = displacement_errors(constant_velocity(walks.x), walks.y)
    assert [e.mean().item() for e in errors] == pytest.approx([ade, fde], abs=1e-3)


@needs_data("eth_ucy")
def test_scenes_share_no_window():
    keys = [
        {tuple(row) for row in torch.cat([w.last, w.y[:, 0], w.y[:, -1]], 1).tolist()}
        for w in map(trajectories, ("zara01", "zara02"))
    ]
    assert not keys[0] & keys[1]


@settings(max_examples=40)
@given(past=st.integers(2, 8), future=st.integers(1, 12), n=st.integers(1, 9))
def test_the_future_has_no_part_in_the_input(past, future, n):
    paths = noise(n, past + future, 2, seed=n)
    x, y, last = past_and_future(paths, past)
    other = paths.clone()
    other[:, past:] += 10 * noise(n, future, 2, seed=1)
    x2, y2, last2 = past_and_future(other, past)
    assert torch.equal(x, x2)
    assert torch.equal(last, last2)
    assert not torch.equal(y, y2)

    def leaky(paths):  # the broken twin: centered on past and future together
        return (paths - paths.mean(1, keepdim=True))[:, :past]

    assert not torch.allclose(leaky(paths), leaky(other))


def scene_text(far=0.0):
    """Return a scene of two people as a file has it, their last 12 positions moved by `far`."""
    rows = [(10 * k, p, k + 0.1 * p * k * k + far * (k > 7) * (k + p), p) for p in (1, 2)
            for k in range(20)]  # fmt: skip
    return "".join("\t".join(f"{v:.6f}" for v in row) + "\n" for row in rows).encode()


def test_from_file_to_input_the_future_has_no_part(tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "eth_ucy", DataSet("", "", "", ()))
    walks = []
    for far in (0.0, 3.0):
        serve_from(tmp_path, monkeypatch, {"eth_ucy/crowds_zara01.txt": scene_text(far)})
        walks.append(trajectories("zara01"))
    before, after = walks
    assert len(before) == len(after) == 2
    for name in ("x", "last", "person"):
        assert torch.equal(getattr(before, name), getattr(after, name))
    assert not torch.equal(before.y, after.y)
    longer = [windows(read_walks_of(tmp_path, scene_text(far)), 9, 11)[0] for far in (0.0, 3.0)]
    leaky = [past_and_future(paths, 9)[0] for paths in longer]  # the twin sees one position more
    assert not torch.equal(*leaky)


def read_walks_of(folder, data):
    path = folder / "rows.txt"
    path.write_bytes(data)
    return read_walks(path)


@settings(max_examples=40)
@given(past=st.integers(2, 8), future=st.integers(1, 6))
def test_a_translation_changes_nothing_and_positions_can_be_had_back(past, future):
    paths = noise(5, past + future, 2).double()
    x, y, last = past_and_future(paths, past)
    moved = past_and_future(paths + torch.tensor([30.0, -7.0]), past)
    assert_close(moved[0], x)
    assert_close(moved[1], y)
    assert_close(last[:, None] + y, paths[:, past:])
    assert_close(last - x.sum(1), paths[:, 0])


def rows_of(*walks):
    """Return rows of walks given as (person, first frame, [x, ...])."""
    return np.array(
        [[start + 10.0 * k, p, x, 0.0] for p, start, xs in walks for k, x in enumerate(xs)]
    )


def test_windows_of_one_walk():
    paths, person = windows(rows_of((7, 50, [0, 1, 2, 3, 4])), past=2, future=2)
    assert paths[..., 0].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert person.tolist() == [7, 7]


def test_windows_do_not_jump():
    with_a_gap = np.delete(rows_of((1, 0, range(9))), 4, axis=0)
    paths, _ = windows(with_a_gap, past=2, future=2)
    assert paths[..., 0].tolist() == [[0, 1, 2, 3], [5, 6, 7, 8]]
    # the second person appears just as the first one leaves: ten frames later, as in one walk
    two = rows_of((1, 0, [0, 1, 2]), (2, 30, [3, 4, 5]))
    assert len(windows(two, past=2, future=2)[0]) == 0
    assert len(windows(two, past=2, future=1)[0]) == 2


def test_steps_are_exact_far_from_the_origin():
    """In coordinates of a map: float32 has steps of half a meter there."""
    rows = rows_of((1, 0, [0.01 * k for k in range(6)]))
    far = rows + np.array([0, 0, 500_000.0, 4_500_000.0])
    near, there = (past_and_future(windows(r, 3, 3)[0], 3) for r in (rows, far))
    assert_close(there[0], near[0], atol=1e-9, rtol=0)
    assert_close(there[1], near[1], atol=1e-9, rtol=0)
    twin = past_and_future(windows(far, 3, 3)[0].float(), 3)
    assert not torch.allclose(twin[0].double(), near[0], atol=1e-2)


@pytest.mark.parametrize("step", [1, 5, 6, 20])
def test_another_step_between_frames_is_asked_for(step):
    rows = rows_of((1, 0, range(5)), (2, 30, range(5))) * [step / 10, 1, 1, 1]
    with pytest.raises(ValueError, match=f"{step} frames apart"):
        windows(rows, 2, 2)
    assert len(windows(rows, 2, 2, step)[0]) == 4
    with pytest.raises(ValueError, match="step"):
        windows(rows, 2, 2, 0)
    mixed = np.concatenate([rows_of((1, 0, range(5))), rows_of((2, 0, range(5))) * [1.5, 1, 1, 1]])
    with pytest.raises(ValueError, match="15 frames apart"):
        windows(mixed, 2, 2)


def test_too_few_rows_give_no_window():
    assert windows(rows_of((1, 0, [0, 1])), past=8, future=12)[0].shape == (0, 20, 2)


@settings(max_examples=40)
@given(
    walks=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=5),
    past=st.integers(2, 3),
    future=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_windows_agree_with_a_plain_loop_in_any_order_of_rows(walks, past, future, seed):
    rows = rows_of(*[(p, 10 * s, np.arange(n) + 100 * p) for p, (s, n) in enumerate(walks)])
    expected = [
        [100 * p + k + i for i in range(past + future)]
        for p, (_, n) in enumerate(walks)
        for k in range(n - past - future + 1)
    ]
    shuffled = np.random.default_rng(seed).permutation(rows)
    assert windows(shuffled, past, future)[0][..., 0].tolist() == expected


def test_baseline_and_errors():
    x = torch.tensor([[[9.0, 9.0], [1.0, -2.0]]])
    assert constant_velocity(x, 3).tolist() == [[[1, -2], [2, -4], [3, -6]]]
    ade, fde = displacement_errors(torch.zeros(1, 2, 2), torch.tensor([[[0.0, 2], [3, 4]]]))
    assert ade.tolist() == [3.5]
    assert fde.tolist() == [5]


def test_errors_and_baseline_turn_with_the_scene():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    walks = street(50)
    forecast = constant_velocity(walks.x)
    assert_close(constant_velocity(walks.x @ turn.T), forecast @ turn.T)
    before = displacement_errors(forecast, walks.y)
    after = displacement_errors(forecast @ turn.T, walks.y @ turn.T)
    assert_close(before, after)
    wrong = displacement_errors(forecast, walks.y @ turn.T)
    assert not torch.allclose(before[0], wrong[0])


def test_the_generated_street():
    walks = street(4000, breaking=1.0)
    assert walks.x.shape == (4000, 7, 2)
    assert torch.equal(walks.y, street(4000).y)
    assert not torch.equal(walks.y, street(4000, seed=1).y)
    end = walks.y[:, -1]
    error = end.std(0) / 4000**0.5
    assert end[:, 0].mean().abs() < 4 * error[0]  # both ways alike
    assert end[:, 1].mean() > 10 * error[1]  # towards the shops
    even = street(4000, breaking=0.0).y[:, -1]
    assert even[:, 1].mean().abs() < 4 * error[1]
    assert end[:, 0].std() > 3 * end[:, 1].std()  # along the street, so no turn is a symmetry


def test_a_small_scene_through_the_cache(tmp_path, monkeypatch):
    text = "".join(f"{10 * k}.0\t1.0\t{k}.5\t2.0\n" for k in range(21))
    monkeypatch.setitem(SETS, "eth_ucy", DataSet("", "", "", ()))
    serve_from(tmp_path, monkeypatch, {"eth_ucy/crowds_zara01.txt": text.encode()})
    walks = trajectories("zara01")
    assert len(walks) == 2
    assert_close(walks.y[0, :, 0], torch.arange(1.0, 13))
    assert walks.name == "zara01"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html>moved</html>", "not a table of numbers"),
        ("0 1 2\n", r"has the shape \(1, 3\)"),
        ("0 1 2 nan\n", "expected finite numbers"),
        ("0 1 2 3\n0 1 4 5\n", "a person in two places in one frame"),
        ("0 1 2 3\n10 1 4\n", "not a table of numbers"),
        ("0 1.5 2 3\n", "a frame or a person that is no whole number"),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "walks.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_walks(path)


def test_damaged_and_missing_scenes(tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "eth_ucy", DataSet("", "", "", ()))
    serve_from(tmp_path, monkeypatch, {"eth_ucy/crowds_zara01.txt": scene_text()})
    path = tmp_path / "eth_ucy/crowds_zara01.txt"
    whole = path.read_bytes()
    for damaged in (whole[:-7], whole.replace(b"1", b"7", 1), b""):
        path.write_bytes(damaged)
        with pytest.raises(ChecksumError, match=r"crowds_zara01.txt is broken"):
            trajectories("zara01")
        assert path.read_bytes() == damaged  # refused, and left as it is
    path.write_bytes(whole)
    assert len(trajectories("zara01")) == 2
    path.unlink()
    with pytest.raises(DownloadError, match="crowds_zara01"):
        trajectories("zara01")
    with pytest.raises(FileNotFoundError, match="crowds_zara01"):
        read_walks(path)


def test_unusual_but_sound_walks():
    x = torch.zeros(0, 3, 2)
    assert constant_velocity(x, 4).shape == (0, 4, 2)
    assert [e.shape for e in displacement_errors(x, x)] == [(0,), (0,)]
    assert [t.shape for t in past_and_future(x, 2)] == [(0, 1, 2), (0, 1, 2), (0, 2)]
    assert windows(np.zeros((0, 4)), 2, 1)[0].shape == (0, 3, 2)
    walks = street(1)
    turned = walks.x.flip(-1)[:, ::2]  # not contiguous
    assert_close(constant_velocity(turned, 2), constant_velocity(turned.contiguous(), 2))
    assert constant_velocity(walks.x.double()).dtype == torch.float64
    nan = walks.y.clone()
    nan[0, 3] = float("nan")
    ade, fde = displacement_errors(nan, walks.y)  # a lost position shows, where it counts
    assert ade.isnan()
    assert not fde.isnan()
    before = torch.get_rng_state()
    street(5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("text", ["", "\n\n", "# nobody\n"])
def test_an_empty_file(tmp_path, text):
    path = tmp_path / "walks.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match="expected finite numbers"):
        read_walks(path)


PATHS = torch.zeros(2, 5, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trajectories("hotel"), "scene is 'hotel', but has to be 'zara01'"),
        (lambda: windows(rows_of((1, 0, [0])), past=1), "past is 1, but has to be an int"),
        (lambda: windows(rows_of((1, 0, [0])), future=True), "future is True"),
        (lambda: past_and_future(PATHS, 5), r"paths has the shape \(2, 5, 2\)"),
        (lambda: past_and_future(PATHS[0], 2), "paths has the shape"),
        (lambda: constant_velocity(PATHS, 0), "future is 0"),
        (lambda: constant_velocity(PATHS[0]), "x has the shape"),
        (lambda: displacement_errors(PATHS, PATHS[:1]), "y has the shape"),
        (lambda: displacement_errors(PATHS[0], PATHS[0]), "forecast has the shape"),
        (lambda: street(0), "n is 0"),
        (lambda: street(5, breaking=-1), "breaking is -1"),
        (lambda: street(5, breaking=float("nan")), "breaking is nan"),
        (lambda: street(5, seed=-1), "seed is -1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
