"""The tutorial runs from top to bottom, without data, network or warnings."""

from pathlib import Path

import pytest

import wsol

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

PATH = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 10
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there: a download would fail
    notebook = nbformat.read(PATH, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream"] == []  # warnings come so
    shown = [output.data for output in outputs if "data" in output]
    texts = "\n".join(data["text/plain"] for data in shown)
    assert sum("image/png" in data for data in shown) >= 3
    assert f"|wsol:{wsol.__version__}" in texts
    assert "my-cam:power=0.5" in texts
    for part in ("gt_known_loc_acc", "pxap", "center-gaussian", "exact:levels=256", "(2, 3, 7, 7)"):
        assert part in texts
    assert not [*tmp_path.iterdir()]  # nothing is left where it ran
