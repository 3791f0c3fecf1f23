"""Tables of a rendered page: heads for rows, numbers that align, verdicts that one sees."""

from __future__ import annotations

import re
from html import escape, unescape

# What a study may find, and the sign beside it: a verdict is never told by color alone.
VERDICTS = {
    "holds": ("yes", "✓"),
    "holds in part": ("part", "◐"),
    "does not hold": ("no", "✗"),
    "undecided": ("open", "?"),
    "not tested": ("open", "–"),
}
_TABLE = re.compile(r"<table\b([^>]*)>(.*?)</table>", re.DOTALL)
_ROW = re.compile(r"<tr\b([^>]*)>(.*?)</tr>", re.DOTALL)
_CELL = re.compile(r"<(t[dh])\b([^>]*)>(.*?)</\1>", re.DOTALL)
_HEADING = re.compile(r"<h[1-6]>(.*?)<a class=\"headerlink\"", re.DOTALL)
_NUMBER = re.compile(r"[−-]?[\d.,]+(?:e[−-]?\d+)?(?: ?(?:%|±.*|dB|s|px|°))?")


def plain(html: str) -> str:
    """Returns the words of a piece of HTML.

    >>> plain("<p>1 &lt; <b>2</b></p>")
    '1 < 2'
    """
    return unescape(re.sub("<[^>]+>", "", html)).strip()


def with_minus(text: str) -> str:
    """Returns text whose negative numbers and exponents have a minus sign, where no line breaks.

    No line breaks before the number of runs either.

    >>> with_minus("<p>-3.2 and 3.81e-06, not 2-3 nor x-1</p>")
    '<p>−3.2 and 3.81e−06, not 2-3 nor x-1</p>'
    >>> with_minus("1.5 %, n = 3")
    '1.5 %, n\xa0=\xa03'
    """
    text = re.sub(r"\bn = (?=\d)", "n\xa0=\xa0", text)
    text = re.sub(r"(?<=\de)-(?=\d)", "−", text)
    return re.sub(r"(?<![\w.)\]-])-(?=\d)", "−", text)


def mended(page: str) -> str:
    """Returns a page whose tables have names, heads for their rows, and marked verdicts.

    Args:
        page: HTML of the page.

    >>> mended("<table><tr><td>b</td><td>-1</td></tr></table>")
    '<table><tr><th scope="row">b</th><td class="et-num">−1</td></tr></table>'
    """
    names = [(found.start(), plain(found[1])) for found in _HEADING.finditer(page)]

    def table(match: re.Match) -> str:
        attributes, body = match[1], match[2]
        if "et-" in attributes:
            return match[0]  # an explorer's own
        above = [name for place, name in names if place < match.start()]
        if above and "aria-label" not in attributes:
            attributes += f' aria-label="{escape(above[-1])}"'
        heads: list[str] = []

        def row(found: re.Match) -> str:
            cells = _CELL.findall(found[2])
            if cells and all(kind == "th" for kind, *_ in cells):
                if not heads:
                    heads.extend(plain(text) for *_, text in cells)
                return f"<tr{found[1]}>{''.join(_head(*cell[1:]) for cell in cells)}</tr>"
            made = "".join(_cell(k, *cell, heads) for k, cell in enumerate(cells))
            return f"<tr{found[1]}>{made}</tr>"

        body = _ROW.sub(row, body)
        if "verdict" in heads:
            attributes = re.sub('class="', 'class="et-claims ', attributes, count=1)
        return f"<table{attributes}>{body}</table>"

    return _TABLE.sub(table, page)


def _head(attributes: str, text: str) -> str:
    if not plain(text):
        return f"<td{attributes}>{text}</td>"  # a corner heads nothing
    scope = "" if "scope=" in attributes else ' scope="col"'
    return f"<th{attributes}{scope}>{text}</th>"


def _cell(k: int, kind: str, attributes: str, text: str, heads: list[str]) -> str:
    words = plain(text)
    text = re.sub(r"(?<=>)[^<]+|^[^<]+", lambda found: with_minus(found[0]), text)
    if words in VERDICTS:
        key, sign = VERDICTS[words]
        sign = f'<span aria-hidden="true">{sign}</span>'
        text = f'<span class="et-finding et-finding-{key}">{sign} {words}</span>'
    claims = "verdict" in heads
    if _NUMBER.fullmatch(words) and "class=" not in attributes and not claims:
        attributes += ' class="et-num"'
    if claims and k < len(heads):
        attributes += f' data-label="{escape(heads[k])}"'
    if k == 0 and words and not _NUMBER.fullmatch(words):
        kind = "th"
        attributes += "" if "scope=" in attributes else ' scope="row"'
    return f"<{kind}{attributes}>{text}</{kind}>"
