"""The one public address of the book: read, checked and changed in every place that repeats it.

It stands in ``_config.yml`` as ``repository.url``. Colab setup cells, the README, the citation and
the package's metadata repeat it. Where the rendered pages stand follows from it (GitHub Pages).
"""

from __future__ import annotations

import re
from pathlib import Path

from equitutor.chapters import BookError, chapters, read_yaml, write_text

_FORM = re.compile(r"https://github\.com/([\w-]+/[\w.-]+)")
_INSTALL = re.compile(r"git\+(https://[^\s\"'\\#@]+)")
_COLAB = re.compile(r"colab\.research\.google\.com/github/([\w-]+/[\w.-]+)")
_REPEATED_IN = ("README.md", "CITATION.cff", "pyproject.toml")


def address(root: Path) -> str:
    """Returns the public address, as ``_config.yml`` has it.

    Args:
        root: folder of the book.

    Raises:
        BookError: there is none, or it is no address of a GitHub repository.
    """
    url = (read_yaml(root / "_config.yml").get("repository") or {}).get("url")
    return _checked(url, "repository.url in _config.yml")


def _checked(url: object, name: str) -> str:
    """Returns ``url`` when it is the bare address of a GitHub repository (Colab opens no other)."""
    if not isinstance(url, str) or not _FORM.fullmatch(url) or url.endswith(".git"):
        raise BookError(f"{name} is {url!r}; it must look like https://github.com/owner/repository")
    return url


def pages_url(url: str) -> str:
    """Returns where GitHub Pages shows the book of a repository.

    Args:
        url: the public address.

    >>> pages_url("https://github.com/owner/book")
    'https://owner.github.io/book/'
    """
    owner, name = _FORM.fullmatch(url)[1].split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def disagreements(root: Path) -> list[str]:
    """Returns one sentence for each place that does not repeat the public address; none is well.

    Args:
        root: folder of the book.
    """
    url = address(root)
    slug = _FORM.fullmatch(url)[1]
    found = []
    base = (read_yaml(root / "_config.yml").get("html") or {}).get("baseurl")
    if base not in (None, pages_url(url)):
        found.append(f"html.baseurl in _config.yml is {base}, not {pages_url(url)}")
    for path in [*(root / name for name in _REPEATED_IN), *chapters(root).values()]:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root)
        if not re.search(re.escape(url) + r"(?![\w-])", text):
            found.append(f"{name} does not name {url}")
        for other in sorted(set(_INSTALL.findall(text)) - {url}):
            found.append(f"{name} installs from {other}, not from {url}")
        for other in sorted(set(_COLAB.findall(text)) - {slug}):
            found.append(f"{name} opens {other} on Colab, not {slug}")
    return found


def set_address(root: Path, new: str) -> list[Path]:
    """Rewrite the public address everywhere; return the files that changed.

    Args:
        root: folder of the book.
        new: the address, ``https://github.com/owner/repository``.

    Raises:
        BookError: ``new`` is no address of a GitHub repository.
    """
    new_slug = _FORM.fullmatch(_checked(new, "the new address"))[1]
    old = address(root)
    old_slug = _FORM.fullmatch(old)[1]
    changed = []
    # _config.yml comes last: after an interruption the same command begins anew and finishes.
    for path in [
        *(root / name for name in _REPEATED_IN),
        *sorted((root / "book").glob("*.md")),
        *chapters(root).values(),
        *sorted((root / "colab").rglob("*.ipynb")),
        root / "_config.yml",
    ]:
        text = path.read_text(encoding="utf-8")
        fresh = re.sub(re.escape(old) + r"(?![\w-])", new, text)
        fresh = fresh.replace(pages_url(old), pages_url(new))
        fresh = fresh.replace(
            f"prefix: /{old_slug.split('/')[1]}/", f"prefix: /{new_slug.split('/')[1]}/"
        )
        fresh = re.sub(
            rf"(colab\.research\.google\.com/github/){re.escape(old_slug)}(?![\w-])",
            rf"\g<1>{new_slug}",
            fresh,
        )
        if fresh != text:
            write_text(path, fresh)
            changed.append(path)
    return changed
