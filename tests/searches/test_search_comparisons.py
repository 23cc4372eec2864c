"""The comparison at the end of a search: the runs of all seeds of each training method."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.searches import comparisons
from wsol.searches.comparisons import compare_methods


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[[str, int], Path]:
    """Scores maps of noise as the run of a method and a seed."""

    def run(method: str, seed: int) -> Path:
        maps = np.random.default_rng([seed, *method.encode()]).random((6, 7, 7))
        out = tmp_path / "seeds" / f"{method}-{seed}" / "test"
        arguments = {"images": "12", "size": "32", "object_scale": "0.6"}
        wsol.score(maps=maps, raw=True, dataset="synthetic", dataset_args=arguments, limit=6, bootstrap=0, out=out)
        return out

    return run


@pytest.mark.slow
def test_methods_are_groups_of_seeds_and_a_comparison_of_other_runs_is_replaced(
    evaluate: Callable[[str, int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {method: [evaluate(method, seed) for seed in (1, 2)] for method in ("cam", "has")}
    folder = tmp_path / "comparisons" / "net"
    text = compare_methods(runs, folder)
    expected = wsol.compare(runs)
    written = pd.read_csv(folder / "metrics.csv")
    for name in ("value", "sd", "ci_low", "ci_high", "rank"):
        assert written[name].to_numpy() == pytest.approx(expected.metrics[name].to_numpy(float), nan_ok=True)
    assert written["seeds"].tolist() == [2] * len(written)
    assert text == (tmp_path / "comparisons" / "net.txt").read_text(encoding="utf-8")
    assert "percent ± sd [95 %], rank" in text
    assert f"written to {folder}" in text

    def fail(*given: object, **more: object) -> None:
        raise AssertionError("the same runs are compared again")

    with monkeypatch.context() as patch:
        patch.setattr(comparisons, "compare", fail)
        assert compare_methods(runs, folder) == text
    (tmp_path / "comparisons" / "net.txt").unlink()  # as after a kill
    assert compare_methods(runs, folder) == text

    runs["cam"][1] = evaluate("cam", 3)  # another trial is the best
    changed = compare_methods(runs, folder)
    assert changed != text
    assert pd.read_csv(folder / "seeds.csv")["folder"].str.contains("cam-3").any()
    assert changed == (tmp_path / "comparisons" / "net.txt").read_text(encoding="utf-8")


def test_runs_that_cannot_be_compared_are_a_sentence(evaluate: Callable[[str, int], Path], tmp_path: Path) -> None:
    run = evaluate("cam", 1)
    text = compare_methods({"cam": [run, run], "has": [evaluate("has", 1)]}, tmp_path / "comparisons" / "net")
    assert text.startswith("not compared: cam (")
    assert "have the same weights, which is no spread over seeds" in text
    assert not (tmp_path / "comparisons").exists()
