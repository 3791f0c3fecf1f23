"""Blood cells: the real photographs where they are at hand, small broken sets elsewhere."""

import io
import struct

import numpy as np
import pytest
import torch
from conftest import needs_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_data_images import serve_from

from equitutor.data import SETS, DataError, DataSet, FormatError, blood_cells, fetch_all
from equitutor.data.pictures import read_picture, read_voc

CLASSES = ("RBC", "WBC", "Platelets")


@pytest.fixture(scope="module")
def val():
    return blood_cells("val")


@needs_data("bccd")
def test_real_blood_cells(val):
    train = blood_cells("train")
    assert len(train) == 205
    assert len(val) == 87
    counts = sum(torch.cat(part.labels).bincount(minlength=3) for part in (train, val))
    assert counts.tolist() == [3350 - 2, 301, 292]  # two red cells are marked by a single point
    for part in (train, val):
        assert part.images.shape == (len(part), 3, 480, 640)
        assert part.images.dtype == torch.uint8
        assert part.classes == CLASSES
        for boxes, labels in zip(part.boxes, part.labels, strict=True):
            assert boxes.dtype == torch.float32
            assert boxes.shape == (len(labels), 4)
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert boxes.min() >= 0
            assert (boxes[:, 2:] <= torch.tensor([640, 480])).all()
    assert val.boxes[0][0].tolist() == [259, 176, 491, 376]
    assert val.labels[0][0] == CLASSES.index("WBC")


@needs_data("bccd")
def test_white_cells_are_violet_inside_their_boxes(val):
    """Channels in another order, or boxes as (y, x), would not fit."""
    scores = []
    for mirror in (False, True):  # the mirrored box is the broken twin
        inside = []
        for image, boxes, labels in zip(val.images, val.boxes, val.labels, strict=True):
            red, _, blue = image.float()
            for x1, y1, x2, y2 in boxes[labels == 1].int().tolist():
                if mirror:
                    x1, x2 = 640 - x2, 640 - x1
                inside.append((blue - red)[y1:y2, x1:x2].mean() - (blue - red).mean())
        scores.append(torch.stack(inside).median())
    assert scores[0] > 15
    assert scores[1] < 10


@needs_data("bccd")
def test_whole_set_is_fetched_in_one_call(capsys):
    paths = fetch_all("bccd")
    assert len(paths) == 588
    assert all(path.is_file() for path in paths.values())
    assert capsys.readouterr().err == ""  # no bar where nothing is downloaded


def voc(*objects, size=(64, 48), more=""):
    body = "".join(
        f"<object><name>{name}</name>{more}<bndbox>"
        + "".join(
            f"<{tag}>{value}</{tag}>"
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>"
        for name, box in objects
    )
    width, height = size
    return (
        f"<annotation><size><width>{width}</width><height>{height}</height></size>"
        f"{body}</annotation>"
    ).encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


def write(folder, data, name="some.xml"):
    path = folder / name
    path.write_bytes(data)
    return path


@settings(max_examples=100)
@given(
    boxes=st.lists(
        st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2, st.sampled_from(CLASSES))
    )
)
def test_voc_round_trip(folder, boxes):
    """A box that covers w x h pixels has the area w h, though VOC names its first and last one."""
    objects = [(name, (x + 1, y + 1, x + w, y + h)) for x, y, w, h, name in boxes]
    note = read_voc(write(folder, voc(*objects)), CLASSES)
    assert note.size == (48, 64)
    assert note.boxes.dtype == np.float32
    assert note.boxes.shape == (len(boxes), 4)
    assert note.boxes.tolist() == [[x, y, x + w, y + h] for x, y, w, h, _ in boxes]
    assert [CLASSES[i] for i in note.labels] == [name for *_, name in boxes]
    assert note.difficult == [False] * len(boxes)


def test_voc_of_the_whole_picture_and_of_hard_objects(folder):
    whole = voc(("RBC", (1, 1, 10, 8)), size=(10, 8), more="<difficult>1</difficult>")
    note = read_voc(write(folder, whole), CLASSES)
    assert note.boxes.tolist() == [[0, 0, 10, 8]]
    assert note.difficult == [True]
    pixel = read_voc(write(folder, voc(("RBC", (3, 4, 3, 4)))), CLASSES)
    assert pixel.boxes.tolist() == [[2, 3, 3, 4]]


GOOD = ("RBC", (1, 2, 30, 40))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (voc(GOOD)[:-20], "some.xml is not sound XML"),
        (b"", "is not sound XML"),
        (voc(("Plasma", (1, 2, 3, 4))), "an object 'Plasma', expected one of"),
        (voc(("RBC", (30, 2, 1, 40))), r"a box \[30.0, 2.0, 1.0, 40.0\] that does not fit 64 x 48"),
        (voc(("RBC", (1, 2, 65, 40))), "does not fit"),
        (voc(("RBC", (-1, 2, 3, 40))), "does not fit"),
        (voc(("RBC", (0, 2, 3, 40))), "does not fit 64 x 48: VOC counts pixels from 1"),
        (voc(("RBC", (1, 0, 3, 40))), "does not fit"),
        (voc(("RBC", (1, 2, 3, 49))), "does not fit"),
        (voc(("RBC", ("1_0", 2, 30, 40))), "'1_0' as bndbox/xmin, expected a number"),
        (voc(GOOD, size=("inf", 48)), "the size inf x 48, expected whole numbers"),
        (voc(GOOD, size=(64.5, 48)), "the size 64.5 x 48"),
        (voc(GOOD, more="<difficult>perhaps</difficult>"), "'perhaps' as difficult, expected 0"),
        (voc(GOOD, more="<bndbox/>"), "an object 'RBC' with 2 boxes"),
        (voc(GOOD).replace(b"<size>", b"<size/><size>"), "None as size/width"),
        (voc().replace(b"<size>", b"<a>" * 20).replace(b"</size>", b"</a>" * 20), "16 deep"),
        (voc().replace(b"size", b"sizes"), "0 elements 'size'"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + voc(GOOD), "defines entities"),
        (('<!DOCTYPE a [<!ENTITY b "c">]>' + voc().decode()).encode("utf-16"), "defines entities"),
        (b'<?xml version="1.0" encoding="klingon"?>' + voc(GOOD), "not sound XML"),
        (voc(("RBC", ("nan", 2, 3, 40))), "does not fit"),
        (voc(("RBC", ("one", 2, 3, 4))), "'one' as bndbox/xmin, expected a number"),
        (voc(GOOD).replace(b"<ymax>40</ymax>", b""), "None as bndbox/ymax"),
        (voc(GOOD).replace(b"<width>64</width>", b""), "None as size/width"),
        (voc(GOOD).replace(b"<name>RBC</name>", b""), "an object None"),
    ],
)
def test_broken_annotations(folder, data, message):
    with pytest.raises(FormatError, match=message):
        read_voc(write(folder, data), CLASSES)


def picture(size=(64, 48), mode="RGB", form="PNG"):
    stream = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(("form", "keep"), [("PNG", 80), ("JPEG", 500), ("TIFF", 3000), ("BMP", 9)])
def test_pictures_cut_off(folder, form, keep):
    data = picture(form=form)
    path = write(folder, data, "whole.bin")
    assert read_picture(path, "RGB").shape == (48, 64, 3)
    assert read_picture(path, "L").shape == (48, 64)
    with pytest.raises(FormatError, match="not a whole picture"):
        read_picture(write(folder, data[:keep], "half.bin"), "RGB")


def test_a_picture_that_says_it_is_huge_is_refused_before_it_takes_the_memory(folder):
    data = bytearray(picture(form="BMP"))
    data[18:26] = struct.pack("<ii", 9_000, 9_000)
    with pytest.raises(FormatError, match="9000 x 9000 pixels, which is more than a file"):
        read_picture(write(folder, bytes(data), "huge.bmp"), "RGB")
    white = io.BytesIO()
    Image.new("RGB", (1392, 1000), "white").save(white, "PNG")  # a small file, and true
    assert read_picture(write(folder, white.getvalue(), "white.png"), "RGB").min() == 255


def test_pictures_of_sixteen_bits_are_refused(folder):
    with pytest.raises(FormatError, match="has the mode I;16, expected 8 bits a channel"):
        read_picture(write(folder, picture(mode="I;16"), "deep.png"), "L")


def small_set(tmp_path, monkeypatch, change=None):
    files = {"bccd/BCCD/ImageSets/Main/val.txt": b"a\nb\n"}
    for stem in "ab":
        files[f"bccd/BCCD/JPEGImages/{stem}.jpg"] = picture(form="JPEG")
        files[f"bccd/BCCD/Annotations/{stem}.xml"] = voc(GOOD)
    files.update(change or {})
    monkeypatch.setitem(SETS, "bccd", DataSet("", "", "", ()))
    serve_from(tmp_path, monkeypatch, files)


def test_small_set(tmp_path, monkeypatch):
    color = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 90)).save(color, "JPEG", quality=95)
    change = {
        "bccd/BCCD/Annotations/b.xml": voc(("WBC", (9, 9, 9, 9))),
        "bccd/BCCD/JPEGImages/b.jpg": color.getvalue(),
    }
    small_set(tmp_path, monkeypatch, change)
    val = blood_cells("val")
    shade = val.images[1].float().mean((1, 2))
    torch.testing.assert_close(shade, torch.tensor([200.0, 30, 90]), atol=3, rtol=0)
    assert val.images.shape == (2, 3, 48, 64)
    assert [len(boxes) for boxes in val.boxes] == [1, 0]
    assert val.boxes[1].shape == (0, 4)
    assert val.labels[1].dtype == torch.int64
    assert val.boxes[0].tolist() == [[0, 1, 30, 40]]
    assert [one.tolist() for one in val.difficult] == [[False], []]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bccd/BCCD/ImageSets/Main/val.txt": b"a\nc\n"}, "no picture or no annotation of c"),
        ({"bccd/BCCD/Annotations/b.xml": voc(GOOD, size=(64, 50))}, r"says \(50, 64\)"),
        ({"bccd/BCCD/JPEGImages/b.jpg": picture((32, 48), form="JPEG")}, r"has \(48, 32\) pixels"),
        ({"bccd/BCCD/JPEGImages/b.jpg": b"<html>moved</html>"}, "not a whole picture"),
    ],
)
def test_sets_that_do_not_fit_together(tmp_path, monkeypatch, change, message):
    small_set(tmp_path, monkeypatch, change)
    with pytest.raises(FormatError, match=message):
        blood_cells("val")


def test_missing_picture_names_the_way_out(tmp_path, monkeypatch):
    small_set(tmp_path, monkeypatch)
    (tmp_path / "bccd/BCCD/JPEGImages/b.jpg").unlink()
    with pytest.raises(DataError, match=r"bccd/BCCD/JPEGImages/b.jpg is not on this machine"):
        blood_cells("val")


def test_unknown_split():
    with pytest.raises(ValueError, match="split is 'test', but has to be 'train' or 'val'"):
        blood_cells("test")
