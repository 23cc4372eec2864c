"""A run read back from its folder."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.evaluation.tables import Tables, Tau
from wsol.io.arrays import memory_map, require_file
from wsol.metrics.base import METRICS, TAU_RULES, LocalizationStats
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import kept_tau_indices
from wsol.metrics.summary import COLUMNS
from wsol.protocols import Protocol, find_protocol
from wsol.protocols.base import ground_truth_of
from wsol.runs.ground_truth import read_dataset
from wsol.runs.metadata import as_input_errors, read_facts
from wsol.runs.predictions import prediction_arrays, read_predictions
from wsol.runs.results import LocalizationResults
from wsol.runs.score_maps import read_maps

_TABLES = {
    "metrics": COLUMNS,
    "classes": ["class_id", "class", *COLUMNS],
    "groups": ["by", "group", *COLUMNS],
    "errors": ["error", "n", "share", "share_low", "share_high", "gain", "gain_low", "gain_high"],
    "baselines": ["baseline", *COLUMNS],
}
_WORDS = {"metric", "tau_rule", "class", "by", "group", "error", "baseline"}
_ARRAYS = {"contours": "curves_v2", "second": "curves_second", "peaks": "peaks", "pixels": "pixels"}


@dataclass(frozen=True)
class StoredRun:
    """A complete run on disk.

    Attributes:
        folder: Where it lies.
        facts: What ``run.json`` holds.
        protocol: The conventions.
        tables: As they were written, without the column signature.
        found: What it collected; ``draw`` knows the boxes of the run's own tau alone.
        validation: The same of its validation split; None where it has none.
    """

    folder: Path
    facts: dict[str, Any]
    protocol: Protocol
    tables: Tables
    found: LocalizationResults
    validation: "StoredRun | None"

    @property
    def signature(self) -> str:
        """Everything that decides a number, in a line."""
        return str(self.facts["signature"])

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def tau(self) -> Tau | None:
        """The rule of the run's tau, or the number; None where no threshold enters."""
        rule, value = self.facts["tau"]["rule"], self.facts["tau"]["value"]
        return None if rule is None else value if rule == "fixed" else rule

    @property
    def taus(self) -> NDArray[np.float64]:
        """The grid of its curves; empty where no threshold enters."""
        return self.protocol.taus if self.found.stats.curves.shape[1] > 1 else np.empty(0)

    @property
    def fixed(self) -> float | None:
        """The tau of the rule ``fixed`` in its tables; None where there is none."""
        fixed = self.facts["tau"]["fixed"]
        return None if fixed is None else float(fixed)

    @cached_property
    def maps(self) -> NDArray[np.float32] | None:
        """Its raw maps, mapped into memory, ``(n, k, ...)``; None where it has none."""
        path = self.folder / "maps.npy"
        return read_maps(self.folder, self.facts, self.found.classes.shape)[1] if path.exists() else None


def read_run(folder: str | Path) -> StoredRun:
    """Read a run.

    Args:
        folder: Where ``wsol.eval`` or ``wsol.score`` wrote it.

    Raises:
        InputError: It is no complete run of this version, or its files do not belong together.
    """
    folder = Path(folder)
    run = _read(folder)
    return replace(run, validation=_read(folder / "val")) if run.facts["val"] else run


def _read(folder: Path) -> StoredRun:
    with as_input_errors(folder, "complete run; evaluate again"):
        facts = read_facts(folder)
        protocol = find_protocol(facts["protocol"]["signature"])
        tables = {name: _table(folder / f"{name}.csv", columns) for name, columns in _TABLES.items()}
        images, sizes = read_dataset(folder, facts["dataset"])
        predictions = read_predictions(folder / "predictions.parquet", images.samples)
        found = _found(folder, facts, protocol, predictions, images, sizes)
    return StoredRun(folder, facts, protocol, Tables(**tables, predictions=predictions), found, None)


def _found(
    folder: Path,
    facts: dict[str, Any],
    protocol: Protocol,
    predictions: pd.DataFrame,
    images: Dataset,
    sizes: list[tuple[int, int]],
) -> LocalizationResults:
    """Return what was collected."""
    samples, n = images.samples, len(images)
    classes, scores, boxes = prediction_arrays(predictions, n)
    curves, shown = memory_map(folder / "curves.npy"), _array(folder, "boxes")
    extra = {part: _array(folder, name) for part, name in _ARRAYS.items()}
    if images.fingerprint != facts["dataset"]["fingerprint"] or not _fit(protocol, n, curves, boxes=shown, **extra):
        raise ValueError("its files do not belong together")
    if (folder / "maps.npy").exists():
        read_maps(folder, facts, classes.shape)
    evidence = LocalizationStats(
        curves=curves,
        delta=protocol.delta,
        labels=np.array([sample.label for sample in samples]),
        ranks=ranks_of(classes),
        complete=not bool(np.isnan(boxes[:, 0]).any()),
        **extra,
    )
    truths = [ground_truth_of(protocol, *pair) for pair in zip(samples, sizes, strict=True)]
    skipped, clipped = dict(facts["skipped"]), facts["clipped_boxes"]
    return LocalizationResults(
        images, truths, classes, scores, evidence, lambda i, _: boxes[i], skipped, clipped, shown
    )


def _fit(protocol: Protocol, n: int, curves: NDArray[Any], **arrays: NDArray[Any] | None) -> bool:
    """Return whether arrays have the shapes and types that the traces of ``n`` images have, and IoUs their range."""
    levels = len(protocol.taus)
    wanted: dict[str, tuple[Any, Any]] = {
        "curves": (np.float32, (n, levels if curves.shape[1:] == (levels,) else 1)),
        "contours": (np.float32, curves.shape),
        "second": (np.float32, curves.shape),
        "peaks": (np.bool_, (n,)),
        "pixels": (np.uint32, (n, int((protocol.taus < 1).sum()) + 1, 2)),
        "boxes": (np.uint16, (n, len(kept_tau_indices(levels)), 4)),
    }
    there = {"curves": curves} | {name: array for name, array in arrays.items() if array is not None}
    shares = [there[name] for name in ("curves", "contours", "second") if name in there]
    return all((array.dtype, array.shape) == wanted[name] for name, array in there.items()) and all(
        array.min() >= 0 and array.max() <= 1 for array in shares
    )


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    table = pd.read_csv(require_file(path))
    if [*table] != [*columns, "signature"]:
        raise ValueError(f"{path.name} has other columns than {', '.join(columns)}")
    odd = [name for name in columns if name not in _WORDS and table[name].dtype.kind not in "if" and len(table)]
    if odd:
        raise ValueError(f"{path.name}: {odd[0]} holds what is no number")
    if "metric" in columns and not (
        set(table["metric"]) <= {*METRICS.names()} and set(table["tau_rule"].dropna()) <= {*TAU_RULES}
    ):
        raise ValueError(f"{path.name} holds what is no metric")
    return table.drop(columns="signature")


def _array(folder: Path, name: str) -> NDArray[Any] | None:
    path = folder / f"{name}.npy"
    return memory_map(path) if path.exists() else None
