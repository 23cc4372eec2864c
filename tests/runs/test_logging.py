"""Results as flat dicts, and the lines of docs/logging.md that log them."""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wsol.runs.read import Evaluation

PAGE = Path(__file__).parents[2] / "docs" / "logging.md"
SIGNATURE = "some-test#8:aa|net:1f|cam|exact:levels=6|tau:0.2|wsol:0.1.0"
COLUMNS = ["metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "n", "interval", "optimism"]
ROWS = [
    ["gt_known_loc_acc", "fixed", 0.2, 62.5, 40.0, 80.0, 8, "wilson", np.nan],
    ["gt_known_loc_acc", "oracle", 0.0, 75.0, np.nan, np.nan, 8, None, np.nan],  # without an interval
    ["max_box_acc_v2", "oracle", np.nan, 50.0, 30.0, 70.0, 8, "percentile", 2.5],  # a mean over several thresholds
    ["pxap", np.nan, np.nan, 12.5, 10.0, 15.0, 8, "percentile", np.nan],
    ["top1_cls_err", np.nan, np.nan, 10.0, 0.0, 20.0, 10, "wilson", np.nan],  # two further images that have no boxes
]
FLAT = {
    "signature": SIGNATURE, "n": 8, "skipped": 1,
    "gt_known_loc_acc/fixed": 62.5, "gt_known_loc_acc/fixed.ci_low": 40.0, "gt_known_loc_acc/fixed.ci_high": 80.0,
    "gt_known_loc_acc/fixed.tau": 0.2,
    "gt_known_loc_acc/oracle": 75.0, "gt_known_loc_acc/oracle.tau": 0.0,
    "max_box_acc_v2/oracle": 50.0, "max_box_acc_v2/oracle.ci_low": 30.0, "max_box_acc_v2/oracle.ci_high": 70.0,
    "max_box_acc_v2/oracle.optimism": 2.5,
    "pxap": 12.5, "pxap.ci_low": 10.0, "pxap.ci_high": 15.0,
    "top1_cls_err": 10.0, "top1_cls_err.ci_low": 0.0, "top1_cls_err.ci_high": 20.0, "top1_cls_err.n": 10,
}  # fmt: skip


@pytest.fixture
def by_hand() -> Evaluation:
    metadata = SimpleNamespace(signature=SIGNATURE, dataset=SimpleNamespace(n=8), skipped={"a.jpg": "unreadable"})
    return Evaluation(SimpleNamespace(metrics=pd.DataFrame(ROWS, columns=COLUMNS)), metadata)


def test_to_dict_by_hand(by_hand: Evaluation) -> None:
    flat = by_hand.to_dict()
    assert flat == FLAT
    assert [*flat] == [*FLAT]  # in this order
    assert {type(value) for value in flat.values()} == {float, int, str}  # none is NumPy's


def block(title: str) -> str:
    (code,) = re.findall(rf'^```python title="{title}"\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), re.S | re.M)
    return code


def run_block(title: str, result: Evaluation) -> dict[str, Any]:
    """Run the lines of a tracker as the page has them, on a result by hand, and return their names."""
    code = block(title)
    assert len(code.split("\n\n", 1)[1].splitlines()) <= 3  # after the import
    numbers = {key: value for key, value in result.to_dict().items() if key != "signature"}
    names = {"result": result, "numbers": numbers, "epoch": 7}
    exec(compile(code, title, "exec"), names)
    return names


def test_the_first_lines_of_the_page_hold_every_number_of_the_table(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block("result"), "result", "exec"), names)
    result, numbers = names["result"], names["numbers"]
    assert result.to_dict() == {"signature": result.signature, **numbers}
    assert all(math.isfinite(value) for value in numbers.values())
    assert (
        len(numbers) == result.metrics[["tau", "value", "ci_low", "ci_high", "optimism"]].notna().sum().sum() + 2
    )  # n, skipped
    row = result.metrics.query("metric == 'mean_iou' and tau_rule == 'oracle'")
    assert numbers["mean_iou/oracle"] == row["value"].item()
    paths = {key.split("/")[0] for key in numbers if "/" in key}
    assert paths.isdisjoint(numbers)  # a key is not the folder of another one


class Recorder:
    """Stands in for a tracker, with the signatures of its documentation; records what is logged."""

    def __init__(self) -> None:
        self.logged: dict[int, dict[str, float]] = {}
        self.config: dict[str, Any] = {}

    def init(self, project: str | None = None, config: dict[str, Any] | None = None) -> "Recorder":
        """Stand in for ``init`` of wandb (docs.wandb.ai/ref/python/init) and trackio (huggingface.co/docs/trackio)."""
        assert project
        self.config |= config or {}
        return self

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        """Record numbers, as the run that ``init`` returns in both packages."""
        self.log_metrics(data, step)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Stand in for ``mlflow.log_metrics`` (mlflow.org/docs/latest/api_reference), which takes numbers alone."""
        assert step is not None
        self.logged[step] = {key: float(value) for key, value in metrics.items()}
        allowed = re.compile(r"[/\w.\- :]+")  # MLflow's rule for names of metrics
        assert all(allowed.fullmatch(key) for key in metrics)

    def set_tag(self, key: str, value: Any) -> None:
        """Stand in for ``mlflow.set_tag``."""
        self.config[key] = value

    def finish(self) -> None:
        """Stand in for the method of a run of trackio."""

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error: object) -> None:
        """Stand in for that of a run of Weights & Biases."""


@pytest.mark.parametrize("tracker", ["wandb", "mlflow", "trackio"])
def test_lines_of_trackers_on_a_stand_in(tracker: str, by_hand: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls alone, on a stand-in, since the packages are large; the test below runs those that are installed."""
    recorder, module = Recorder(), ModuleType(tracker)
    for name in ("init", "set_tag", "log_metrics"):
        setattr(module, name, getattr(recorder, name))
    monkeypatch.setitem(sys.modules, tracker, module)
    run_block(tracker, by_hand)
    assert recorder.logged == {7: {key: value for key, value in FLAT.items() if key != "signature"}}
    assert recorder.config == {"signature": SIGNATURE}


def read_tensorboard(names: dict[str, Any]) -> dict[str, float]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415  # optional

    events = EventAccumulator(names["writer"].log_dir).Reload()
    found = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    assert {event.step for values in found.values() for event in values} == {7}
    return {tag: values[0].value for tag, values in found.items()}


def read_mlflow(names: dict[str, Any]) -> dict[str, float]:
    run = names["mlflow"].active_run().info.run_id
    names["mlflow"].end_run()
    return names["mlflow"].get_run(run).data.metrics


def read_wandb(names: dict[str, Any]) -> dict[str, float]:
    (log,) = Path("wandb").glob("offline-run-*/*.wandb")  # binary: only the keys can be looked up
    return {key: value for key, value in names["numbers"].items() if key.encode() in log.read_bytes()}


def read_trackio(names: dict[str, Any]) -> dict[str, float]:
    from trackio.sqlite_storage import SQLiteStorage  # noqa: PLC0415  # optional

    (row,) = SQLiteStorage.get_logs("wsol", names["run"].name)
    assert row["step"] == 7
    return {key: row[key] for key in row if key in FLAT}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tracker", "read"),
    {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb, "trackio": read_trackio}.items(),
)
def test_lines_of_trackers_that_are_installed(
    tracker: str,
    read: Callable[[dict[str, Any]], dict[str, float]],
    by_hand: Evaluation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a file a metric: the strictest of its stores about keys
    pytest.importorskip(tracker)
    names = run_block(tracker, by_hand)
    assert read(names) == pytest.approx(names["numbers"], rel=1e-6)  # TensorBoard stores float32
