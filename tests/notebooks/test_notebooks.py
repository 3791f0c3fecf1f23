"""Every chapter of ``_toc.yml`` runs from top to bottom in the fast profile, under nbmake."""

import nbformat
import pytest
from conftest import ROOT
from nbmake.nb_run import NotebookRun

from equitutor.chapters import chapters


@pytest.mark.parametrize("notebook", chapters(ROOT).values(), ids=lambda path: path.stem)
def test_chapter_runs(notebook, monkeypatch):
    monkeypatch.setenv("EQUITUTOR_PROFILE", "fast")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    error = NotebookRun(notebook, default_timeout=900).execute().error
    if error is not None:
        pytest.fail(f"cell {error.failing_cell_index}: {error.trace}")


def test_a_failing_chapter_fails(tmp_path):
    notebook = tmp_path / "broken.ipynb"
    cells = [nbformat.v4.new_code_cell("assert 1 == 2, 'one is not two'")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    error = NotebookRun(notebook, default_timeout=60).execute().error
    assert error is not None
    assert "one is not two" in error.trace
