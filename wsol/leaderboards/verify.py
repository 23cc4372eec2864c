"""Checks that the tables of a run follow from its stored files."""

import csv
import io
import math
from collections.abc import Iterator, Sized
from concurrent.futures import Executor
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wsol.baselines import BASELINES
from wsol.datasets import has_pseudo_boxes
from wsol.errors import first_line
from wsol.evaluation.tables import choose_tau_index, tabulate, tabulate_predictions
from wsol.leaderboards.recompute import recompute_curves
from wsol.metrics.base import METRICS
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.tau import DEFAULT_TAU, fixed_tau, round_tau
from wsol.protocols import canonical_signature
from wsol.registry import Registry
from wsol.runs.checksums import changed_files
from wsol.runs.metadata import read_metadata
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature
from wsol.runs.store import FILES

TOLERANCE = 1e-6
"""Relative tolerance; the results of the same code on two machines differ by less."""

_WITHOUT_CHECKSUM = ("run.json", "report.html")
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def verify_checksums(folder: Path) -> list[str]:
    """Compare the files of a run and of its validation split with their checksums; return one phrase per fault.

    Args:
        folder: The run folder.
    """
    faults, has_validation = _check_folder(folder)
    return faults + [f"val: {phrase}" for phrase in (_check_folder(folder / "val")[0] if has_validation else ())]


def _check_folder(folder: Path) -> tuple[list[str], bool]:
    """Return the faults of one folder, and whether the run has a validation split."""
    try:
        metadata = read_metadata(folder)
        names = {name for name in FILES if name not in _WITHOUT_CHECKSUM and (folder / name).is_file()}
        faults = changed_files(metadata, folder)
        faults = faults or [f"{name} has no checksum" for name in sorted(names - set(metadata.checksums or ()))]
    except _FAILURES as error:
        return [f"run.json cannot be read ({first_line(error):.200})"], False
    return faults, metadata.val is not None


def verify_tables(run: StoredRun, pool: Executor) -> list[str]:
    """Compute all tables of a run again; return one phrase per difference.

    The tables are compared with the curves, boxes and ground truth, the curves and boxes with the raw score maps if
    they are stored, and the signature with all of these. Values that only the network or the data set could reproduce
    (predicted classes and their scores, pixel counts of masks, cost) are only checked for consistency; apart from that,
    their checksums protect them.

    Args:
        run: The run with its validation split.
        pool: Threads that share the work.
    """
    faults = [f"val: {phrase}" for phrase in verify_tables(run.validation, pool)] if run.validation else []
    try:
        tau_index = _find_tau_index(run)
        faults += [
            *_check_signature(run, tau_index),
            *_check_predictions(run, tau_index),
            *recompute_curves(run, tau_index, pool),
            *_check_tables(run, tau_index, pool),
        ]
    except _FAILURES as error:
        faults.append(f"the tables cannot be computed from the files ({error!r:.200})")
    written_by = run.metadata.versions.get("wsol")
    if faults and written_by != version("wsol"):
        faults.append(f"the run was written by wsol {written_by}, and this is {version('wsol')}")
    return faults


def _find_tau_index(run: StoredRun) -> int:
    """Return the index of the run's tau."""
    chosen_on = run.validation.results if run.validation else run.results
    return choose_tau_index(run.protocol, run.tau, chosen_on) if run.tau is not None else 0


def _check_signature(run: StoredRun, tau_index: int) -> Iterator[str]:
    """Yield the entries of the signature and of ``run.json`` that contradict the files."""
    signature, metadata = Signature.parse(run.signature), run.metadata
    tau = None if run.tau is None else round_tau(run.protocol.taus, tau_index)
    dataset, has_masks = run.results.images.signature, bool(metadata.dataset.content.masks)
    rule = "tau:none"
    if isinstance(run.tau, float | int):
        rule = f"tau:{run.tau}"
    elif run.tau is not None:
        rule = f"tau:{run.tau}{_validation_field(run)}={tau:g}"
    pairs = {
        "tau": (metadata.tau.value, tau),
        "fixed tau": (metadata.tau.fixed, fixed_tau(DEFAULT_TAU if run.tau is None else run.tau, run.protocol.taus)),
        "n": (metadata.dataset.n, len(run.results.images)),
        "dataset": (signature.dataset, dataset),
        "fingerprint of the masks": (has_masks, has_masks or run.results.stats.pixels is not None),
        "model": (signature.model, metadata.provenance.model),
        "method": (signature.method, metadata.provenance.method),
        "protocol": (canonical_signature(signature.protocol), run.protocol.signature),
        "rule of tau": (signature.tau, rule),
        "version": (signature.version, f"wsol:{metadata.versions.get('wsol')}"),
    }
    for name, (stored, expected) in pairs.items():
        if stored != expected:
            yield f"the {name} is {stored} in run.json, but {expected} according to the files"


def _validation_field(run: StoredRun) -> str:
    """Return the part of the signature that names the images on which tau was chosen, and whose boxes these had."""
    if run.validation is None:
        return ""
    test, val = Signature.parse(run.signature), Signature.parse(run.validation.signature)
    field = f"({val.dataset})" if val.model == test.model else f"({val.dataset},{val.model})"
    return f"-pseudo{field}" if has_pseudo_boxes(run.validation.results.images) else field


def _check_predictions(run: StoredRun, tau_index: int) -> Iterator[str]:
    """Yield the contradictions within the predictions, and between predictions and curves."""
    found, stats, table = run.results, run.results.stats, run.tables.predictions
    classes, scores = found.classes, found.scores
    label_ious = table["iou"].to_numpy().reshape(classes.shape)[:, 0]
    is_label = classes == classes[:, :1]
    boxes = found.boxes_at(tau_index)
    ordered = np.sort(classes[:, 1:], axis=1)
    checks = {
        "predictions.parquet: the class of rank 0 is not the image's label": classes[:, 0] == stats.labels,
        "predictions.parquet: a class has two boxes": _is_close(boxes, boxes[:, :1]).all(2) | ~is_label,
        "predictions.parquet: a class has two scores": _is_close(scores, scores[:, :1]) | ~is_label,
        "predictions.parquet: a class is predicted twice": (np.diff(ordered, axis=1) > 0) | (ordered[:, :-1] < 0),
        "predictions.parquet: scores increase with the rank": ~(np.diff(scores[:, 1:], axis=1) > 0),
        "curves.npy: not the IoU of the boxes at the run's tau": _is_close(stats.curves[:, tau_index], label_ious),
    }
    if stats.contours is not None:
        checks["curves_v2.npy: below curves.npy, although it is the maximum over all contours"] = (
            stats.contours >= stats.curves
        )
    for phrase, is_valid in checks.items():
        if not is_valid.all():
            yield f"{phrase} ({found.images.samples[int(np.argwhere(~is_valid)[0, 0])].image_id})"


def _is_close(a: Any, b: Any) -> Any:
    return np.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _check_tables(run: StoredRun, tau_index: int, pool: Executor) -> Iterator[str]:
    """Yield the tables that differ from the recomputed ones."""
    chosen_on = run.validation.results if run.validation else None
    tau = DEFAULT_TAU if run.tau is None else run.tau
    predictions = tabulate_predictions(run.protocol, run.results, tau_index)
    bootstrap = RESAMPLES if run.tables.has_intervals else 0
    recomputed = vars(tabulate(run.protocol, run.results, tau, predictions, chosen_on, pool, bootstrap=bootstrap))
    predictions = recomputed.pop("predictions")
    for name in predictions:
        stored, expected = run.tables.predictions[name].to_numpy(), predictions[name].to_numpy()
        is_number = np.issubdtype(expected.dtype, np.number)
        rows = np.flatnonzero(~_is_close(stored, expected) if is_number else stored != expected)
        if len(rows):
            i = int(rows[0])
            others = _count_others(rows)
            yield f"predictions.parquet: {name} in row {i} is {stored[i]}, but should be {expected[i]}{others}"
    for name, table in recomputed.items():
        with (run.folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            lines = dict(enumerate(csv.reader(file), 1))
        if name == "baselines":  # a run does not store the masks that these metrics need
            lines = {i: line for i, line in lines.items() if not _needs_masks(line[1])}
        comparable = _drop_later_entries(table, getattr(run.tables, name))
        text = comparable.assign(signature=run.signature).to_csv(index=False, lineterminator="\n")
        yield from _compare_tables(f"{name}.csv", lines, list(csv.reader(io.StringIO(text, newline=""))))


def _drop_later_entries(table: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    """Drop the rows of metrics and baselines of other packages, installed after the run, that it did not store."""
    registries: tuple[tuple[str, Registry[Any]], ...] = (("metric", METRICS), ("baseline", BASELINES))
    for column, registry in registries:
        if column in table:
            later = {name for name in registry.names() if not registry.is_own(name)} - {*stored[column]}
            table = table[~table[column].isin(later)]
    return table


def _needs_masks(metric: str) -> bool:
    return metric in METRICS.names() and "pixels" in METRICS.get(metric).needs


def _compare_tables(name: str, stored: dict[int, list[str]], expected: list[list[str]]) -> Iterator[str]:
    """Yield the first difference of two tables, both with their header, the stored one by line number."""
    if (len(stored), stored.get(1)) != (len(expected), expected[0]):
        yield f"{name}: the lines or columns are not the recomputed ones"
        return
    differences = [
        (i, column, cell, expected_cell)
        for (i, line), expected_line in zip(stored.items(), expected, strict=True)
        for column, cell, expected_cell in zip_longest(expected[0], line, expected_line, fillvalue="nothing")
        if cell != expected_cell and not _is_same_number(cell, expected_cell)
    ]
    if differences:
        i, column, cell, expected_cell = differences[0]
        others = _count_others(differences)
        yield f"{name}: {column} in line {i} is {cell}, but should be {expected_cell}{others}"


def _is_same_number(cell: str, expected: str) -> bool:
    try:
        return math.isclose(float(cell), float(expected), rel_tol=TOLERANCE, abs_tol=TOLERANCE * TOLERANCE)
    except ValueError:
        return False


def _count_others(differences: Sized) -> str:
    return f", and {len(differences) - 1} more differ" if len(differences) > 1 else ""
