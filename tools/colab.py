"""Copies of the notebooks as Colab shows them: `colab/`, one for each notebook of the book.

    python -m tools.colab            write all copies
    python -m tools.colab --check    name those that differ from their source, and fail

Colab reads plain Markdown. What MyST adds (citations, roles, directives, captions in a cell's
metadata, private macros of formulas, folded code) is put into words, links and folds it knows.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from equitutor.chapters import chapters, find_root, page_name, pages, read_yaml, write_text
from tools.press.address import address, pages_url
from tools.press.references import cited_as

FENCE = re.compile(r"^(:{3,}|`{3,})\{([\w:-]+)\}[ \t]*(.*?)[ \t]*$")
ROLE = re.compile(r"\{([\w:-]+)\}`([^`]+)`")
NAMED = re.compile(r"^(.*?)\s*<([^<>]+)>$", re.DOTALL)
OPTION = re.compile(r"^:(\w[\w-]*):[ \t]*(.*)$")
FOLDED = {"hide-input", "remove-input", "hide-cell", "remove-cell", "exercise"}
COLAB = "https://colab.research.google.com/github"


@dataclass
class Book:
    """What a copy needs to know of the whole book: addresses, references, labels of all pages."""

    root: Path
    url: str
    cited: Mapping[str, tuple[str, str, str]]  # key -> authors, year, address or ""
    titles: Mapping[str, str]  # name of a page -> its first heading
    labels: Mapping[str, tuple[str, str]]  # label -> name of its page, what it stands at
    macros: Mapping[str, tuple[str, int]]  # name -> body, number of arguments

    def link(self, name: str) -> str:
        """Returns the address of a page: a notebook opens in Colab, any other page on GitHub."""
        if (self.root / f"book/{name}.ipynb").is_file():
            return f"{COLAB}/{self.url.removeprefix('https://github.com/')}/blob/main/colab/{name}.ipynb"
        return f"{self.url}/blob/main/book/{name}.md"


def read_book(root: Path) -> Book:
    """Returns what the copies need to know of the book in a folder.

    Args:
        root: folder of the book.
    """
    labels: dict[str, tuple[str, str]] = {}
    titles = {}
    for page in pages(root):
        name, texts = page_name(root, page), _markdown(page)
        titles[name] = re.search(r"^# (.*)$", "\n".join(texts), re.MULTILINE)[1]
        labels |= {label: (name, what) for label, what in _labels(texts).items()}
    config = read_yaml(root / "_config.yml")
    declared = config["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    macros = {
        name: (body, 0) if isinstance(body, str) else (body[0], body[1])
        for name, body in declared.items()
    }
    return Book(root, address(root), _references(root, config), titles, labels, macros)


def copy_for_colab(node: NotebookNode, name: str, book: Book) -> NotebookNode:
    """Returns a notebook as Colab is to show it.

    Args:
        node: a notebook of the book; not changed.
        name: its name, as in ``book/<name>.ipynb``.
        book: the book around it.

    Raises:
        ValueError: a role, a directive or a label is not known, or a fence is never closed.
    """
    page = _Page(name, book, _labels([c.source for c in node.cells if c.cell_type == "markdown"]))
    cells = []
    for cell in node.cells:
        make = page.text if cell.cell_type == "markdown" else page.code
        cells += make(cell)
    if page.solution:
        raise ValueError(f"{name}: the solution of {page.solution} has no end")
    made = nbformat.v4.new_notebook(cells=cells, metadata=dict(node.metadata))
    made.metadata |= {"accelerator": "GPU", "colab": {"provenance": [], "toc_visible": True}}
    return made


@dataclass
class _Page:
    """One notebook on its way: what is counted, and whether a solution is open."""

    name: str
    book: Book
    own: Mapping[str, str]  # label -> "Exercise 2"
    figures: int = 0
    solution: str = ""
    seen: Counter = field(default_factory=Counter)

    def text(self, cell: NotebookNode) -> list[NotebookNode]:
        """Returns the cells for one cell of Markdown: none where nothing is left to say."""
        home = f"[Read this page as a book]({self._home()})"
        source, here = re.subn(rf"\[[^\]]*\]\({COLAB}/[^)]*\)", home, cell.source)
        source = source.replace("<!-- badge -->", "" if here else f"{home}.")
        made = self._blocks(source.strip().split("\n"))
        return [nbformat.v4.new_markdown_cell(made, id=cell.id)] if made else []

    def code(self, cell: NotebookNode) -> list[NotebookNode]:
        """Returns the cell of code, folded where the book folds it, and its caption below."""
        tags = set(cell.metadata.get("tags", []))
        figure = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")
        caption = " ".join(self._inline(figure).split())
        new = nbformat.v4.new_code_cell(cell.source, id=cell.id)
        cells = [new]
        if caption:
            self.figures += 1
            below = f"*Figure {self.figures}.* {caption}"
            cells.append(nbformat.v4.new_markdown_cell(below, id=f"{cell.id}-caption"))
        if self.solution:
            title = f"Solution of {self.solution}"
        elif tags & FOLDED:
            first = re.split(r"(?<=[.:?])\s", caption)[0].rstrip(".:")
            title = f"Figure {self.figures}: {_plain(first)}" if caption else _does(cell)
        else:
            return cells
        new.source = f"# @title {title}\n{cell.source}"
        new.metadata["cellView"] = "form"
        return cells

    def _home(self) -> str:
        return f"{pages_url(self.book.url)}book/{self.name}.html"

    def _blocks(self, lines: list[str]) -> str:
        """Returns lines of MyST as plain Markdown."""
        parts, plain, place = [], [], 0
        while place < len(lines):
            opened = FENCE.match(lines[place])
            if not opened:
                plain.append(lines[place])
                place += 1
                continue
            parts.append(self._folded(self._inline("\n".join(plain))))
            fence, kind, title = opened.groups()
            try:
                end = next(k for k in range(place + 1, len(lines)) if lines[k].strip() == fence)
            except StopIteration:
                raise ValueError(f"{self.name}: {{{kind}}} is never closed") from None
            body = lines[place + 1 : end]
            while body and OPTION.match(body[0]):
                body.pop(0)
            parts.append(self._directive(kind, title, body))
            plain, place = [], end + 1
        parts.append(self._folded(self._inline("\n".join(plain))))
        return re.sub(r"\n{3,}", "\n\n", "\n\n".join(part for part in parts if part))

    def _folded(self, text: str) -> str:
        """Returns text that stands in a solution as something to open."""
        text = text.strip()
        if not (self.solution and text):
            return text
        head = f"<summary>Solution of {self.solution}, in words</summary>"
        return f"<details>{head}\n\n{text}\n\n</details>"

    def _directive(self, kind: str, title: str, body: list[str]) -> str:
        if kind == "solution-start":
            self.solution = self.own[title]
            return ""
        if kind == "solution-end":
            self.solution = ""
            return ""
        if kind == "admonition":
            text = f"**{self._inline(title)}**\n\n{self._blocks(body)}"
            return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))
        if kind == "exercise":
            self.seen[kind] += 1
            return f"### Exercise {self.seen[kind]}. {self._inline(title)}\n\n{self._blocks(body)}"
        if kind == "prf:proof":
            return f"*Proof.* {self._blocks(body)} ∎"
        if kind.startswith("prf:"):
            self.seen[kind] += 1
            word = kind.removeprefix("prf:").capitalize()
            named = f" ({self._inline(title)})" if title else ""
            return f"**{word} {self.seen[kind]}{named}.** {self._blocks(body)}"
        raise ValueError(f"{self.name}: the directive {{{kind}}} has no plain form")

    def _inline(self, text: str) -> str:
        for name, (body, arguments) in self.book.macros.items():
            text = _expanded(text, name, body, arguments)
        return ROLE.sub(self._role, text)

    def _role(self, found: re.Match) -> str:
        kind, content = found.groups()
        if kind in ("cite:p", "cite:t"):
            keys = [key.strip() for key in content.split(",")]
            links = [self._citation(key, in_text=kind == "cite:t") for key in keys]
            return ", ".join(links) if kind == "cite:t" else f"({'; '.join(links)})"
        named = NAMED.match(content)
        text, target = named.groups() if named else ("", content)
        if kind == "doc":
            page = _resolved(self.name, target)
            return f"[{text or self.book.titles[page]}]({self.book.link(page)})"
        if kind in ("ref", "numref", "prf:ref"):
            if target in self.own:
                return text or self.own[target]
            if target not in self.book.labels:
                raise ValueError(f"{self.name}: the label {target!r} stands on no page")
            page, what = self.book.labels[target]
            return f"[{text or what}]({self.book.link(page)})"
        raise ValueError(f"{self.name}: the role {{{kind}}} has no plain form")

    def _citation(self, key: str, in_text: bool) -> str:
        if key not in self.book.cited:
            raise ValueError(f"{self.name}: references.bib has no entry {key!r}")
        names, year, place = self.book.cited[key]
        words = f"{names} ({year})" if in_text else f"{names}, {year}"
        return f"[{words}]({place})" if place else words


def _markdown(page: Path) -> list[str]:
    if page.suffix == ".md":
        return [page.read_text(encoding="utf-8")]
    cells = nbformat.read(page, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


def _labels(texts: list[str]) -> dict[str, str]:
    """Returns what each label stands at: "Exercise 2", "Theorem 1", or the words of a heading."""
    found, seen, waiting = {}, Counter(), ""
    for line in "\n".join(texts).split("\n"):
        opened = FENCE.match(line)
        if opened and (opened[2] == "exercise" or opened[2].startswith("prf:")):
            seen[opened[2]] += 1
            waiting = f"{opened[2].removeprefix('prf:').capitalize()} {seen[opened[2]]}"
        elif (option := OPTION.match(line)) and option[1] == "label":
            found[option[2]] = waiting
        elif target := re.match(r"^\(([\w-]+)\)=$", line):
            found[target[1]] = ""
        elif line.startswith("#"):
            for label in [label for label, what in found.items() if not what]:
                found[label] = line.lstrip("# ")
    return found


def _references(root: Path, config: dict) -> dict[str, tuple[str, str, str]]:
    from pybtex.database import parse_file

    found = {}
    for file in config["bibtex_bibfiles"]:
        for key, entry in parse_file(str(root / file)).entries.items():
            names, year = str(cited_as(entry)).rsplit(", ", 1)
            found[key] = names, year, _place(entry.fields)
    return found


def _place(fields: Mapping[str, str]) -> str:
    """Returns where a reference can be read, from its DOI, its address or its arXiv number."""
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if "url" in fields:
        return fields["url"]
    number = re.search(r"arXiv:(\d{4}\.\d{4,5})", " ".join(fields.values()))
    eprint = fields.get("eprint") or (number[1] if number else "")
    return f"https://arxiv.org/abs/{eprint}" if eprint else ""


def _resolved(name: str, target: str) -> str:
    """Returns the name of a page that a page names, such as "../nero" from "evidence/nero"."""
    parts = [] if target.startswith("/") else name.split("/")[:-1]
    for part in target.strip("/").split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _expanded(text: str, name: str, body: str, arguments: int) -> str:
    r"""Returns text with a macro of formulas written out.

    >>> _expanded(r"$\SO{3}$ and $\SO2$", "SO", r"{\mathrm{SO}(#1)}", 1)
    '${\\mathrm{SO}(3)}$ and ${\\mathrm{SO}(2)}$'
    """
    argument = r"\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|(\w))"

    def write(found: re.Match) -> str:
        given = [a or b for a, b in zip(found.groups()[::2], found.groups()[1::2], strict=True)]
        made = body
        for number, value in enumerate(given, 1):
            made = made.replace(f"#{number}", value)
        return made

    return re.sub(rf"\\{name}(?![A-Za-z]){argument * arguments}", write, text)


def _plain(text: str) -> str:
    """Returns Markdown as the words of a form's title, without links, stars and dollars."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"[*`$\\]", "", text)


def _does(cell: NotebookNode) -> str:
    """Returns what a folded cell without a caption does."""
    if "google.colab" in cell.source:
        return "Setup: run this first"
    return cell.id.replace("-", " ").replace("_", " ").capitalize()


def write_copies(root: Path, write: Callable[[Path, str], object]) -> None:
    """Hand the path and the text of each copy to `write`.

    Args:
        root: folder of the book.
        write: what to do with a copy.
    """
    book = read_book(root)
    for name, source in chapters(root).items():
        made = copy_for_colab(nbformat.read(source, as_version=4), name, book)
        write(root / f"colab/{name}.ipynb", nbformat.writes(made) + "\n")


def differing(root: Path) -> list[str]:
    """Returns the names of the copies that are not what their source makes, or are too many.

    Args:
        root: folder of the book.
    """
    made: dict[Path, str] = {}
    write_copies(root, made.__setitem__)
    there = set((root / "colab").rglob("*.ipynb"))
    wrong = [p for p in made if p not in there or p.read_text(encoding="utf-8") != made[p]]
    return sorted(str(p.relative_to(root)) for p in {*wrong, *(there - set(made))})


def main() -> int:
    """Returns the exit status of the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    check = parser.parse_args().check
    root = find_root()
    if check:
        wrong = differing(root)
        print(*wrong, sep="\n", end="\n" if wrong else "")
        return bool(wrong)
    for stale in set((root / "colab").rglob("*.ipynb")):
        stale.unlink()
    write_copies(root, partial(write_text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
