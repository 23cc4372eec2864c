"""``wsol.select``: the best of several weights files on the validation split, evaluated on the test split."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsol.datasets import Dataset, load_dataset
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.evaluate import run
from wsol.evaluation.plan import Choice, prepare
from wsol.evaluation.pseudo_choice import score_with_own_boxes
from wsol.io.atomic import atomic_write
from wsol.io.display import escape_unprintable
from wsol.io.paths import file_name
from wsol.metrics.base import METRICS
from wsol.metrics.summary import metric_table, resample_metrics
from wsol.protocols import find_protocol
from wsol.runs.metadata import read_metadata
from wsol.runs.read import Evaluation
from wsol.runs.signature import Signature
from wsol.runtime.distributed import process_group
from wsol.runtime.threads import processor_count

DEFAULT_METRIC = "gt_known_loc_acc"
_RUN = "test"
_COLUMNS = ["weights", "metric", "value", "own_boxes", "chosen", "signature"]


@dataclass(frozen=True)
class Selection:
    """A network that was chosen among several.

    Attributes:
        table: One row per weights file, in the given order: weights, metric, value (on the validation split, in
            percent), own_boxes (the value with the data set's own boxes, where pseudo boxes replaced them; else NaN),
            chosen, signature (of the run on the validation split).
        evaluation: The chosen network on the evaluated split. The others were not evaluated there.
        folder: Its run folder.
    """

    table: pd.DataFrame = field(repr=False)
    evaluation: Evaluation
    folder: Path


def select(weights: Sequence[str | Path], *, by: str = DEFAULT_METRIC, out: str | Path, **options: Any) -> Selection:
    """Evaluate several weights files on the validation split, and only the best of them on the test split.

    The checkpoint is chosen like tau: with the boxes of the validation split or, with ``val_boxes``, with pseudo boxes
    (Murtaza et al., "A Realistic Protocol for Evaluation of Weakly Supervised Object Localization", WACV 2025). A
    metric without boxes, such as ``top1_cls_err``, chooses by image labels alone. A metric with a threshold counts at
    its best tau on the validation split. Ties go to the first file.

    Args:
        weights: Two or more weights files, or names of published weights.
        by: Registered name of the metric.
        out: Folder for ``selection.csv``, one run folder ``val-I-NAME`` per weights file, and the run of the chosen
            one, ``test``. Its signature names the choice, and its notes the values.
        options: Other arguments of ``wsol.evaluate``, but not ``split``.

    Returns:
        The values and the run of the chosen network.

    Raises:
        InputError: An argument cannot be used, or the metric cannot be computed on the validation split.
    """
    if isinstance(weights, str | Path):
        raise InputError(f"{weights} is a single weights file; give a list of two or more")
    files = [str(each) for each in weights]
    if len(files) < 2 or len(set(files)) < len(files):
        raise InputError("a selection needs two or more different weights files; give each once")
    if "split" in options:
        raise InputError("weights are selected on the split val and evaluated on test; leave out split")
    METRICS.get(by)
    config, folder = EvalConfig(**options), Path(out)
    on_val, on_test = _on_validation_split(config), replace(config, out=folder / _RUN)
    if config.tau != "val":  # pseudo boxes choose the weights alone
        on_test = replace(on_test, val_boxes=None)
    with process_group().sync_errors():
        prepare(replace(on_test, weights=files[0]))  # what cannot be used is found before the first run
    rows = []
    for number, file in enumerate(files, 1):
        place = folder / file_name("val", str(number), Path(file).stem)
        evaluation = run(replace(on_val, weights=file, out=place))
        value = pick_value(evaluation.metrics, by)
        rows.append([file, by, value, _value_with_own_boxes(on_val, place, by), False, evaluation.signature])
        if process_group().is_main:
            shown = f"{number} of {len(files)}, {escape_unprintable(file)}: {by} {value:.3f} %"
            print(f"wsol: {shown}", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    best = find_best(table["value"], by)
    table.loc[best, "chosen"] = True
    if process_group().is_main:
        with atomic_write(folder / "selection.csv") as path:
            table.to_csv(path, index=False)
    chosen = run(replace(on_test, weights=files[best]), choice=_describe(table, by))
    return Selection(table, chosen, folder / _RUN)


def format_selection(selection: Selection) -> str:
    """Return what the command prints before the chosen run: one line per weights file, the chosen one marked."""
    lines = []
    for row in selection.table.to_dict("records"):
        own = "" if np.isnan(row["own_boxes"]) else f", {row['own_boxes']:.3f} % with the data set's own boxes"
        mark = "*" if row["chosen"] else " "
        lines.append(f"{mark} {escape_unprintable(row['weights'])}: {row['metric']} {row['value']:.3f} %{own}")
    return "\n".join(["on the validation split, * is chosen:", *lines])


def find_best(values: "pd.Series[float]", by: str) -> int:
    """Return the index of the best value of a metric, the first one of several."""
    numbers = values.to_numpy(np.float64)
    return int(numbers.argmin() if METRICS.get(by).better == "lower" else numbers.argmax())


def _on_validation_split(config: EvalConfig) -> EvalConfig:
    """Return the options of the runs on the validation split, without intervals."""
    dataset = config.dataset if config.validation is None else config.validation
    if isinstance(config.dataset, Dataset) and config.validation is None:
        raise InputError("weights are selected on a validation split; give validation for a loaded data set")
    more: dict[str, Any] = {"tau": "oracle", "bootstrap": 0}
    return replace(config, dataset=dataset, validation=None, split="val", download=False, **more)


def pick_value(metrics: pd.DataFrame, by: str) -> float:
    """Return a metric at its best tau, or without one, in percent."""
    rows = metrics[(metrics["metric"] == by) & (metrics["tau_rule"].isna() | (metrics["tau_rule"] == "oracle"))]
    if len(rows) != 1:
        known = ", ".join(dict.fromkeys(metrics["metric"]))
        raise InputError(f"the runs on the split val have no {by} to select by; give one of {known}")
    return float(rows["value"].iloc[0])


def _value_with_own_boxes(config: EvalConfig, folder: Path, by: str) -> float:
    """Return the metric that the data set's own boxes give where pseudo boxes replaced them; NaN elsewhere."""
    if config.val_boxes is None or not process_group().is_main:
        return float("nan")
    source = config.dataset
    own = source if isinstance(source, Dataset) else load_dataset(source, config.data_root, "val", config.dataset_args)
    protocol = find_protocol(read_metadata(folder).protocol)
    with ThreadPoolExecutor(config.workers or processor_count()) as pool:
        stats = score_with_own_boxes(folder, own, protocol, pool).stats
    resampled = resample_metrics(stats, protocol.taus, None, bootstrap=0, metrics=[METRICS.get(by)])
    return pick_value(metric_table(resampled), by)


def _describe(table: pd.DataFrame, by: str) -> Choice:
    """Return how the signature and the notes of the chosen run name the choice."""
    best = find_best(table["value"], by)
    images = Signature.parse(table["signature"][best]).dataset
    names = [escape_unprintable(Path(file).name) for file in table["weights"]]
    values = ", ".join(f"{name} {value:.1f} %" for name, value in zip(names, table["value"], strict=True))
    note = f"{names[best]} is the best of {len(table)} weights files by {by} on {images}: {values}"
    if (table["value"] == table["value"][best]).sum() > 1:
        note += "; of equal values the first is taken"
    if table["own_boxes"].notna().all():
        note += f"; the data set's own boxes choose {names[find_best(table['own_boxes'], by)]}"
    return Choice(f"+best-of-{len(table)}({by},{images})", note)
