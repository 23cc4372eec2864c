"""Tests of runs without intervals: everything else is that of a run with them."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

import wsol
from wsol.datasets import Dataset, load_dataset
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.suite import read_suite
from wsol.metrics import bootstrap
from wsol.models import Model
from wsol.reports.terminal import format_run
from wsol.runs.read import Evaluation, read_run

TABLES = ("metrics", "classes", "errors", "baselines", "groups")


@pytest.fixture(scope="module")
def images() -> Dataset:
    return load_dataset("synthetic").limit(6)


@pytest.fixture
def no_resampling() -> Iterator[None]:
    """Any resampling is an error."""
    with pytest.MonkeyPatch.context() as patch:
        forbid_resampling(patch)
        yield


def forbid_resampling(patch: pytest.MonkeyPatch) -> None:
    for name in ("draw_counts", "_sum_exactly", "_class_weights", "find_group_quantiles"):
        patch.setattr(bootstrap, name, None)  # a call would fail


def ends(table: pd.DataFrame) -> list[str]:
    return [name for name in table if name.endswith(("_low", "_high")) or name in ("interval", "optimism")]


@pytest.mark.slow
def test_only_the_intervals_are_missing(
    synthetic_model: Model, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = wsol.evaluate(synthetic_model, dataset=images, out=tmp_path / "full")
    with monkeypatch.context() as patch:
        forbid_resampling(patch)
        plain = wsol.evaluate(synthetic_model, dataset=images, out=tmp_path / "plain", bootstrap=0)
    assert plain.signature == full.signature
    for name in TABLES:
        one, two = getattr(full.tables, name), getattr(plain.tables, name)
        assert list(one) == list(two)
        pd.testing.assert_frame_equal(one.drop(columns=ends(one)), two.drop(columns=ends(two)), check_exact=True)
        assert two[ends(two)].isna().all(axis=None)
        assert one[ends(one)].notna().any(axis=None)
    pd.testing.assert_frame_equal(full.predictions, plain.predictions, check_exact=True)
    assert (full.tables.has_intervals, plain.tables.has_intervals) == (True, False)
    _check_what_is_shown(plain, tmp_path / "plain")
    assert "percent [95 %] @tau" in format_run(full, tmp_path)


def _check_what_is_shown(plain: Evaluation, folder: Path) -> None:
    for text in (format_run(plain, folder), repr(plain)):
        assert "percent @tau" in text or "MaxBoxAccV2: " in text
        assert "nan" not in text
        assert "optimism" not in text
        assert "[" not in text.replace(plain.signature, "")
    page = (folder / "report.html").read_text(encoding="utf-8")
    shown = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.S)
    assert "top-1 localization error" in shown
    assert not re.search(r"\bnan\b|95 %|optimism", shown)


@pytest.mark.slow
def test_a_run_without_them_is_verified_and_scored_again(
    synthetic_model: Model, images: Dataset, tmp_path: Path
) -> None:
    wsol.evaluate(synthetic_model, dataset=images, out=tmp_path / "a" / "plain", bootstrap=0)
    wsol.leaderboard(tmp_path / "a", out=tmp_path / "board", validate=True)
    assert "nan" not in (tmp_path / "board" / "leaderboard.md").read_text(encoding="utf-8").lower()
    again = wsol.score(run=tmp_path / "a" / "plain")
    assert again.tables.has_intervals
    assert not wsol.score(run=tmp_path / "a" / "plain", bootstrap=0).tables.has_intervals
    assert not read_run(tmp_path / "a" / "plain").tables.has_intervals


@pytest.mark.slow
def test_tau_of_a_validation_split(synthetic_model: Model, images: Dataset, tmp_path: Path, no_resampling) -> None:
    held_out = load_dataset("synthetic", split="val").limit(4)
    run = wsol.evaluate(
        synthetic_model, dataset=images, validation=held_out, tau="val", bootstrap=0, out=tmp_path / "run"
    )
    assert set(run.metrics["tau_rule"].dropna()) == {"fixed", "val", "oracle"}
    assert not read_run(tmp_path / "run").validation.tables.has_intervals


@pytest.mark.slow
def test_a_finished_run_without_them_is_not_taken_for_one_with(
    synthetic_model: Model, images: Dataset, tmp_path: Path
) -> None:
    arguments = {"dataset": images, "out": tmp_path / "run"}
    wsol.evaluate(synthetic_model, **arguments, bootstrap=0)
    assert not wsol.evaluate(synthetic_model, **arguments, bootstrap=0, resume=True).tables.has_intervals
    with pytest.raises(InputError, match="holds this run without intervals; give --no-intervals"):
        wsol.evaluate(synthetic_model, **arguments, resume=True)
    assert wsol.evaluate(synthetic_model, **arguments).tables.has_intervals
    assert wsol.evaluate(synthetic_model, **arguments, bootstrap=0, resume=True).tables.has_intervals


@pytest.mark.parametrize("bootstrap", [1, 500, 10_000, -1, True])
def test_other_numbers_of_resamples_are_refused(bootstrap: int) -> None:
    for call in (EvalConfig, lambda **more: wsol.score(baseline="center-box", dataset="synthetic", **more)):
        with pytest.raises(InputError, match=f"bootstrap is {bootstrap}; give 1000, the resamples of every run, or 0"):
            call(bootstrap=bootstrap)


def test_a_suite_may_leave_them_out(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text("bootstrap = 0\n")
    assert read_suite(tmp_path / "suite.toml")[0].options == {"bootstrap": 0}
    (tmp_path / "suite.toml").write_text("bootstrap = false\n")
    with pytest.raises(InputError, match="bootstrap is False; give an integer"):
        read_suite(tmp_path / "suite.toml")


@pytest.mark.parametrize(
    ("command", "given"),
    [pytest.param("eval", [], marks=pytest.mark.slow), ("score", ["--baseline", "center-box"])],
)
def test_the_command_takes_them_off(command: str, given: list[str], tmp_path: Path, capsys, no_resampling) -> None:
    given += ["--model", "vgg16-gap"] if command == "eval" else ["--dataset", "synthetic"]
    call = [*given, "--limit", "2", "--no-intervals", "--out", str(tmp_path / "run")]
    assert import_module(f"wsol.{command}").main(call) == 0
    assert "percent @tau" in capsys.readouterr().out
