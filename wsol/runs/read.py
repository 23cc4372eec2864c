"""A run read back from its folder."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.io.arrays import memory_map, require_file
from wsol.metrics.base import CURVES, METRICS, TAU_RULES, headlines, row_title
from wsol.metrics.classification import has_top5, ranks_of
from wsol.metrics.error_types import ERROR_TYPES
from wsol.metrics.intervals import INTERVAL_KINDS
from wsol.metrics.tau import Tau
from wsol.protocols import Protocol, find_protocol
from wsol.protocols.base import ground_truth_of
from wsol.protocols.ground_truths import GroundTruths
from wsol.runs.arrays import ARRAYS, axis_lengths
from wsol.runs.checksums import check_unchanged
from wsol.runs.flatten import Flat, flatten_metrics
from wsol.runs.ground_truth import read_dataset
from wsol.runs.metadata import RunMetadata, as_input_errors, read_metadata
from wsol.runs.predictions import prediction_arrays, read_predictions
from wsol.runs.results import TABLES, LocalizationResults, Tables
from wsol.runs.score_maps import read_maps

_TEXT_COLUMNS = {"metric", "tau_rule", "class", "by", "group", "error", "baseline", "interval"}


@dataclass(frozen=True)
class Evaluation:
    """The result of ``wsol.evaluate`` and ``wsol.score``.

    Attributes:
        tables: All tables.
        metadata: Contents of ``run.json``.
    """

    tables: Tables
    metadata: RunMetadata

    @classmethod
    def read(cls, folder: str | Path) -> "Evaluation":
        """Read the result of a complete run.

        Args:
            folder: Folder that ``wsol.eval`` or ``wsol.score`` wrote.

        Raises:
            InputError: It is no complete run of this version, its files do not belong together, or one was changed.
        """
        run = read_run(folder)
        return cls(run.tables, run.metadata)

    def __repr__(self) -> str:
        run = self.metadata
        n = run.dataset.n
        lines = [f"Evaluation of {n} image{'s' * (n != 1)}", f"  {self.signature}"]
        for metric in headlines():
            rows = self.metrics[self.metrics["metric"] == metric.name]
            own = rows[rows["tau_rule"].isna() | (rows["tau_rule"] == run.tau.rule)]
            for row in (own if len(own) else rows).to_dict("records"):
                tau = "" if pd.isna(row["tau"]) else f" at tau {row['tau']:.3f} ({row['tau_rule']})"
                interval = "" if pd.isna(row["ci_low"]) else f" [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
                lines.append(f"  {row_title(metric.name).strip()}: {row['value']:.3f} %{interval}{tau}")
        return "\n".join([*lines, *(f"  note: {note}" for note in run.notes)])

    @property
    def signature(self) -> str:
        """Everything that decides a number, in one line."""
        return self.metadata.signature

    @property
    def metrics(self) -> pd.DataFrame:
        """metric, tau_rule, tau, value (percent), ci_low, ci_high, n, interval, optimism (points)."""
        return self.tables.metrics

    @property
    def classes(self) -> pd.DataFrame:
        """The same per class, without optimism."""
        return self.tables.classes

    @property
    def baselines(self) -> pd.DataFrame:
        """The localization metrics of boxes that ignore the image, with the run's classification."""
        return self.tables.baselines

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per image and rank, see ``wsol.runs.predictions``."""
        return self.tables.predictions

    def to_dict(self) -> Flat:
        """Return the metrics as a flat dict for loggers; keys are the same for every run with the same options.

        Returns:
            ``signature``; ``n`` and ``skipped``, numbers of images; and the value of each row of ``metrics`` in percent
            as ``METRIC/RULE`` (``gt_known_loc_acc/fixed``), or as ``METRIC`` where no threshold applies (``pxap``). The
            suffixes ``.ci_low`` and ``.ci_high`` give the ends of its interval in percent, ``.tau`` its threshold,
            ``.optimism`` that of an oracle value in points, and ``.n`` its number of images if that is not ``n``. A
            value that a row does not have is absent, never NaN.
        """
        n = self.metadata.dataset.n
        counts: Flat = {"signature": self.signature, "n": n, "skipped": len(self.metadata.skipped)}
        return counts | flatten_metrics(self.metrics, n)


@dataclass(frozen=True)
class StoredRun:
    """A complete run on disk.

    Attributes:
        folder: The run folder.
        metadata: Contents of ``run.json``.
        protocol: The protocol.
        tables: The tables, without the column signature.
        results: What the tables were computed from; ``boxes_at`` knows the boxes of the run's own tau only.
        validation: The run on its validation split; None where it has none.
    """

    folder: Path
    metadata: RunMetadata = field(repr=False)
    protocol: Protocol
    tables: Tables = field(repr=False)
    results: LocalizationResults = field(repr=False)
    validation: "StoredRun | None"

    @property
    def signature(self) -> str:
        """Everything that decides a number, in one line."""
        return self.metadata.signature

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @property
    def tau(self) -> Tau | None:
        """Rule of the run's tau, or the number; None where no threshold applies."""
        rule, value = self.metadata.tau.rule, self.metadata.tau.value
        return None if rule is None else value if rule == "fixed" else rule

    @property
    def taus(self) -> NDArray[np.float64]:
        """Threshold grid of its curves; empty where no threshold applies."""
        return self.protocol.taus if self.results.stats.curves.shape[1] > 1 else np.empty(0)

    @cached_property
    def maps(self) -> NDArray[np.float32] | None:
        """Raw score maps, mapped into memory, ``(n, k, ...)``; None where it has none."""
        path = self.folder / "maps.npy"
        return read_maps(self.folder, self.metadata, self.results.classes.shape)[1] if path.exists() else None


def read_run(folder: str | Path) -> StoredRun:
    """Read a run.

    Args:
        folder: Folder that ``wsol.eval`` or ``wsol.score`` wrote.

    Raises:
        InputError: It is no complete run of this version, its files do not belong together, or one was changed. Of
            ``maps.npy`` the checksum is not compared.
    """
    folder = Path(folder)
    run = _read_folder(folder)
    return replace(run, validation=_read_folder(folder / "val")) if run.metadata.val else run


def reopen_run(
    folder: Path, metadata: RunMetadata, protocol: Protocol, predictions: pd.DataFrame, results: LocalizationResults
) -> StoredRun:
    """Return a run that this process has just written as ``read_run`` would, except for ``validation``.

    Args:
        folder: Folder of the run.
        metadata: Contents of ``run.json``.
        protocol: The protocol.
        predictions: The table of predictions.
        results: What the tables were computed from.
    """
    fresh = replace(results, stats=replace(results.stats))  # without what was derived from it
    return StoredRun(folder, metadata, protocol, Tables(**_read_tables(folder), predictions=predictions), fresh, None)


def _read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: _read_table(folder / f"{name}.csv", columns) for name, columns in TABLES.items()}


def _read_folder(folder: Path) -> StoredRun:
    with as_input_errors(folder, "complete run; evaluate again"):
        metadata = read_metadata(folder)
        protocol = find_protocol(metadata.protocol)
        tables = _read_tables(folder)
        images, sizes = read_dataset(folder, metadata.dataset)
        predictions = read_predictions(folder / "predictions.parquet", images.samples)
        results = _read_results(folder, metadata, protocol, predictions, images, sizes)
    check_unchanged(metadata, folder)  # last, as a reader says better what is wrong with a damaged file
    return StoredRun(folder, metadata, protocol, Tables(**tables, predictions=predictions), results, None)


def _read_results(
    folder: Path,
    metadata: RunMetadata,
    protocol: Protocol,
    predictions: pd.DataFrame,
    images: Dataset,
    sizes: list[tuple[int, int]],
) -> LocalizationResults:
    samples, n = images.samples, len(images)
    classes, scores, boxes = prediction_arrays(predictions, n)
    arrays = _read_arrays(folder, protocol, n)
    if images.fingerprint != metadata.dataset.fingerprint:
        raise ValueError("its files do not belong together")
    if (folder / "maps.npy").exists():
        read_maps(folder, metadata, classes.shape)
    kept_boxes, heat_maps = arrays.pop("boxes", None), arrays.pop("heat_maps", None)
    truths = GroundTruths.stack(ground_truth_of(protocol, *pair) for pair in zip(samples, sizes, strict=True))
    stats = protocol.make_stats(
        **arrays,
        labels=np.array([sample.label for sample in samples]),
        ranks=ranks_of(classes),
        complete=not bool(np.isnan(boxes[truths.counts > 0, 0]).any()),
        top5=not metadata.provenance.is_ranked_elsewhere or has_top5(classes, len(images.classes)),
        objects=truths.objects,
    )
    return LocalizationResults(
        images,
        truths,
        classes,
        scores,
        stats,
        lambda _: boxes,
        metadata.skipped,
        metadata.clipped_boxes,
        kept_boxes,
        metadata.notes,
        heat_maps=heat_maps,
    )


def _read_arrays(folder: Path, protocol: Protocol, n: int) -> dict[str, NDArray[Any]]:
    """Map all arrays but the score maps into memory; check their dtypes, shapes, and the range of IoUs."""
    present = [array for array in ARRAYS if array.required or (folder / array.file).exists()]
    arrays = {array.name: memory_map(folder / array.file) for array in present if array.name != "maps"}
    lengths = axis_lengths(protocol, n, arrays["curves"])
    fit = all(array.fits(arrays[array.name], lengths) for array in present if array.name in arrays)
    ious = [arrays[name] for name in CURVES if name in arrays]
    if fit and "attribution" in arrays:  # NaN where a value is undefined
        ious.append(np.nan_to_num(arrays["attribution"]))
    if not fit or not all(values.min() >= 0 and values.max() <= 1 for values in ious):
        raise ValueError("its files do not belong together")
    return arrays


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    table = pd.read_csv(require_file(path))
    if [*table] != [*columns, "signature"]:
        raise ValueError(f"{path.name} has other columns than {', '.join(columns)}")
    numeric = [name for name in columns if name not in _TEXT_COLUMNS]
    if wrong := [name for name in numeric if table[name].dtype.kind not in "if" and len(table)]:
        raise ValueError(f"{path.name}: the column {wrong[0]} is not numeric")
    if "metric" in columns:
        if unknown := sorted({*table["metric"]}.difference(METRICS.names())):
            raise ValueError(f"{path.name} has the metric {unknown[0]!r:.80}, which no installed package registers")
        if not set(table["tau_rule"].dropna()) <= {*TAU_RULES}:
            raise ValueError(f"{path.name} has an unknown rule of tau")
        if not set(table["interval"].dropna()) <= {*INTERVAL_KINDS}:
            raise ValueError(f"{path.name} has an unknown kind of interval")
    if "error" in columns and not {*table["error"]} <= {*ERROR_TYPES}:
        raise ValueError(f"{path.name} has an unknown error type")
    return table.drop(columns="signature")
