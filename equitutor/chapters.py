"""Which pages and chapters the book has: ``_toc.yml`` is the one list, read here.

>>> from equitutor.chapters import book_file
>>> book_file("results/no-such-chapter.json") is None
True
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

from equitutor.files import replacing


class BookError(Exception):
    """One clear sentence for the person at the terminal; the command exits with code 2."""


def find_root(start: Path | None = None) -> Path:
    """Returns the folder of the book: the nearest one upwards that holds ``_toc.yml``.

    Args:
        start: folder to begin at; default the working directory, then this package's own folder.

    Raises:
        BookError: there is none.
    """
    package = Path(__file__).resolve().parent
    for begin in [start.resolve()] if start else [Path.cwd(), package]:
        for folder in (begin, *begin.parents):
            if (folder / "_toc.yml").is_file() and (folder / "_config.yml").is_file():
                return folder
    raise BookError(
        f"no book at {start or Path.cwd()}: run this inside a clone of the repository, "
        "where _config.yml and _toc.yml are"
    )


def read_yaml(path: Path) -> dict:
    """Returns the mapping in a YAML file.

    Raises:
        BookError: the file is no YAML mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BookError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise BookError(f"{path} must hold a mapping, it holds {type(content).__name__}")
    return content


def pages(root: Path) -> list[Path]:
    """Returns the source file of each page, in the order of ``_toc.yml``.

    Args:
        root: folder of the book.

    Raises:
        BookError: ``_toc.yml`` names a page that does not exist.
    """
    toc = read_yaml(root / "_toc.yml")
    names = [toc["root"], *_files(toc)]
    found = []
    for name in names:
        path = next((p for s in (".ipynb", ".md") if (p := root / f"{name}{s}").is_file()), None)
        if path is None:
            raise BookError(f"_toc.yml names {name}, but there is no {name}.ipynb or {name}.md")
        found.append(path)
    return found


def _files(node: object) -> list[str]:
    """Returns the values of all ``file`` keys below a node of ``_toc.yml``, in order."""
    if isinstance(node, list):
        return [name for item in node for name in _files(item)]
    if isinstance(node, dict):
        own = [node["file"]] if "file" in node else []
        return own + [name for value in node.values() for name in _files(value)]
    return []


def chapters(root: Path) -> dict[str, Path]:
    """Returns the notebooks of the book by name, such as "polyphase-vit", "evidence/nero".

    Args:
        root: folder of the book.

    Raises:
        BookError: ``_toc.yml`` names a page that does not exist.
    """
    return {page_name(root, page): page for page in pages(root) if page.suffix == ".ipynb"}


def page_name(root: Path, page: Path) -> str:
    """Returns the name of a page: its path below ``book/`` without ending.

    >>> page_name(Path("r"), Path("r/book/evidence/nero.ipynb"))
    'evidence/nero'
    """
    return page.relative_to(root / "book").with_suffix("").as_posix()


def book_file(name: str) -> Path | None:
    """Returns the path of a recorded file of the book, or None where it is not at hand.

    Args:
        name: path below `book/`, such as "results/x.jsonl" or "checkpoints/x.safetensors".

    Looks in the checkout, else among the files that come with an installed package.

    >>> book_file("results/no-such-chapter.json") is None
    True
    """
    try:
        folder = find_root() / "book"
    except BookError:
        folder = Path(sysconfig.get_path("data"), "share", "equitutor")
    return folder / name if (folder / name).exists() else None


def chapter(root: Path, name: str) -> Path:
    """Returns the notebook of one chapter.

    Args:
        root: folder of the book.
        name: name of the chapter, as in ``book/<name>.ipynb``.

    Raises:
        BookError: no such chapter; the sentence lists those there are.
    """
    known = chapters(root)
    if name not in known:
        raise BookError(f"no chapter {name!r}; the chapters are: {', '.join(known) or 'none yet'}")
    return known[name]


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically: a reader sees the old file or the new one whole.

    Args:
        path: file to write; its folder is made when missing.
        text: the content, written as UTF-8.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())
