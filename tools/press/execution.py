"""Runs one notebook from top to bottom in a fresh kernel, watched and logged."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

_COLORS = re.compile(r"\x1b\[[0-9;]*m")


class ChapterFailed(Exception):
    """A cell failed, ran too long or warned; the message names the chapter, cell and cause."""


@dataclass(frozen=True)
class Execution:
    """An executed notebook, its wall time in seconds and its peak memory in MB."""

    notebook: nbformat.NotebookNode
    seconds: float
    peak_mb: float


def execute(
    notebook: Path,
    *,
    profile: str,
    log: Path,
    threads: int | None = 1,
    timeout: int | None = None,
    echo: bool = True,
    env: Mapping[str, str] | None = None,
    save: Path | None = None,
) -> Execution:
    """Returns the executed notebook with its time and peak memory.

    Args:
        notebook: the ``.ipynb`` file; its folder is the kernel's working directory.
        profile: "fast" or "full", handed to the kernel as ``EQUITUTOR_PROFILE``.
        log: file that receives everything the notebook prints.
        threads: value of ``OMP_NUM_THREADS``; None leaves the choice to PyTorch.
        timeout: seconds one cell may take; None for no limit.
        echo: also show on the terminal what the notebook prints.
        env: further environment variables of the kernel.
        save: file that receives the notebook after each cell.

    Raises:
        ChapterFailed: a cell failed, ran over its time, its kernel died, or it wrote a warning.
    """
    node = nbformat.read(notebook, as_version=4)
    kernel_env = {**os.environ, "EQUITUTOR_PROFILE": profile, **(env or {})}
    kernel_env["EQUITUTOR_STATIC"] = "1"  # figures for a page (`figures.use`)
    # Without it the debugger of each kernel prints a note about frozen modules.
    kernel_env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    if threads is not None:
        kernel_env["OMP_NUM_THREADS"] = str(threads)
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as stream:
        client = _Client(node, stream, echo, save, timeout, notebook.parent)
        try:
            client.execute(env=kernel_env)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            cause = _COLORS.sub("", str(error))
            stream.write(cause)
            raise ChapterFailed(f"{notebook.stem}: {client.where()} failed.\n{cause}") from error
        finally:
            client.memory.stop()
            client.keep()
    refuse_warnings(notebook.stem, node)
    return Execution(node, time.monotonic() - started, client.memory.peak_mb)


class _Client(NotebookClient):
    """A notebook client that shows progress, logs what is printed and samples memory."""

    def __init__(
        self,
        node: nbformat.NotebookNode,
        log: IO[str],
        echo: bool,
        save: Path | None,
        timeout: int | None,
        folder: Path,
    ):
        super().__init__(node, timeout=timeout, resources={"metadata": {"path": str(folder)}})
        # The kernel would warn about TCP without encryption, which is the usual way.
        self.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
        self.sink, self.echo, self.save_to = log, echo, save
        self.current = 0
        self.memory = PeakMemory(self._kernel_pid)
        self.on_notebook_start = self._begin
        self.on_cell_start = self._enter
        self.on_cell_executed = self._leave

    def _kernel_pid(self) -> int | None:
        return getattr(getattr(self.km, "provisioner", None), "pid", None)

    def _begin(self, **_: object) -> None:
        self.memory.start()

    def _enter(self, cell_index: int, **_: object) -> None:
        self.current = cell_index

    def _leave(self, **_: object) -> None:
        self.keep()

    def where(self) -> str:
        return f"cell {self.current + 1} of {len(self.nb.cells)}"

    def keep(self) -> None:
        """Save the notebook as it is now, when a place for it was given."""
        if self.save_to is not None:
            from equitutor.chapters import write_text

            write_text(self.save_to, nbformat.writes(self.nb))

    def output(self, outs, msg, display_id, cell_index):
        """Add an output to its cell, and pass printed text on as it comes."""
        if msg["msg_type"] == "stream":
            text = msg["content"]["text"]
            self.sink.write(text)
            self.sink.flush()
            if self.echo:
                sys.stderr.write(text)
                sys.stderr.flush()
        return super().output(outs, msg, display_id, cell_index)


class PeakMemory:
    """Samples the resident memory of a process and its children in a thread.

    Args:
        find_pid: returns the id of the process to watch, or None while there is none.
        every: seconds between two samples.
    """

    def __init__(self, find_pid: Callable[[], int | None], every: float = 0.1):
        self.peak_mb = 0.0
        self._find_pid, self._every = find_pid, every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling; ``peak_mb`` then holds the largest sum that was seen."""
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            pid = self._find_pid()
            if pid is not None:
                self.peak_mb = max(self.peak_mb, resident_mb(pid))
            self._done.wait(self._every)


def resident_mb(pid: int) -> float:
    """Returns the resident memory of a process and all its children in MB, 0 if it is gone.

    Args:
        pid: id of the process.
    """
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total / 1e6


def refuse_warnings(name: str, node: nbformat.NotebookNode) -> None:
    """Raise ChapterFailed when a cell wrote a warning; a cell tagged ``raises-exception`` may.

    Args:
        name: name of the chapter, for the message.
        node: the executed notebook.
    """
    for index, cell in enumerate(node.cells):
        if cell.cell_type != "code" or "raises-exception" in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                text = output.text
                if "Warning" in text:
                    raise ChapterFailed(
                        f"{name}: cell {index + 1} of {len(node.cells)} warns, and a page of the "
                        f"book does not.\n--- cell\n{cell.source}\n--- warning\n{text}"
                    )


def without_stderr(node: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Returns the notebook with its progress bars and other stderr text removed, in place.

    Args:
        node: an executed notebook.
    """
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output
                for output in cell.outputs
                if not (output.output_type == "stream" and output.name == "stderr")
            ]
    return node
