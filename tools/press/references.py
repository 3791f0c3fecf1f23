"""The list of references: the label of each entry is what the text cites it by.

A Sphinx extension (see ``_config.yml``); it registers the bibliography style ``author-year``.
"""

from __future__ import annotations

from typing import Any

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style import FormattedEntry
from pybtex.style.formatting.plain import Style


def cited_as(entry: Entry) -> Text:
    """Returns how the text cites an entry: last names and year, made by the same templates.

    Args:
        entry: one entry of a BibTeX file, with authors and a year.

    Raises:
        ValueError: the entry has no author or no year.

    >>> from pybtex.database import parse_string
    >>> text = "@misc{a, author = {Cohen, Taco and van Gemert, Jan}, year = {2016}}"
    >>> str(cited_as(parse_string(text, "bibtex").entries["a"]))
    'Cohen and van Gemert, 2016'
    """
    if not entry.persons.get("author") or "year" not in entry.fields:
        raise ValueError(f"{entry.key}: a reference is cited by author and year, one is missing")
    # Here, because Sphinx changes the filters of warnings when it is imported.
    from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle
    from sphinxcontrib.bibtex.style.template import join, year

    style = AuthorYearReferenceStyle()
    names = style.person.author_or_editor_or_title(full=False)
    template = join(sep=style.author_year_sep)[names, year]
    return template.format_data({"entry": entry, "style": style})


class AuthorYear(Style):
    """The plain style, sorted by author and year, with labels such as Cohen and Welling, 2016."""

    def format_entry(self, label: str, entry: Entry, bib_data: Any = None) -> FormattedEntry:
        """Returns the formatted entry; the arguments are those of pybtex."""
        made = super().format_entry(label, entry, bib_data)
        return FormattedEntry(made.key, made.text, str(cited_as(entry)))


def setup(app: Any) -> dict[str, bool]:
    """Returns what Sphinx wants to know of an extension, and registers the style.

    Args:
        app: the Sphinx application; not used.
    """
    register_plugin("pybtex.style.formatting", "author-year", AuthorYear, force=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
