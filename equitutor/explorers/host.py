"""One JavaScript module and its numbers as HTML that needs neither a kernel nor a network."""

import base64
import hashlib
import io
import json
import math
import re
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from equitutor.files import replacing

MAX_BYTES = 1_000_000
PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 56rem; padding: 1rem; font-family: system-ui, sans-serif; }
body > h1 { font-size: 1.3rem; }
"""
# Nothing in a page that was mailed may call home, whatever its module tries.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "worker-src blob:"
)


def source(name: str) -> str:
    """Returns the text of a file in `equitutor/explorers/js`.

    >>> source("nn.js").startswith("// Forward pass")
    True
    """
    return files("equitutor.explorers").joinpath("js", name).read_text(encoding="utf-8")


def png_uri(picture, **options) -> str:
    """Returns a picture as the data address of a PNG, to stand in a page.

    Args:
        picture: figure of matplotlib, or image of Pillow.
        options: what its writer takes, such as `dpi` of a figure.

    >>> from PIL import Image
    >>> png_uri(Image.new("L", (1, 1)))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    file = io.BytesIO()
    write = picture.save if hasattr(picture, "save") else picture.savefig
    write(file, format="png", **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def pack(value, key: str = "data"):
    """Returns `value` as JSON can carry it; arrays become base64 of little-endian float32.

    Args:
        value: dicts with str keys, lists, tuples, str, bool, int, float, None, NumPy arrays.
        key: what errors call the value.

    Raises:
        ValueError: a number is NaN or infinite; the message says under which key.
        TypeError: a value is of another type.

    >>> pack({"bias": np.ones(2)})
    {'bias': {'float32': 'AACAPwAAgD8='}}
    """
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{key} has the key {name!r}; need str")
        return {name: pack(item, f"{key}[{name!r}]") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [pack(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        numbers = np.ascontiguousarray(value, dtype="<f4")
        if not np.isfinite(numbers).all():
            raise ValueError(f"{key} holds NaN, infinity or more than float32; need finite numbers")
        return {"float32": base64.b64encode(numbers.tobytes()).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} is {value}; need a finite number")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{key} is a {type(value).__name__}; need plain values or a NumPy array")


class Explorer:
    """An interactive figure: shows itself in Jupyter, Colab and the static book, or as a file.

    Args:
        module: JavaScript source of one ES module without imports. It defines
            `function mount(root, data, onChange)`, which fills the element `root` and returns
            `{ get, set }` for its state, a plain object; it calls `onChange` after each change.
            In `data`, arrays have become Float32Array.
        data: what `mount` gets; see `pack`.
        title: one line; heading of the page and accessible name of the figure.
        fallback: picture for readers without JavaScript, inline `<svg …>` or a `data:` address.
        alt: what that picture shows, in words.
        style: CSS. Every class in it should begin with `et-`.
        height: px kept free until the module runs, so that the page does not jump.
        worker: JavaScript source for what takes long; it defines `function answerer(data)`, which
            returns a function from a question to its answer. In the module it is `makeAnswers`,
            for `employ` of js/host.js.

    Raises:
        ValueError: a number in `data` is not finite, `alt` or `title` is empty, a part names a
            network address, or the whole is larger than 1 MB.

    >>> square = '<svg viewBox="0 0 1 1"></svg>'
    >>> text = "function mount(root, data) { root.textContent = data.word; }"
    >>> explorer = Explorer(text, {"word": "hello"}, "Greeting", fallback=square, alt="A square")
    >>> "hello" in explorer.to_html()
    True
    """

    def __init__(
        self,
        module: str,
        data: dict,
        title: str,
        *,
        fallback: str,
        alt: str,
        style: str = "",
        height: int = 400,
        worker: str = "",
    ):
        for name, value in (("title", title), ("alt", alt)):
            if not value.strip():
                raise ValueError(f"{name} must be a text, got {value!r}")
        if not fallback.startswith(("<svg", "data:image/")):
            raise ValueError(f"fallback must be <svg…> or data:image/…, got {fallback[:40]!r}")
        if worker:
            worker = re.sub(r"^export ", "", worker, flags=re.MULTILINE)
            module += f"\nfunction makeAnswers(data) {{\n{worker}\nreturn answerer(data);\n}}"
        self.module, self.title, self.style = module, title, source("kit.css") + style
        self.fallback, self.alt, self.height = fallback, alt, height
        self.payload = json.dumps(pack(data), allow_nan=False, separators=(",", ":"))
        html = self.to_html()
        address = re.search(r"https?://\S{0,60}", html)
        if address:
            raise ValueError(
                f"the explorer must not name a network address, found {address.group()!r}"
            )
        size = len(html.encode())
        if size > MAX_BYTES:
            raise ValueError(f"the explorer takes {size} bytes; need at most {MAX_BYTES}")

    def _repr_html_(self) -> str:
        # No id anywhere: a notebook may show the same explorer twice, and ids made by two kernels
        # may meet on one page. The script takes the first root of its kind that nobody has taken.
        kind = hashlib.sha256((self.module + self.payload + self.title).encode()).hexdigest()[:16]
        picture = self.fallback
        if picture.startswith("data:"):
            picture = f'<img src="{escape(picture)}" alt="{escape(self.alt)}" style="width:100%">'
        else:
            picture = f'<div role="img" aria-label="{escape(self.alt)}">{picture}</div>'
        payload = re.sub("[<>&]", lambda c: f"\\u{ord(c.group()):04x}", self.payload)
        script = f"{source('host.js')}\n{self.module}\nstart({kind!r}, mount);"
        script = re.sub("</(script)", r"<\\/\1", script, flags=re.IGNORECASE)
        script = script.replace("<!--", r"\x3c!--")
        style = self.style.replace("</", r"<\/")
        return (
            f'<div class="et-explorer" data-et-kind="{kind}" role="group" '
            f'aria-label="{escape(self.title)}">\n'
            f"<style>{style}</style>\n"
            f'<div class="et-root" style="min-height:{int(self.height)}px">{picture}</div>\n'
            f'<script type="application/json" class="et-data">{payload}</script>\n'
            f'<script type="module">\n{script}\n</script>\n</div>'
        )

    def to_html(self) -> str:
        """Returns a complete page with this explorer alone, fit to be mailed or opened from disk.

        Its security policy forbids every request to a network.
        """
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{PAGE_STYLE}</style>\n</head>\n"
            f"<body>\n<h1>{escape(self.title)}</h1>\n{self._repr_html_()}\n</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Returns `path` after writing the page of `to_html` to it, whole or not at all."""
        with replacing(path) as file:
            file.write(self.to_html().encode())
        return Path(path)

    def widget(self):
        """Returns an anywidget of the same module, for a notebook with a live kernel.

        Its trait `state` follows what the reader does, and setting it moves the explorer.

        Raises ImportError where anywidget is not installed.
        """
        try:
            import anywidget
            import traitlets
        except ImportError as error:
            raise ImportError(
                "Explorer.widget needs anywidget (pip install anywidget); without it, show the "
                "explorer itself: it works as HTML"
            ) from error

        class ExplorerWidget(anywidget.AnyWidget):
            _esm = f"{source('host.js')}\n{self.module}\nexport default widget(mount);"
            _css = self.style
            payload = traitlets.Unicode(self.payload).tag(sync=True)
            state = traitlets.Dict().tag(sync=True)

        return ExplorerWidget()
