"""Grades a folder of submissions without Docker: a time limit for each, a table, a report for each.

    python -m tools.grade ARCHIVE FOLDER [--out GRADES] [--seconds 300] [--memory 4] [--jobs 1]

ARCHIVE is a session's ``autograder.zip`` or its folder ``autograder``. FOLDER holds one notebook,
or one zip with a notebook, for each student; the file's name is the name in the table.

GRADES gets ``grades.csv`` and a report for each student. Of a hidden check this report tells only
whether it passed: next year's students would like to know more. ``details`` has all that was said.

This is no sandbox. A submission is a program, and it runs as you: it can read your files, use your
network, and write down any grade it likes. Grade strangers on a machine, or in an account, that
holds nothing else, for instance in a container without a network:

    docker run --rm --network none -v "$PWD":/course -w /course IMAGE python -m tools.grade ...
"""

import argparse
import ast
import csv
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from equitutor.chapters import BookError, write_text

WARNING = "This is no sandbox: submissions run as you, with your files and your network."


@dataclass
class Grade:
    """What one submission got.

    Attributes:
        name: file name of the submission, without ending.
        scores: question -> points.
        possible: question -> points that can be had.
        words: question -> what the checks said.
        note: why there is no result, or "".
    """

    name: str
    scores: dict[str, float] = field(default_factory=dict)
    possible: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def total(self) -> float:
        """The sum of all points."""
        return sum(self.scores.values())


def grade(archive: Path, submission: Path, seconds: float = 300, memory: float = 4) -> Grade:
    """Returns the grade of one submission, executed in a process of its own.

    Args:
        archive: the autograder, as a zip file.
        submission: a notebook, or a zip file with a notebook.
        seconds: time limit; after it the submission and all that it started are ended.
        memory: limit for the address space of each of its processes, in GB; 0 sets none.
    """
    made = Grade(submission.stem)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "otter", "run", "--no-logo", "-o", place]
        command += ["-a", str(archive.resolve()), str(submission.resolve())]
        with Path(place, "said").open("w+", encoding="utf-8") as said:
            run = subprocess.Popen(
                [sys.executable, "-c", _LIMITED, str(memory), *command],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=place,
            )  # fmt: skip
            try:
                code = run.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(run)
            said.seek(0)
            lines = [line.strip() for line in said.read().splitlines() if line.strip()]
        result = Path(place, "results.json")
        if code is None:
            made.note = f"no result after {seconds:g} s"
        elif code or not result.is_file():
            made.note = lines[-1] if lines else f"the run ended with code {code}"
        else:
            for test in json.loads(result.read_text(encoding="utf-8"))["tests"]:
                if "max_score" in test:
                    made.scores[test["name"]] = test.get("score", 0)
                    made.possible[test["name"]] = test["max_score"]
                    made.words[test["name"]] = test.get("output", "")
    return made


# Limits what follows on the command line, and becomes it.
_LIMITED = """
import os, sys
memory = float(sys.argv[1])
if memory:
    import resource
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory * 1e9),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def _end(run: subprocess.Popen) -> None:
    """End a process and all that it started; a kernel has a process group of its own."""
    if run.poll() is not None:
        return
    try:
        family = psutil.Process(run.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    run.kill()
    run.wait()
    psutil.wait_procs(family, timeout=10)


def as_zip(archive: Path, place: Path) -> Path:
    """Returns the autograder as a zip file, made in `place` when it is a folder.

    Raises:
        BookError: it is neither a zip file nor a folder of an autograder.
    """
    if archive.is_dir() and (archive / "otter_config.json").is_file():
        target = place / "autograder.zip"
        with zipfile.ZipFile(target, "w") as made:
            for path in sorted(p for p in archive.rglob("*") if p.is_file()):
                made.write(path, path.relative_to(archive))
        return target
    if not zipfile.is_zipfile(archive):
        raise BookError(f"{archive} is no autograder: give autograder.zip, or the folder beside it")
    return archive


def hidden_checks(archive: Path) -> set[str]:
    """Returns the names of the checks that students don't see, as Otter numbers them: "q2 - 3".

    Args:
        archive: the autograder, as a zip file.
    """
    found = set()
    with zipfile.ZipFile(archive) as content:
        for path in (n for n in content.namelist() if re.fullmatch(r"tests/\w+\.py", n)):
            body = ast.parse(content.read(path)).body
            checks = [part for part in body if isinstance(part, ast.FunctionDef)]
            for number, check in enumerate(checks, 1):
                words = {k.arg: ast.unparse(k.value) for k in check.decorator_list[0].keywords}
                if words.get("hidden") == "True":
                    found.add(f"{Path(path).stem} - {number}")
    return found


def table(grades: list[Grade]) -> str:
    """Returns the grades as CSV: file, total, one column a question, note.

    >>> print(table([Grade("ada", {"q1": 2.0}, {"q1": 3.0})]))
    file,total,q1,note
    ada,2.0,2.0,
    <BLANKLINE>
    """
    questions = sorted({question for made in grades for question in made.possible})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "total", *questions, "note"])
    for made in grades:
        points = [made.scores.get(question, 0) for question in questions]
        writer.writerow([made.name, made.total, *points, made.note])
    return out.getvalue()


def report(made: Grade, hidden: Set[str] = frozenset()) -> str:
    """Returns a report in Markdown: points and what each check said.

    Args:
        made: the grade of a submission.
        hidden: checks of which it tells only whether they passed, as `hidden_checks` names them.
    """
    if made.note:
        return (
            f"# {made.name}: no result\n\nYour notebook could not be graded: {made.note}. "
            "Restart the kernel, run all cells from the top, and see where it stops.\n"
        )
    parts = [f"# {made.name}: {made.total:g} of {sum(made.possible.values()):g} points"]
    for question, possible in made.possible.items():
        words = _closed(made.words[question].strip(), hidden)
        parts.append(f"## {question}: {made.scores[question]:g} of {possible:g}\n\n{_block(words)}")
    parts.append("Questions in words are graded by hand and are not in this sum.")
    return "\n\n".join(parts) + "\n"


def _closed(words: str, hidden: Set[str]) -> str:
    """Returns what checks said, of hidden ones only whether they passed."""
    # What a check or an answer says is indented further, so it can't begin a part.
    parts = re.split(r"(?m)^ {4}(?=\S+ - \d+ (?:message|result):)", words)
    for k, part in enumerate(parts):
        head = re.match(r"(\S+ - \d+) (message|result):\s*(\S)", part)
        if head and head[1] in hidden:
            verdict = "passed" if head[3] == "✅" else "failed"
            parts[k] = f"{head[1]} (hidden): {verdict}\n\n" if head[2] == "result" else None
    return "    ".join(part for part in parts if part is not None)


def _block(words: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in words.splitlines())


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status of the command: 0 all graded, 1 some without result, 2 impossible."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog=WARNING)
    parser.add_argument("archive", type=Path, help="autograder.zip of a session, or the folder")
    parser.add_argument("folder", type=Path, help="the notebooks that were handed in")
    parser.add_argument("--out", type=Path, default=Path("grades"), help="default: grades")
    parser.add_argument("--seconds", type=float, default=300, help="limit for each (300)")
    parser.add_argument("--memory", type=float, default=4, help="GB for each process (4); 0: any")
    parser.add_argument("--jobs", type=int, default=1, help="how many at the same time (1)")
    options = parser.parse_args(argv)
    print(WARNING, file=sys.stderr)
    found = [p for p in sorted(options.folder.glob("*")) if p.suffix in (".ipynb", ".zip")]
    grades = []
    try:
        if not found:
            raise BookError(f"{options.folder} holds no notebook")
        with tempfile.TemporaryDirectory() as place:
            archive = as_zip(options.archive, Path(place))
            # Before there are threads: Python 3.11.7 fails where two of them parse (gh-106905).
            hidden = hidden_checks(archive)

            def judged(submission: Path) -> Grade:
                return grade(archive, submission, options.seconds, options.memory)

            with ThreadPoolExecutor(options.jobs) as workers:
                for made in workers.map(judged, found):
                    grades.append(made)
                    write_text(options.out / f"{made.name}.md", report(made, hidden))
                    write_text(options.out / f"details/{made.name}.md", report(made))
                    write_text(options.out / "grades.csv", table(grades))
                    print(f"{made.name}: {made.note or format(made.total, 'g')}", flush=True)
    except BookError as error:
        print(f"grade: {error}", file=sys.stderr)
        return 2
    print(f"Table and reports: {options.out}")
    return int(any(made.note for made in grades))


if __name__ == "__main__":
    sys.exit(main())
