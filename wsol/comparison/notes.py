"""Notes of a comparison: runs that are the same, and tests that seem to contradict an interval."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.comparison.compatibility import recorded_differences, signature_notes
from wsol.comparison.groups import SeedGroup
from wsol.comparison.seed_notes import seed_notes
from wsol.io.display import printable
from wsol.metrics.base import row_title
from wsol.metrics.significance import ALPHA
from wsol.runs.read import StoredRun

TIE = "tie"
_NEARLY = 0.99  # share of images with equal predictions from which on two runs are noted as nearly identical
_EXAMPLES = 3
_PREDICTED = ["class_id", "x0", "y0", "x1", "y1", "iou"]


def comparison_notes(groups: Sequence[SeedGroup], differences: pd.DataFrame) -> Iterator[str]:
    """Yield what deserves a second look, one sentence each.

    Args:
        groups: The runs and groups of seeds.
        differences: ``differences`` of ``wsol.comparison.compare.Comparison``.
    """
    names = [name for group in groups for name in group.run_names]
    stored = [run for group in groups for run in group.runs]
    yield from signature_notes(names, stored)
    for i, j in combinations(range(len(stored)), 2):
        yield from _compare_predictions(f"{names[i]} and {names[j]}", stored[i], stored[j])
    yield from seed_notes(groups)
    yield from _explain_ties(differences)
    for group in groups:
        yield from _list_notes(group)


def _list_notes(group: SeedGroup) -> Iterator[str]:
    """Yield the notes of runs; what all runs of a group say is said once."""
    notes = [note for run in group.runs for note in run.metadata.notes]
    for note in dict.fromkeys(notes):
        having = [name for name, run in zip(group.run_names, group.runs, strict=True) if note in run.metadata.notes]
        yield f"{group.name if len(having) == len(group.runs) else ', '.join(having)}: {printable(note)}"


def _compare_predictions(pair: str, one: StoredRun, other: StoredRun) -> Iterator[str]:
    """Yield a note if two runs have the same signature, or the same predictions in all or nearly all images."""
    same_signature = one.signature == other.signature
    same = _same_predictions(one, other)
    n = len(one.results.images)
    if same.all() and np.array_equal(one.results.stats.curves, other.results.stats.curves):
        which = "have the same signature and are" if same_signature else "are"
        yield f"{pair} {which} identical: the same classes, boxes and IoUs in all {n} images, at every threshold"
    elif same_signature:
        yield f"{pair} have the same signature, but not the same predictions: {_find_reason(one, other)}"
    elif same.mean() >= _NEARLY:
        at = "" if one.tau is None else f" at tau {one.metadata.tau.value:g}"
        yield f"{pair} are nearly identical: the same classes and boxes{at} in {same.sum()} of {n} images"


def _find_reason(one: StoredRun, other: StoredRun) -> str:
    """Return why runs of the same signature differ, as far as they record it."""
    recorded = printable("; ".join(recorded_differences(one, other)))
    unrecorded = "hardware, code of other packages, or images whose bytes are not in it (--exact-images)"
    return (
        f"they differ in {recorded}" if recorded else f"the reason is outside of what it covers, such as {unrecorded}"
    )


def _same_predictions(one: StoredRun, other: StoredRun) -> NDArray[np.bool_]:
    """Return for each image whether the classes, their boxes and the IoUs of these are the same."""
    n = len(one.results.images)
    ours, theirs = (run.tables.predictions[_PREDICTED].to_numpy(np.float64).reshape(n, -1) for run in (one, other))
    if ours.shape != theirs.shape:
        return np.zeros(n, np.bool_)
    result: NDArray[np.bool_] = ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all(1)
    return result


def _explain_ties(differences: pd.DataFrame) -> Iterator[str]:
    """Yield why a difference is a tie although its interval excludes 0, or none although it includes 0."""
    pairs = len(differences[["run", "other"]].drop_duplicates())
    excludes = (differences["ci_low"] > 0) | (differences["ci_high"] < 0)
    tie, significant = differences["better"] == TIE, differences["p"] < ALPHA
    if len(rows := differences[excludes & tie & significant]):
        yield (
            f"{_list(rows, pairs)}: tie although p is below {ALPHA:g} and the 95 % interval excludes 0, since both are "
            f"those of one pair, and significance is corrected for all {pairs} pairs of runs (p_corrected)"
        )
    if len(rows := differences[excludes & tie & ~significant]):
        yield (
            f"{_list(rows, pairs)}: tie although the 95 % interval excludes 0, since p is not below {ALPHA:g}; where "
            "few images differ the test is stricter than the interval"
        )
    if len(rows := differences[~excludes & ~tie]):
        yield (
            f"{_list(rows, pairs)}: significant although the 95 % interval includes 0, a borderline case: more than "
            "2.5 % of the resamples are at 0 or beyond, but p, the share of those on either side that are as far from "
            f"the difference as 0 is, is below {ALPHA:g}"
        )


def _list(rows: pd.DataFrame, pairs: int) -> str:
    """Return metrics, their rules and, of several pairs, the runs."""
    titles = []
    for row in rows.head(_EXAMPLES).to_dict("records"):
        rule = "" if pd.isna(row["tau_rule"]) else f" ({row['tau_rule']})"
        runs = f" of {row['run']} and {row['other']}" if pairs > 1 else ""
        titles.append(f"{row_title(str(row['metric'])).strip()}{rule}{runs}")
    more = f" and {len(rows) - _EXAMPLES} more" if len(rows) > _EXAMPLES else ""
    return ", ".join(titles) + more
