"""What a lecturer wants to know before a session: which slides there are, and what makes wait."""

import re
from datetime import datetime

from nbformat import NotebookNode

LONG = 3  # seconds that a class notices


def appendix(executed: NotebookNode, slides: NotebookNode) -> str:
    """Returns Markdown that goes under the notes of a session.

    Args:
        executed: the executed notebook of the lesson, with the times of its cells.
        slides: the notebook of slides that was made from it.
    """
    lines = ["## Slides", ""]
    lines += [f"{number}. {title}" for number, title in enumerate(titles(slides), 1)]
    waits = [f"| {section} | {seconds:.0f} |" for section, seconds in long_sections(executed)]
    lines += ["", "## Where the notebook makes you wait", ""]
    if waits:
        lines += ["Seconds on the machine that made this file.", ""]
        lines += ["| Section | Seconds |", "|---|---|", *waits]
    else:
        lines.append(f"Nowhere: no section takes more than {LONG} seconds.")
    return "\n".join(lines) + "\n"


def titles(slides: NotebookNode) -> list[str]:
    """Returns the heading of each slide, or "(a figure)"."""
    found = []
    for cell in slides.cells:
        if cell.metadata["slideshow"]["slide_type"] == "slide":
            head = re.search(r"(?m)^#{1,3} (.*)", cell.source)
            found.append(head[1] if head else "(a figure)")
    return found


def long_sections(executed: NotebookNode) -> list[tuple[str, float]]:
    """Returns the sections whose cells take longer than `LONG` seconds together, in order."""
    section, taken = "", {}
    for cell in executed.cells:
        if cell.cell_type == "markdown":
            heads = re.findall(r"(?m)^#{1,3} (.*)", cell.source)
            section = heads[-1] if heads else section
        times = cell.metadata.get("execution", {})
        if times.get("iopub.execute_input") and times.get("shell.execute_reply"):
            begin, end = times["iopub.execute_input"], times["shell.execute_reply"]
            gap = datetime.fromisoformat(end) - datetime.fromisoformat(begin)
            taken[section] = taken.get(section, 0) + gap.total_seconds()
    return [(name, seconds) for name, seconds in taken.items() if seconds > LONG]
