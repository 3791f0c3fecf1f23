"""Links the words of the glossary from the text: the first mention on a page shows its meaning."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import NamedTuple

# Entries whose words have everyday meanings, too: a link at each page's first "order" would lie.
EVERYDAY = {
    "action", "aggregate", "anchor", "announced", "candidate", "closed", "compact", "degree",
    "deviation", "dual", "element", "eye", "frequency", "gain", "gate", "generator", "identity",
    "inverse", "kept", "message", "meter", "order", "parity", "radial", "rank", "realized", "scan",
    "score", "shift", "spread", "strength", "study", "token", "transformation", "type", "velocity",
    "weight",
}  # fmt: skip
_ENTRY = re.compile(r'<dt id="(term-[^"]+)">(.*?)<a class="headerlink".*?</dt>\s*(?=<d)', re.DOTALL)
_MEANING = re.compile(r"<dd><p>(.*?)</p>", re.DOTALL)
_PARAGRAPH = re.compile(r'(?<!<td>)(?<!head">)<p>(.*?)</p>', re.DOTALL)  # none of a table
# What no link may stand in: other links, code, formulas, words that are set off.
_WHOLE = re.compile(
    r"<(a|code|pre|script|style|strong|button|svg)\b.*?</\1>"
    r'|<(span|div) class="math.*?</\2>|<[^>]+>',
    re.DOTALL,
)


class Term(NamedTuple):
    """A word of the glossary: its anchor there, and its meaning as HTML."""

    anchor: str
    meaning: str


def glossary(page: str) -> dict[str, Term]:
    """Returns the entries that the text may be linked to, by their words in lower case.

    Args:
        page: HTML of the glossary.

    >>> glossary('<dt id="term-Orbit">Orbit<a class="headerlink"></a></dt><dd><p>All g x.</p></dd>')
    {'orbit': Term(anchor='term-Orbit', meaning='All g x.')}
    """
    found = {}
    for entry in _ENTRY.finditer(page):
        words = unescape(re.sub("<[^>]+>", "", entry[2])).strip()
        meaning = _MEANING.search(page, entry.end())
        if meaning is None or words.lower() in EVERYDAY or "(" in words:
            continue
        text = re.sub(r"\s*From <a\b.*", "", meaning[1], flags=re.DOTALL)  # where it comes from
        found[words.lower()] = Term(entry[1], re.sub(r"</?a\b[^>]*>", "", text))
    return found


def linked(page: str, terms: dict[str, Term], address: str) -> str:
    """Returns a page whose first mention of each term, in running text, is a link to the glossary.

    The link carries the meaning, which book.js shows on hover and focus.

    Args:
        page: HTML of the page.
        terms: as `glossary` returns them.
        address: of the glossary, as the page sees it.

    >>> terms = {"orbit": Term("term-Orbit", "All g x.")}
    >>> print(linked("<article><p>An orbit, or orbits.</p></article>", terms, "g.html")[12:-10])
    An <a class="et-term" href="g.html#term-Orbit" data-tip="All g x.">orbit</a>, or orbits.</p>
    """
    begin, end = page.find("<article"), page.find("</article>")
    if not terms or begin < 0:
        return page
    words = "|".join(map(re.escape, sorted(terms, key=len, reverse=True)))
    mention = re.compile(rf"(?<![\w-])({words})(s?)(?![\w-]| theory)", re.IGNORECASE)
    used = set()

    def link(match: re.Match) -> str:
        key = match[1].lower()
        if key in used:
            return match[0]
        used.add(key)
        term = terms[key]
        return (
            f'<a class="et-term" href="{address}#{term.anchor}" '
            f'data-tip="{escape(term.meaning)}">{match[0]}</a>'
        )

    def paragraph(match: re.Match) -> str:
        text, at, parts = match[1], 0, []
        for whole in _WHOLE.finditer(text):
            parts += [mention.sub(link, text[at : whole.start()]), whole[0]]
            at = whole.end()
        return f"<p>{''.join(parts)}{mention.sub(link, text[at:])}</p>"

    return page[:begin] + _PARAGRAPH.sub(paragraph, page[begin:end]) + page[end:]
