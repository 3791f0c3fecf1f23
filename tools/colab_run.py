"""Runs the copies in `colab/` as Colab would: its packages, an empty folder, its own setup cell.

    python -m tools.colab_run                   every copy
    python -m tools.colab_run --rotate 2        two of them whole, others at each commit; and each
                                                different way to install that these do not take
    python -m tools.colab_run NAME ...          these
    python -m tools.colab_run --figures 1       one of them, others at each commit, in this
                                                environment, with what draws and shows on Colab

Makes an environment in `build/colab` from `tools/colab_pins.txt`, for Python 3.13 or 3.12 where
there is one. Anywhere else it says so and takes the pins but for PyTorch, which has to be the one
at hand.
The setup cell installs the package from its public address; git is told to look here instead, so
what runs is the last commit.

An environment takes minutes. With ``--figures`` only matplotlib and IPython are Colab's: what they
lose or refuse is found, and nothing is installed but them, in a folder of their own.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from equitutor.chapters import chapters, find_root
from tools.press.address import address
from tools.press.execution import PeakMemory

PINS = Path(__file__).with_name("colab_pins.txt")
# What draws figures and runs cells on Colab, and what these ask for and the book does not have.
SHOWING = ("anywidget", "ipykernel", "ipython", "ipywidgets", "matplotlib", "traitlets")
SHOWING_NEEDS = ("backcall", "decorator", "ipython_genutils", "pickleshare")
PICTURES = ("image/png", "image/svg+xml", "text/html", "application/vnd.jupyter.widget-view+json")
LOADED = re.compile(r"""(?:\bsrc=|<link[^>]*\bhref=|url\(|@import\s*)["'(]*(?:https?:)?//""")
STUB = '''"""Stands for Colab's own package: it is there before the first cell."""

import sys
import types

colab = types.ModuleType("google.colab")
colab.output = types.ModuleType("google.colab.output")
colab.output.enable_custom_widget_manager = lambda: None
google = sys.modules.setdefault("google", types.ModuleType("google"))
google.colab = colab
sys.modules |= {"google.colab": colab, "google.colab.output": colab.output}
'''


@dataclass(frozen=True)
class Run:
    """How one copy ran: what is wrong with it, wall time in seconds, peak memory in MB."""

    wrong: list[str]
    seconds: float
    peak_mb: float


def faults(node: NotebookNode, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each thing that a reader on Colab would meet and should not.

    Args:
        node: an executed copy.
        before, after: versions of the installed packages, before its first cell and after its last.
    """
    found = []
    for place, cell in enumerate(node.cells):
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"{cell.id}: {output.ename}: {output.evalue}")
            # A callback that fails after a cell raises nothing: it only writes, and loses figures.
            # IPython 7 writes so to stdout, later ones to stderr.
            elif output.output_type == "stream" and re.search(
                r"^(Error in callback|Traceback)", output.text, re.MULTILINE
            ):
                found.append(f"{cell.id}: {output.text.strip().splitlines()[-1]}")
            page = output.get("data", {}).get("text/html", "")
            if LOADED.search(page):
                found.append(f"{cell.id}: loads something from another host")
        following = node.cells[place + 1] if place + 1 < len(node.cells) else None
        captioned = following is not None and following.id == f"{cell.id}-caption"
        shown = {kind for output in cell.outputs for kind in output.get("data", {})}
        if captioned and shown.isdisjoint(PICTURES):
            found.append(f"{cell.id}: a caption without a picture")
    for package, version in before.items():
        if after.get(package) != version:
            found.append(f"{package} {version} became {after.get(package, 'nothing')}")
    return list(dict.fromkeys(found))  # each callback tells it once more


def environment(folder: Path, python: str, torch: str) -> Path:
    """Returns the interpreter of an environment with Colab's packages, made where it is missing.

    Args:
        folder: where it lies.
        python: interpreter to make it with.
        torch: requirement of PyTorch, such as "torch==2.11.0".
    """
    ready, made = folder / "ready", folder / "bin/python"
    pins = [line for line in PINS.read_text().splitlines() if line and line[0] != "#"]
    wanted = [torch, *(pin for pin in pins if not pin.startswith("torch"))]
    if ready.is_file() and ready.read_text() == "\n".join(wanted):
        return made
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    subprocess.run([made, "-m", "pip", "install", "--quiet", *wanted], check=True)
    ready.write_text("\n".join(wanted))
    return made


def showing(folder: Path) -> Path:
    """Returns a folder for PYTHONPATH with what draws and shows on Colab, filled where it is not.

    Args:
        folder: where it lies.
    """
    pins = PINS.read_text().splitlines()
    wanted = [pin for pin in pins if pin.split("==")[0] in SHOWING] + list(SHOWING_NEEDS)
    ready = folder / "ready"
    if not (ready.is_file() and ready.read_text() == "\n".join(wanted)):
        shutil.rmtree(folder, ignore_errors=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*install, str(folder), *wanted], check=True)
        ready.write_text("\n".join(wanted))
    return folder


def interpreter() -> str | None:
    """Returns a Python of Colab's version or the one before, or None; it is tried out."""
    for version in ("3.13", "3.12"):
        path = shutil.which(f"python{version}")
        tell = [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if path and subprocess.run(tell, capture_output=True, text=True).stdout.strip() == version:
            return path
    return None


def installs(copy: Path) -> str:
    """Returns the lines of a notebook that install something."""
    lines = "\n".join(cell.source for cell in nbformat.read(copy, as_version=4).cells).splitlines()
    return "\n".join(line.strip() for line in lines if "%pip install" in line)


def installed(python: Path) -> dict[str, str]:
    """Returns the version of each package of an environment.

    Args:
        python: its interpreter.
    """
    listed = subprocess.check_output([python, "-m", "pip", "list", "--format", "json"])
    return {row["name"]: row["version"] for row in json.loads(listed)}


def run(copy: Path, root: Path, python: Path, whole: bool = True, first: Path | None = None) -> Run:
    """Returns how one copy ran in an empty folder.

    Args:
        copy: the notebook.
        root: folder of the book: the setup cell installs from its last commit.
        python: interpreter of the environment.
        whole: run all cells, not only those up to the setup.
        first: folder as of `showing`: packages that come before those of the environment, in
            which nothing is installed then; None runs as on Colab.
    """
    node = nbformat.read(copy, as_version=4)
    if not whole:
        setup = next(k for k, c in enumerate(node.cells) if "google.colab" in c.source)
        node.cells = node.cells[: setup + 1]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "empty").mkdir()
        startup = place / "ipython/profile_default/startup"
        startup.mkdir(parents=True)
        if first is None:
            (startup / "00-colab.py").write_text(STUB)
        kernel = place / "jupyter/kernels/colab"
        kernel.mkdir(parents=True)
        start = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernel / "kernel.json").write_text(
            json.dumps({"argv": start, "display_name": "Colab", "language": "python"})
        )
        local = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{root.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": address(root),
            "IPYTHONDIR": str(place / "ipython"),
            "JUPYTER_PATH": str(place / "jupyter"),
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        }
        if first is not None:
            local["PYTHONPATH"] = os.pathsep.join([str(first), str(root)])
        before = {} if first else installed(python)
        os.environ |= local  # nbclient looks for the kernel in this process
        resources = {"metadata": {"path": place / "empty"}}
        client = NotebookClient(node, kernel_name="colab", timeout=1800, resources=resources)
        memory = PeakMemory(lambda: getattr(getattr(client.km, "provisioner", None), "pid", None))
        started = time.monotonic()
        memory.start()
        with suppress(CellExecutionError):  # the failed cell holds the error
            client.execute(env={**os.environ, "MPLBACKEND": ""})
        memory.stop()
        seconds = time.monotonic() - started
        found = faults(node, before, {} if first else installed(python))
        if first is None:  # the next copy begins where Colab begins
            subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "equitutor"], check=True)
        return Run(found, seconds, memory.peak_mb)


def _environment_of(root: Path, python: str | None) -> Path:
    """Returns the interpreter of Colab's environment, or of its stand-in where there is none."""
    if python is not None:
        return environment(root / "build/colab", python, _pin(PINS, "torch=="))
    torch = _pin(root / "constraints.txt", "torch==")
    print(f"no Python 3.13 or 3.12 here: {sys.executable} with {torch} and Colab's other pins")
    return environment(root / "build/colab-pins", sys.executable, torch)


def _pin(path: Path, start: str) -> str:
    return next(line for line in path.read_text().split() if line.startswith(start))


def main() -> int:
    """Returns the exit status of the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="copies to run, such as nero; default all")
    parser.add_argument("--rotate", type=int, help="run so many whole, others at each commit")
    parser.add_argument("--figures", type=int, help="run so many here, with Colab's matplotlib")
    parser.add_argument("--python", help="interpreter; default 3.13 or 3.12, where there is one")
    options = parser.parse_args()
    root = find_root()
    names = list(options.names or chapters(root))
    commits = int(subprocess.getoutput(f"git -C {root} rev-list --count HEAD"))
    turn = lambda count: [names[(commits * count + k) % len(names)] for k in range(count)]
    first, whole = None, names
    if options.figures is not None:
        ours, first = Path(sys.executable), showing(root / "build/colab-showing")
        names = whole = turn(options.figures)
    else:
        ours = _environment_of(root, options.python or interpreter())
        if options.rotate is not None:
            whole = turn(options.rotate)
            ways = {installs(root / f"colab/{name}.ipynb"): name for name in [*names, *whole]}
            names = [*whole, *(name for name in ways.values() if name not in whole)]
    failed = False
    for name in names:
        ran = run(root / f"colab/{name}.ipynb", root, ours, name in whole, first)
        failed |= bool(ran.wrong)
        extent = "whole" if name in whole else "setup"
        cost = f"{ran.seconds:.0f} s, {ran.peak_mb:.0f} MB"
        print(f"{name} ({extent}, {cost}):", "; ".join(ran.wrong) or "good", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
