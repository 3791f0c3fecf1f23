"""Figures of a page: drawings that follow light and dark, or sharp pictures where those are big."""

from __future__ import annotations

import re

import nbformat

from equitutor.figures import INK

LARGEST = 250_000  # bytes of a drawing; one with thousands of dots is smaller as a picture
_STYLE = (
    f"<style>svg{{--ink:{INK};--ground:#fff}}"
    "@media (prefers-color-scheme:dark){svg{--ink:#e8ebee;--ground:#121212}}"
    "image{image-rendering:pixelated}[id^=line2d] use,[id^=PathCollection] use{fill:var(--ink)}"
    "</style>"
)
_PAPER = re.compile(
    r'(<g id="(?:figure|axes)_\d+">\s*<g id="patch_\d+">\s*<path d="[^"]*" style="fill: )#ffffff'
)


def themed(svg: str) -> str:
    """Returns a drawing by Matplotlib without paper, whose ink is that of the page around it.

    An image on a page takes the color scheme of the page from its own `color-scheme` (book.css).
    Words that are black or white on purpose, as those on a map of colors, stay what they are.

    Args:
        svg: as the inline backend makes it, in the house style.

    >>> themed('<svg><metadata>1</metadata><path style="stroke: #000000"/></svg>')[-48:]
    '</style><path style="stroke: var(--ink)"/></svg>'
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg[^>]*>", lambda found: found[0] + _STYLE, svg, count=1)
    svg = _PAPER.sub(r"\1none", svg)
    svg = svg.replace(INK, "var(--ink)").replace(f"--ink:{'var(--ink)'}", f"--ink:{INK}")
    svg = svg.replace("stroke: #000000", "stroke: var(--ink)")
    return re.sub(
        r"(<(?:path|use)\b[^>]*?style=\"[^\"]*\")",
        lambda found: found[1].replace("#ffffff", "var(--ground)"),
        svg,
    )


def drawn(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Returns a cell, in place, each of whose figures has one format left, and its size.

    Args:
        cell: of code, with outputs a figure as SVG and PNG (`figures.use`), or as one of them.
    """
    for output in cell.outputs:
        data = output.get("data", {})
        svg = data.get("image/svg+xml")
        if svg is None:
            continue
        if len(svg) <= LARGEST:
            data["image/svg+xml"] = themed(svg)
            data.pop("image/png", None)
        elif "image/png" in data:
            del data["image/svg+xml"]
            width = output.get("metadata", {}).get("image/png", {}).get("width")
            if width:  # or it would be shown at twice its size
                told = cell.metadata.setdefault("mystnb", nbformat.NotebookNode())
                told.setdefault("image", nbformat.NotebookNode()).setdefault("width", f"{width}px")
    return cell
