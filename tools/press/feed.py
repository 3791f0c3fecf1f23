"""The feed of the changelog: who subscribes to it reads what is new in the book."""

from __future__ import annotations

import hashlib
import re
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from equitutor.chapters import read_yaml, write_text

NAME = "changelog.xml"  # below the site


def feed(changelog: str, title: str, address: str) -> str:
    """Returns RSS 2.0 with an item for each entry of a changelog.

    Args:
        changelog: Markdown, with a heading for each version and a list of entries below it.
        title: of the book.
        address: public address of the book, ending in "/".

    >>> text = feed("# Changes\\n\\n## 1.0\\n\\n- `a` is gone. Take b.\\n", "Book", "https://a.org/")
    >>> item = ElementTree.fromstring(text).find("channel/item")
    >>> item.find("title").text, item.find("category").text
    ('a is gone', '1.0')
    """
    channel = ElementTree.Element("channel")
    rss = ElementTree.Element("rss", version="2.0")
    rss.append(channel)
    for tag, text in (("title", title), ("link", address), ("description", f"Changes of {title}")):
        ElementTree.SubElement(channel, tag).text = text
    for version, body in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", changelog, re.M | re.S):
        for entry in re.findall(r"^- (.+)", body, re.M):
            item = ElementTree.SubElement(channel, "item")
            words = re.split(r"(?<=\w)[.:;] ", entry.replace("`", ""), maxsplit=1)[0].rstrip(".")
            html = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(entry, quote=False))
            guid = hashlib.sha256(f"{version} {words}".encode()).hexdigest()[:16]
            for tag, text in (("title", words), ("description", html), ("category", version)):
                ElementTree.SubElement(item, tag).text = text
            ElementTree.SubElement(item, "guid", isPermaLink="false").text = guid
    ElementTree.indent(rss)
    return ElementTree.tostring(rss, encoding="unicode", xml_declaration=True) + "\n"


def write_feed(root: Path, site: Path) -> None:
    """Write the feed of a book into its site; a book without a changelog has none.

    Args:
        root: folder of the book.
        site: folder of the rendered pages.
    """
    changelog = root / "CHANGELOG.md"
    if changelog.is_file():
        config = read_yaml(root / "_config.yml")
        text = feed(changelog.read_text(), config["title"], config["html"]["baseurl"])
        write_text(site / NAME, text)
