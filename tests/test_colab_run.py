"""What would be lost on Colab is found: the faults that were seen there, planted."""

import nbformat
import pytest

from tools.colab_run import faults

PINS = {"numpy": "2.1.3"}
output = nbformat.v4.new_output


def stderr(text):
    return output("stream", name="stderr", text=text)


def shown(**data):
    return output("display_data", data={k.replace("_", "/"): v for k, v in data.items()})


def found(*outputs, captioned=False, after=PINS):
    cells = [nbformat.v4.new_code_cell("x", id="cell", outputs=list(outputs))]
    if captioned:
        cells.append(nbformat.v4.new_markdown_cell("*Figure 1.* It.", id="cell-caption"))
    return faults(nbformat.v4.new_notebook(cells=cells), PINS, after)


@pytest.mark.parametrize("wrong, named", [
    (found(output("error", ename="KeyError", evalue="'a'", traceback=[])), "KeyError"),
    # as nbclient sees an axis that fails while the figure of a cell is drawn: no error output
    (found(stderr("Error in callback <function flush_figures>:\nStopIteration: ")),
     "StopIteration"),
    (found(output("stream", name="stdout", text="Error in callback <function draw> (for\n")),
     "Error in callback"),
    (found(captioned=True), "without a picture"),
    (found(shown(text_plain="Figure"), captioned=True), "without a picture"),
    (found(shown(text_html='<script src="https://x.org/a.js">')), "another host"),
    (found(shown(text_html="<style>@import url(//x.org/a.css)</style>")), "another host"),
    (found(after={"numpy": "2.4.0", "e3nn": "0.6.0"}), "numpy 2.1.3 became 2.4.0"),
    (found(after={}), "numpy 2.1.3 became nothing"),
])  # fmt: skip
def test_a_planted_fault_is_named(wrong, named):
    assert len(wrong) == 1
    assert named in wrong[0]


@pytest.mark.parametrize("right", [
    found(), found(shown(image_png="aGk="), captioned=True), found(stderr("UserWarning: mind")),
    found(shown(text_html='<a href="#x">x</a><svg xmlns="http://www.w3.org/2000/svg">')),
    found(after=PINS | {"e3nn": "0.6.0"}),
])  # fmt: skip
def test_what_is_right_is_not_named(right):
    assert right == []
