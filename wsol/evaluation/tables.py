"""From evidence to the tables of a run."""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.baselines import BASELINES, baseline_stats
from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.error_types import error_table, error_type
from wsol.metrics.iou import best_iou
from wsol.metrics.summary import best_tau_index, find_tau_index, round_tau, summarize, summarize_groups
from wsol.protocols import Protocol
from wsol.runs.predictions import predictions_table
from wsol.runs.results import LocalizationResults
from wsol.runtime.threads import map_ordered

Tau = float | Literal["val", "oracle"]

FIXED = 0.2  # the fixed tau that stands beside val and oracle
_SIZES = (0.1, 0.3, 0.5)  # shares of the image that divide small, medium, large and huge objects


@dataclass(frozen=True)
class Tables:
    """Everything that a run says in rows and columns.

    Attributes:
        metrics: metric, tau_rule, tau, value (percent), ci_low, ci_high, n.
        classes: The same per class.
        groups: The same by object size and number of instances.
        errors: error, n, share (percent of images), gain, each with its interval.
        baselines: The localization metrics of boxes that look at no image, with the run's classification.
        predictions: One row an image and rank, see ``wsol.runs.predictions``.
    """

    metrics: pd.DataFrame
    classes: pd.DataFrame
    groups: pd.DataFrame
    errors: pd.DataFrame
    baselines: pd.DataFrame
    predictions: pd.DataFrame


def check_tau(tau: Tau, protocol: Protocol) -> Tau:
    """Return a tau, a number as its grid names it; any number where the protocol knows no threshold.

    Raises:
        InputError: It is neither on the protocol's grid nor ``val`` or ``oracle``.
    """
    if isinstance(tau, str) and tau not in ("val", "oracle"):
        raise InputError(f"unknown tau {tau!r}; give a number, val or oracle")
    if not len(protocol.taus):
        return FIXED
    if isinstance(tau, str):
        return tau
    return round_tau(protocol.taus, find_tau_index(tau, protocol.taus))


def choose_tau_index(protocol: Protocol, tau: Tau, chosen_on: LocalizationResults | None) -> int:
    """Return the index of the tau of a run's predictions; 0 where no threshold enters.

    Args:
        protocol: The conventions.
        tau: A number, or the rule.
        chosen_on: The images that a tau of ``val`` or ``oracle`` is chosen on.

    Raises:
        InputError: There is nothing to choose it by.
    """
    if not len(protocol.taus):
        return 0
    if not isinstance(tau, str):
        return find_tau_index(tau, protocol.taus)
    metric = METRICS.get("gt_known_loc_acc")
    assert chosen_on is not None
    evidence = chosen_on.stats
    if not metric.applies(evidence):
        raise InputError(f"tau {tau} is chosen by GT-known accuracy, which needs a map for every image; give a number")
    return best_tau_index(metric, evidence)


def tabulate(
    protocol: Protocol,
    found: LocalizationResults,
    tau: Tau,
    level: int,
    chosen_on: LocalizationResults | None,
    pool: Executor,
) -> Tables:
    """Compute every table of a run.

    Args:
        protocol: The conventions.
        found: The evaluated images.
        tau: Of the run's predictions.
        level: Index of that tau.
        chosen_on: The validation images, if tau was chosen on them.
        pool: Threads that work on it.
    """
    fixed = fixed_tau(protocol, tau)
    taus = protocol.taus if found.stats.curves.shape[1] > 1 else np.empty(0)  # boxes know no tau
    rules = (taus, fixed, chosen_on.stats if chosen_on else None)
    predictions = _predict(protocol, found, level if len(taus) else None, pool)
    names = found.images.classes
    classes = (
        summarize_groups(found.stats, _classes(found), *rules).drop(columns="by").rename(columns={"group": "class_id"})
    )
    classes["class_id"] = classes["class_id"].astype(int)
    classes.insert(1, "class", [names[label] for label in classes["class_id"]])
    first = predictions[predictions["rank"] == min(1, found.classes.shape[1] - 1)]
    own = predictions.loc[predictions["rank"] == 0, "iou"].to_numpy() >= protocol.delta
    return Tables(
        metrics=summarize(found.stats, *rules),
        classes=classes,
        groups=summarize_groups(found.stats, _groups(protocol, found), *rules),
        errors=error_table(first["error"].to_numpy(), own),
        baselines=_baselines(protocol, found, fixed, chosen_on, pool),
        predictions=predictions,
    )


def fixed_tau(protocol: Protocol, tau: Tau) -> float | None:
    """Return the tau of the rule ``fixed``: the run's own, or the usual one if that is on the grid."""
    if not isinstance(tau, str):
        return tau
    return FIXED if np.isclose(protocol.taus, FIXED, rtol=0, atol=1e-6).any() else None


def _classes(found: LocalizationResults) -> dict[tuple[str, str], NDArray[np.int64]]:
    labels = found.stats.labels
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    return {
        ("class", str(label)): members
        for label, members in zip(present.tolist(), np.split(order, starts[1:]), strict=True)
    }


def _groups(protocol: Protocol, found: LocalizationResults) -> Mapping[tuple[str, str], NDArray[np.int64]]:
    """Divide images by the share that the largest object's box has of the image, and by the number of objects."""
    shares, counts = [], []
    for truth in found.truths:
        areas = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(1)
        shares.append(areas.max() / np.prod(protocol.frame(truth.size)))
        counts.append(len(areas))
    size, many = np.searchsorted(_SIZES, shares, side="right"), np.minimum(counts, 4)
    edges = [f"{100 * edge:.0f} %" for edge in _SIZES]
    sizes = [f"below {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges)), f"{edges[-1]} up"]
    groups = {("size", name): np.flatnonzero(size == k) for k, name in enumerate(sizes)}
    return groups | {("instances", f"{k}" if k < 4 else "4 up"): np.flatnonzero(many == k) for k in range(1, 5)}


def _baselines(
    protocol: Protocol,
    found: LocalizationResults,
    fixed: float | None,
    chosen_on: LocalizationResults | None,
    pool: Executor,
) -> pd.DataFrame:
    """Score every baseline on the same images by the same rules."""
    tables = []
    for name in BASELINES.names():
        on_test, on_val = (
            baseline_stats(name, protocol, part.truths, pool, part.stats.ranks) if part else None
            for part in (found, chosen_on)
        )
        assert on_test is not None
        table = summarize(on_test, protocol.taus, fixed, on_val)
        table = table[~table["metric"].isin(["top1_cls_err", "top5_cls_err"])]
        table.insert(0, "baseline", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _predict(protocol: Protocol, found: LocalizationResults, level: int | None, pool: Executor) -> pd.DataFrame:
    """Draw the box of every guess at one threshold."""
    n = len(found.truths)
    drawn = map_ordered(pool, lambda i: found.boxes_at(i, level or 0), range(n))
    bar = tqdm(drawn, total=n, unit="image", desc="boxes of the predictions", leave=False, disable=None)
    boxes = np.stack([*bar])
    right = found.classes == found.classes[:, :1]
    ious = np.zeros(right.shape)
    errors = np.full(right.shape, "none", "<U7")
    for i, truth in enumerate(found.truths):
        there = np.flatnonzero(~np.isnan(boxes[i, :, 0]))
        ious[i, there] = best_iou(boxes[i, there], truth.boxes)
        errors[i, there] = [error_type(boxes[i, k], truth.boxes, bool(right[i, k]), protocol.delta) for k in there]
    tau = np.nan if level is None else round_tau(protocol.taus, level)
    return predictions_table(found.images.samples, found.classes, found.scores, tau, boxes, ious, errors)
