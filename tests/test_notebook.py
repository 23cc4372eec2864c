"""Tests of the tutorial: it runs without data, network or warnings, and its stored outputs are up to date."""

import re
from pathlib import Path
from typing import Any

import pytest

import wsol

pytestmark = pytest.mark.slow

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

PATH = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def read_notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def output_texts(cell: Any) -> list[str]:
    return [output.data["text/plain"] for output in cell.outputs]


def test_it_is_committed_with_small_outputs() -> None:
    notebook = read_notebook()
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert len(cells) > 10
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum("image/jpeg" in output.data for output in outputs) >= 4
    assert not any("image/png" in output.data for output in outputs)
    assert PATH.stat().st_size < 300_000


def test_it_runs_and_gives_the_outputs_that_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no server: a download would fail
    notebook = read_notebook()
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream"] == []  # warnings are streams
    assert sum("image/png" in output.data for output in outputs) >= 4
    texts = "\n".join(output.data["text/plain"] for output in outputs)
    assert f"|wsol:{wsol.__version__}" in texts
    assert "my-cam:power=0.5" in texts
    for expected in ("gt_known_loc_acc", "pxap", "center-gaussian", "exact:levels=256", "(2, 3, 7, 7)"):
        assert expected in texts
    for cell, stored in zip(code_cells(notebook), code_cells(read_notebook()), strict=True):
        for text, stored_text in zip(output_texts(cell), output_texts(stored), strict=True):
            assert NUMBER.sub("#", text).split() == NUMBER.sub("#", stored_text).split(), cell.source
            values, stored_values = (list(map(float, NUMBER.findall(each))) for each in (text, stored_text))
            assert values == pytest.approx(stored_values, rel=0.01, abs=0.01), cell.source  # on another machine
    assert not [*tmp_path.iterdir()]  # it writes only to the temporary folder that it creates
