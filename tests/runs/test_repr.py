"""The short form of a result in a notebook or at a prompt."""

from pathlib import Path

import pytest

import wsol
from wsol.models import Model
from wsol.runs.read import Evaluation, read_run

_MAX_LINES = 12


@pytest.fixture
def runs(tmp_path: Path, synthetic_model: Model) -> tuple[Evaluation, Evaluation]:
    wsol.score(baseline="center-box", dataset="synthetic", limit=6, out=tmp_path / "center")
    evaluated = wsol.evaluate(synthetic_model, limit=6, tau="oracle", device="cpu", out=tmp_path / "network")
    return evaluated, wsol.score(baseline="full-image", dataset="synthetic", limit=6, out=tmp_path / "full")


@pytest.mark.slow
def test_an_evaluation(runs: tuple[Evaluation, Evaluation]) -> None:
    evaluated, baseline = runs
    lines = repr(evaluated).splitlines()
    assert lines[:2] == ["Evaluation of 6 images", f"  {evaluated.signature}"]
    assert len(lines) <= _MAX_LINES
    table = evaluated.metrics.set_index(["metric", "tau_rule"])
    oracle = table.loc[("gt_known_loc_acc", "oracle")]
    (line,) = (line for line in lines if line.startswith("  GT-known accuracy: "))
    assert line.startswith(f"  GT-known accuracy: {oracle['value']:.3f} % [")
    assert line.endswith(f"] at tau {oracle['tau']:.3f} (oracle)")  # the run's own rule, not fixed
    error = evaluated.metrics[evaluated.metrics["metric"] == "top1_cls_err"]["value"].item()
    assert any(line.startswith(f"  top-1 classification error: {error:.3f} %") for line in lines)
    assert not any("classification" in line or "top-1" in line for line in repr(baseline).splitlines())
    assert len(repr(evaluated.tables).splitlines()) == 7


@pytest.mark.slow
def test_a_comparison_a_leaderboard_and_a_run(runs: tuple[Evaluation, Evaluation], tmp_path: Path) -> None:
    comparison = wsol.compare([tmp_path / "center", tmp_path / "full"])
    lines = repr(comparison).splitlines()
    assert lines[:2] == ["Comparison of 2 runs on 6 images", f"  {comparison.signature}"]
    table = comparison.metrics.query("metric == 'gt_known_loc_acc' and tau_rule == 'fixed'").set_index("run")
    for line, name in zip(lines[2:4], ("center", "full"), strict=True):
        assert line == f"  {name}: GT-known accuracy {table.loc[name, 'value']:.3f} %"
    assert lines[4:] == [f"  note: {note}" for note in comparison.notes]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{}")
    board = wsol.leaderboard(tmp_path)
    assert repr(board).splitlines() == [f"Leaderboard of {board.summary}", f"  left out: {board.left_out[0]}"]
    assert len(repr(read_run(tmp_path / "center"))) < 300


def test_a_model(synthetic_model: Model) -> None:
    assert len(repr(synthetic_model)) < 400
    assert "tiny" in repr(synthetic_model)
