"""Whether the tables of a run follow from what it stored."""

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

from wsol.errors import first_line
from wsol.evaluation.tables import FIXED, choose_tau_index, fixed_tau, tabulate
from wsol.leaderboards.recompute import recompute_curves
from wsol.metrics.base import METRICS
from wsol.metrics.summary import round_tau
from wsol.runs.checksums import changed_files
from wsol.runs.metadata import read_facts
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature
from wsol.runs.store import FILES

TOLERANCE = 1e-6
"""Relative; what the same code computes on another machine may differ by less."""

_UNSEALED = ("run.json", "report.html")
_FAILURES = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


def verify_checksums(folder: Path) -> list[str]:
    """Return which files of a run, and of its validation split, are not what it wrote: a phrase each.

    Args:
        folder: Of the run.
    """
    broken, has_validation = _unsealed(folder)
    return broken + [f"val: {phrase}" for phrase in (_unsealed(folder / "val")[0] if has_validation else ())]


def _unsealed(folder: Path) -> tuple[list[str], bool]:
    """Say the same of one folder alone, and whether the run has a validation split."""
    try:
        run = read_facts(folder)
        names = {name for name in FILES if name not in _UNSEALED and (folder / name).is_file()}
        broken = changed_files(run, folder) or [f"{name} has no seal" for name in sorted(names - set(run["files"]))]
    except _FAILURES as error:
        return [f"run.json cannot be read ({first_line(error):.200})"], False
    return broken, bool(run["val"])


def verify_tables(run: StoredRun, pool: Executor) -> list[str]:
    """Compute all tables of a run again and says what comes out otherwise: a phrase each.

    The tables are held against curves, boxes and ground truth, the curves and boxes against the raw maps where there
    are some, and the signature against all of them. What only the network or the data set could say again - predicted
    classes and their scores, pixels of masks, what it cost - is held against itself alone; its seal has to do.

    Args:
        run: The run, and its validation split.
        pool: Threads that work on it.
    """
    wrong = [f"val: {phrase}" for phrase in verify_tables(run.validation, pool)] if run.validation else []
    try:
        level = _level(run)
        wrong += [
            *_signature(run, level),
            *_guesses(run, level),
            *recompute_curves(run, level, pool),
            *_tables(run, level, pool),
        ]
    except _FAILURES as error:
        wrong.append(f"its tables cannot be computed from its files ({error!r:.200})")
    made = run.facts["versions"].get("wsol")
    if wrong and made != version("wsol"):
        wrong.append(f"it was made by wsol {made}, and this is {version('wsol')}")
    return wrong


def _level(run: StoredRun) -> int:
    """Return the index of the run's tau."""
    held = run.validation.found if run.validation else run.found
    return choose_tau_index(run.protocol, run.tau, held) if run.tau is not None else 0


def _signature(run: StoredRun, level: int) -> Iterator[str]:
    """Return what in the signature, and in ``run.json``, is not what the files say."""
    found, facts = Signature.parse(run.signature), run.facts
    tau = None if run.tau is None else round_tau(run.protocol.taus, level)
    dataset = run.found.images.signature
    masks = run.found.stats.pixels is not None
    rule = "tau:none"
    if isinstance(run.tau, float | int):
        rule = f"tau:{run.tau}"
    elif run.tau is not None:
        rule = f"tau:{run.tau}{_held_out(run)}={tau:g}"
    pairs = {
        "tau": (facts["tau"]["value"], tau),
        "fixed tau": (facts["tau"]["fixed"], fixed_tau(run.protocol, FIXED if run.tau is None else run.tau)),
        "n": (facts["dataset"]["n"], len(run.found.images)),
        "dataset": (found.dataset, found.dataset if found.dataset == dataset and not masks else f"{dataset}+masks"),
        "model": (found.model, facts["origin"]["model"]),
        "method": (found.method, facts["origin"]["method"]),
        "protocol": (found.protocol, run.protocol.signature),
        "rule of tau": (found.tau, rule),
        "version": (found.version, f"wsol:{facts['versions'].get('wsol')}"),
    }
    for name, (said, follows) in pairs.items():
        if said != follows:
            yield f"run.json says {name} {said}, its files {follows}"


def _held_out(run: StoredRun) -> str:
    """Return what the signature says of the images that tau was chosen on."""
    if run.validation is None:
        return ""
    own, held = Signature.parse(run.signature), Signature.parse(run.validation.signature)
    return f"({held.dataset})" if held.model == own.model else f"({held.dataset},{held.model})"


def _guesses(run: StoredRun, level: int) -> Iterator[str]:
    """Return where guesses and curves contradict each other."""
    found, evidence, table = run.found, run.found.stats, run.tables.predictions
    classes, scores = found.classes, found.scores
    own = table["iou"].to_numpy().reshape(classes.shape)[:, 0]
    right = classes == classes[:, :1]
    boxes = np.stack([found.boxes_at(i, level) for i in range(len(classes))])
    ordered = np.sort(classes[:, 1:], axis=1)
    checks = {
        "predictions.parquet: the class of rank 0 is not the image's label": classes[:, 0] == evidence.labels,
        "predictions.parquet: a class has two boxes": _same(boxes, boxes[:, :1]).all(2) | ~right,
        "predictions.parquet: a class has two scores": _same(scores, scores[:, :1]) | ~right,
        "predictions.parquet: a class is guessed twice": (np.diff(ordered, axis=1) > 0) | (ordered[:, :-1] < 0),
        "predictions.parquet: scores rise with the rank": ~(np.diff(scores[:, 1:], axis=1) > 0),
        "curves.npy: not the IoU of the boxes at the run's tau": _same(evidence.curves[:, level], own),
    }
    if evidence.contours is not None:
        checks["curves_v2.npy: below curves.npy, though any contour's box counts"] = (
            evidence.contours >= evidence.curves
        )
    for phrase, good in checks.items():
        if not good.all():
            yield f"{phrase} ({found.images.samples[int(np.argwhere(~good)[0, 0])].image_id})"


def _same(one: Any, other: Any) -> Any:
    return np.isclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _tables(run: StoredRun, level: int, pool: Executor) -> Iterator[str]:
    """Return which tables come out otherwise."""
    held = run.validation.found if run.validation else None
    tau = FIXED if run.tau is None else run.tau
    again = vars(tabulate(run.protocol, run.found, tau, level, held, pool))
    predictions, written = again.pop("predictions"), run.tables.predictions
    for name in predictions:
        said, follows = written[name].to_numpy(), predictions[name].to_numpy()
        number = np.issubdtype(follows.dtype, np.number)
        wrong = np.flatnonzero(~_same(said, follows) if number else said != follows)
        if len(wrong):
            i = int(wrong[0])
            more = _more(wrong[1:])
            yield f"predictions.parquet: {name} in row {i} is {said[i]}, and comes out as {follows[i]}{more}"
    for name, table in again.items():
        with (run.folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            stored = dict(enumerate(csv.reader(file), 1))
        if name == "baselines":  # a run does not keep the masks that they were held against
            stored = {i: line for i, line in stored.items() if not _looks_at_masks(line[1])}
        text = table.assign(signature=run.signature).to_csv(index=False, lineterminator="\n")
        yield from _differences(f"{name}.csv", stored, list(csv.reader(io.StringIO(text, newline=""))))


def _looks_at_masks(metric: str) -> bool:
    return metric in METRICS.names() and "pixels" in METRICS.get(metric).needs


def _differences(name: str, stored: dict[int, list[str]], again: list[list[str]]) -> Iterator[str]:
    """Return where two tables differ first, both with their header, the stored one by line."""
    if (len(stored), stored.get(1)) != (len(again), again[0]):
        yield f"{name}: it has other lines or columns than come out"
        return
    wrong = [
        (i, column, said, follows)
        for (i, line), other in zip(stored.items(), again, strict=True)
        for column, said, follows in zip_longest(again[0], line, other, fillvalue="nothing")
        if said != follows and not _close(said, follows)
    ]
    if wrong:
        i, column, said, follows = wrong[0]
        yield f"{name}: {column} in line {i} is {said}, and comes out as {follows}{_more(wrong[1:])}"


def _close(said: str, follows: str) -> bool:
    try:
        return math.isclose(float(said), float(follows), rel_tol=TOLERANCE, abs_tol=TOLERANCE * TOLERANCE)
    except ValueError:
        return False


def _more(others: Sized) -> str:
    return f", and so {len(others)} more" if len(others) else ""
