"""Every chapter of ``_toc.yml`` runs from top to bottom in the fast profile, under nbmake.

A run that passes goes into the cache of the build: the browser tests and `make book` render it.
So these tests run first, as a step of their own in the Makefile.
"""

import contextlib
import time

import nbformat
import psutil
import pytest
from conftest import ROOT
from nbmake.nb_run import NotebookRun

from equitutor.chapters import chapters
from tools.press import executed
from tools.press.execution import Execution, PeakMemory


def kernel_pid():
    """Return the process id of the kernel that this process has started, or None."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may have ended by now
            if any("ipykernel" in word for word in process.cmdline()):
                return process.pid
    return None


@pytest.mark.parametrize("name", chapters(ROOT))
def test_chapter_runs(name, monkeypatch):
    notebook = chapters(ROOT)[name]
    monkeypatch.setenv("EQUITUTOR_PROFILE", executed.PROFILE)
    monkeypatch.setenv("EQUITUTOR_STATIC", "1")  # what the pages show
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    key = executed.cache_key(ROOT, notebook)
    memory, started = PeakMemory(kernel_pid), time.monotonic()
    memory.start()
    done = NotebookRun(notebook, default_timeout=executed.CELL_TIMEOUT).execute()
    memory.stop()
    if done.error is not None:
        pytest.fail(f"cell {done.error.failing_cell_index}: {done.error.trace}")
    ran = Execution(done.nb, time.monotonic() - started, memory.peak_mb)
    executed.keep(ROOT, name, key, ran)  # refuses a cell that warns
    assert executed.is_fresh(ROOT, name, notebook)


def test_a_failing_chapter_fails(tmp_path):
    notebook = tmp_path / "broken.ipynb"
    cells = [nbformat.v4.new_code_cell("assert 1 == 2, 'one is not two'")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    error = NotebookRun(notebook, default_timeout=60).execute().error
    assert error is not None
    assert "one is not two" in error.trace
