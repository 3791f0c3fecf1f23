"""The explorers as files and as numbers; tests/site opens them in a browser."""

import builtins
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from conftest import missing, rounding

from equitutor.explorers import Explorer, hero_html, load_network, polyphase_explorer, save_network
from equitutor.explorers.host import MAX_BYTES, pack, source
from equitutor.explorers.networks import page_network
from equitutor.methods.polyphase import PolyViT, phase_scores

SQUARE = '<svg viewBox="0 0 1 1"></svg>'
MODULE = "function mount(root, data) { root.textContent = data.word; return {}; }"


def explorer(data=None, module=MODULE, **more):
    options = {"fallback": SQUARE, "alt": "A square", **more}
    return Explorer(module, data or {"word": "hello"}, options.pop("title", "Greeting"), **options)


def networks(size=8, **config):
    torch.manual_seed(0)
    config = {"dim": 16, "heads": 2, **config}
    return [PolyViT(size, poly=poly, **config).eval() for poly in (False, True)]


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.ids = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# ---------------------------------------------------------------- the host


def test_page_is_complete_and_closed():
    page = explorer().to_html()
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert not Tags(page).open
    assert "default-src 'none'" in page


def test_text_cannot_leave_its_element():
    nasty = '</script><!-- <script> <b>&"'
    text = explorer({"word": nasty}, module=f"const s = `{nasty}`;\n{MODULE}", title=nasty)
    page = text.to_html()
    assert page.lower().count("</script") == page.lower().count("<script type=") == 2
    assert "<!--" not in page and "<b>" not in page.split("<script type=")[0]
    payload = re.search(r'class="et-data">(.*?)</script>', page, re.DOTALL).group(1)
    assert json.loads(payload)["word"] == nasty
    assert not Tags(page).open


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), np.array([0.0, np.nan]), np.array(1e300)]
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_numbers_that_are_not_finite_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=r"data\['net'\]\[1\]"):
        explorer({"net": [0, bad]})


def test_other_types_are_refused():
    with pytest.raises(TypeError, match=r"data\['word'\] is a set"):
        explorer({"word": {1}})
    with pytest.raises(TypeError, match="the key 1"):
        explorer({1: "word"})


def test_arrays_travel_exactly():
    packed = pack(np.array([[1.5, -2.0]]))["float32"]
    import base64

    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == [1.5, -2.0]


def test_too_large_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=rf"takes 1\d{{6}} bytes; need at most {MAX_BYTES}"):
        explorer({"word": "a" * MAX_BYTES})


@pytest.mark.parametrize("part", ["module", "style", "fallback"])
def test_network_addresses_are_refused(part):
    address = "https://example.org/x.js"
    value = f'<svg data-x="{address}"></svg>' if part == "fallback" else f"/* {address} */ {MODULE}"
    with pytest.raises(ValueError, match=r"network address, found 'https://example\.org"):
        explorer(**{part: value})


@pytest.mark.parametrize("name", ["title", "alt"])
def test_words_are_required(name):
    with pytest.raises(ValueError, match=f"{name} must be a text"):
        explorer(**{name: " "})


def test_fallback_must_be_a_picture():
    with pytest.raises(ValueError, match="fallback must be"):
        explorer(fallback="picture.png")
    assert 'role="img" aria-label="A square"' in explorer().to_html()
    assert 'alt="A square"' in explorer(fallback="data:image/png;base64,AAAA").to_html()


def test_two_on_a_page_share_no_id():
    ids = Tags(explorer()._repr_html_() + explorer({"word": "you"})._repr_html_()).ids
    assert len(ids) == len(set(ids))


def test_save_is_whole_or_nothing(tmp_path, monkeypatch):
    path = explorer().save(tmp_path / "page.html")
    before = path.read_text()
    assert before == explorer().to_html()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        explorer({"word": "other"}).save(path)
    assert path.read_text() == before and [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_widget_carries_the_same_module():
    pytest.importorskip("anywidget")
    widget = explorer().widget()
    assert json.loads(widget.payload) == {"word": "hello"} and widget.state == {}
    assert MODULE in str(widget._esm)


def test_widget_without_anywidget_says_what_to_do(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "anywidget":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install anywidget"):
        explorer().widget()


# ---------------------------------------------------------------- checkpoints


def test_checkpoint_round_trip(tmp_path):
    config = {"size": 8, "dim": 16, "heads": 2, "poly": False}
    model = PolyViT(**config).eval()
    back = load_network(save_network(model, tmp_path / "net.safetensors", **config))
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(model(x), back(x)) and not back.training


def test_checkpoint_refuses_what_does_not_fit(tmp_path):
    model = PolyViT(8, dim=16)
    with pytest.raises(ValueError, match="does not rebuild"):
        save_network(model, tmp_path / "net", size=8, dim=24)
    with pytest.raises(ValueError, match=r"takes \d+ bytes .* at most 2000000"):
        save_network(PolyViT(8, dim=256), tmp_path / "net", size=8, dim=256)
    (tmp_path / "broken").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_network(tmp_path / "broken")
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / "nowhere")


# ---------------------------------------------------------------- the JavaScript networks

DRIVER = """
import { readFileSync } from "node:fs";
const { net, images, shape } = JSON.parse(readFileSync(0, "utf8"));
for (const k in net.weights) net.weights[k] = Float32Array.from(net.weights[k]);
const out = images.map((image) => {
  const logits = (kind) => [...vitForward(net.weights, net.config, kind.from(image))];
  const scores = [...phaseScores(Float32Array.from(image), net.config)];
  return [logits(Float64Array), logits(Float32Array), scores];
});
console.log(JSON.stringify(out));
"""


def in_node(model, x):
    """Returns what js/nn.js computes: logits in float64 and in float32, and phase scores."""
    node = shutil.which("node")
    if node is None:
        missing("needs Node.js to run js/nn.js")
    net = page_network(model, tuple(x.shape[-2:]))
    net["weights"] = {k: v.ravel().tolist() for k, v in net["weights"].items()}
    job = json.dumps({"net": net, "images": x.flatten(1).tolist()})
    code = source("nn.js") + DRIVER
    run = subprocess.run(
        [node, "--input-type=module", "--eval", code], input=job, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    parts = zip(*json.loads(run.stdout), strict=True)
    return [torch.tensor(part, dtype=torch.float64) for part in parts]


CASES = {
    "plain": dict(size=24, poly=False),
    "anchored": dict(size=24, poly=True),
    "anchor, absolute positions": dict(size=24, anchored=True, position="absolute"),
    "zero-padded positions": dict(size=24, position="zeros"),
    "no positions, power 4": dict(size=24, position="none", power=4),
    "rectangles in color": dict(
        size=(12, 16), patch=(3, 4), channels=3, dim=24, heads=3, classes=4
    ),
}


@pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
@torch.no_grad()
def test_page_computes_what_pytorch_computes(config):
    torch.manual_seed(1)
    model = PolyViT(**config).eval()
    for value in model.parameters():  # away from the zeros and ones of the initialization
        value += 0.1 * torch.randn_like(value)
    size = config["size"] if isinstance(config["size"], tuple) else (config["size"],) * 2
    x = torch.rand(20, config.get("channels", 1), *size)
    logits, coarse, scores = in_node(model, x)
    power = model.embed.order.power if model.embed.order else 2
    expected = phase_scores(x, model.embed.patch, power).flatten(1)
    torch.testing.assert_close(scores, expected, atol=0, rtol=rounding(torch.float32, 1))
    model, x = model.double(), x.double()
    torch.testing.assert_close(logits, model(x), atol=rounding(torch.float64, model), rtol=0)
    torch.testing.assert_close(coarse, logits, atol=rounding(torch.float32, model), rtol=0)
    assert (logits - model(x.roll(1, 3))).abs().max() > 1e-4 or model.embed.order  # has power


def test_page_refuses_networks_it_cannot_compute():
    for config, words in (({"pool": "cls"}, "class token"), ({"filtered": True}, "filtered")):
        with pytest.raises(ValueError, match=words):
            page_network(PolyViT(8, **config), (8, 8))
    with pytest.raises(TypeError, match="model must be a PolyViT"):
        page_network(torch.nn.Linear(2, 2), (8, 8))


# ---------------------------------------------------------------- the polyphase explorer


def test_polyphase_explorer_fits_and_is_reproducible():
    nets = [PolyViT(24, poly=poly) for poly in (False, True)]  # 41,000 parameters each
    x, y = torch.rand(12, 1, 24, 24), torch.arange(12) % 10
    one, two = (polyphase_explorer(*nets, x, y).to_html() for _ in range(2))
    assert one == two and len(one) < 700_000
    assert "right at" in one  # the fallback's text tells the result
    assert nets[0].training  # left as it was


BAD = {
    "shape": (lambda a: a.update(x=a["x"][0]), "x has shape"),
    "too many": (lambda a: a.update(x=torch.rand(13, 1, 8, 8)), "x has shape"),
    "range": (lambda a: a.update(x=a["x"] + 1), r"x must hold .* \[0, 1\]"),
    "nan": (lambda a: a.update(x=a["x"] * torch.nan), "x must hold"),
    "large": (lambda a: a.update(x=torch.rand(2, 1, 128, 128)), "at most 64 pixels"),
    "y": (lambda a: a.update(y=torch.tensor([1])), "y is"),
    "y float": (lambda a: a.update(y=torch.ones(2)), "y is"),
    "label": (lambda a: a.update(y=torch.tensor([1, 10])), "y holds classes"),
    "classes": (lambda a: a.update(classes=("a", "b")), "classes has 2 names"),
    "swapped": (lambda a: a.update(plain=a["anchored"]), "plain has an anchor"),
    "channels": (lambda a: a.update(x=torch.rand(2, 3, 8, 8)), "plain takes 1 channels"),
    "patch": (lambda a: a.update(plain=networks(patch=2)[0]), "plain has patches"),
    "logits": (lambda a: a.update(plain=networks(classes=3)[0]), "plain has 3 classes"),
}


@pytest.mark.parametrize("spoil, words", BAD.values(), ids=BAD.keys())
def test_polyphase_explorer_refuses(spoil, words):
    plain, anchored = networks()
    arguments = dict(plain=plain, anchored=anchored, x=torch.rand(2, 1, 8, 8))
    arguments["y"] = torch.tensor([1, 2])
    polyphase_explorer(**arguments)
    spoil(arguments)
    with pytest.raises(ValueError, match=words):
        polyphase_explorer(**arguments)


def test_hero_from_checkpoints(tmp_path):
    folder = tmp_path / "book" / "checkpoints"
    folder.mkdir(parents=True)
    assert hero_html(tmp_path) is None
    for name, poly in (("plain", False), ("anchored", True)):
        config = {"size": 40, "patch": 8, "dim": 16, "poly": poly}
        save_network(PolyViT(**config), folder / f"polyphase-vit-{name}.safetensors", **config)
    assert hero_html(tmp_path).startswith('<div class="et-explorer"')
