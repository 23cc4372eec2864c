"""The tables of a run, computed from the results on its images."""

from collections.abc import Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.baselines import BASELINES, baseline_stats
from wsol.errors import InputError
from wsol.metrics.base import METRICS
from wsol.metrics.bootstrap import draw_counts
from wsol.metrics.error_types import EMPTY, compare_predictions, error_table
from wsol.metrics.hits import are_hits
from wsol.metrics.iou import reduce_by_image
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.summary import best_tau_index, metric_table, resample_metrics, summarize, summarize_groups
from wsol.metrics.tau import Tau, find_tau_index, fixed_tau, round_tau
from wsol.protocols import Protocol
from wsol.runs.predictions import predictions_table
from wsol.runs.results import LocalizationResults, Tables
from wsol.runtime.threads import processor_count

_SIZES = (0.1, 0.3, 0.5)  # shares of the image that separate small, medium, large and huge objects


def choose_tau_index(protocol: Protocol, tau: Tau, chosen_on: LocalizationResults | None) -> int:
    """Return the index of the tau of a run's predictions; 0 where no threshold applies.

    Args:
        protocol: The protocol.
        tau: A number, or the rule.
        chosen_on: The results that a tau of ``val`` or ``oracle`` is chosen on.

    Raises:
        InputError: The results have nothing to choose it by.
    """
    if not len(protocol.taus):
        return 0
    if not isinstance(tau, str):
        return find_tau_index(tau, protocol.taus)
    metric = METRICS.get("gt_known_loc_acc")
    assert chosen_on is not None
    if not metric.applies(chosen_on.stats):
        raise InputError(f"tau {tau} is chosen by GT-known accuracy, which needs a map for every image; give a number")
    return best_tau_index(metric, chosen_on.stats)


def tabulate_predictions(protocol: Protocol, results: LocalizationResults, tau_index: int) -> pd.DataFrame:
    """Compare the box of every prediction with the ground truth.

    Args:
        protocol: The protocol.
        results: The results on the evaluated images.
        tau_index: Index of the threshold of the boxes.

    Returns:
        The table of predictions.
    """
    has_threshold = bool(len(protocol.taus)) and _has_threshold(results)
    truths, boxes = results.truths, results.boxes_at(tau_index if has_threshold else 0)
    right = results.classes == results.classes[:, :1]
    ious, errors = compare_predictions(
        boxes, truths.boxes, truths.starts, right, protocol.delta, protocol.strict != "none"
    )
    wrong = ~right & (results.classes >= 0) & (truths.counts > 0)[:, None]
    errors[wrong] = "class"  # also without a box, which classifiers do not give
    tau = round_tau(protocol.taus, tau_index) if has_threshold else np.nan
    return predictions_table(results.images.samples, results.classes, results.scores, tau, boxes, ious, errors)


def _has_threshold(results: LocalizationResults) -> bool:
    """Return whether boxes depend on a threshold; external boxes do not."""
    return bool(results.stats.curves.shape[1] > 1)


def tabulate(
    protocol: Protocol,
    results: LocalizationResults,
    tau: Tau,
    predictions: pd.DataFrame,
    chosen_on: LocalizationResults | None,
    pool: Executor,
    baselines: Mapping[str, Future[pd.DataFrame]] | None = None,
    bootstrap: int = RESAMPLES,
) -> Tables:
    """Compute all tables of a run.

    Args:
        protocol: The protocol.
        results: The results on the evaluated images.
        tau: The threshold of the run's predictions, or its rule.
        predictions: The table of ``tabulate_predictions``.
        chosen_on: The results on the validation images, if tau was chosen on them.
        pool: Threads for resamples and pixels.
        baselines: What ``tabulate_baseline`` returns of every baseline, if it is under way elsewhere.
        bootstrap: Number of resamples; 0 for no intervals.
    """
    fixed = fixed_tau(tau, protocol.taus)
    taus = protocol.taus if _has_threshold(results) else np.empty(0)
    rules = (taus, fixed, chosen_on.stats if chosen_on else None)
    if bootstrap:
        draw_counts(len(results.stats), 0)  # the threads share them
    if baselines is None:
        names = BASELINES.names()
        baselines = {
            name: pool.submit(tabulate_baseline, name, protocol, results, tau, chosen_on, bootstrap) for name in names
        }
    resampled = [*resample_metrics(results.stats, *rules, bootstrap)]
    first = predictions[predictions["rank"] == min(1, results.classes.shape[1] - 1)]
    own_ious = predictions.loc[predictions["rank"] == 0, "iou"].to_numpy()
    own_hits = are_hits(own_ious, protocol.delta, protocol.strict != "none")  # as predictions of the right class
    shown = (first["error"] != EMPTY).to_numpy()
    errors = error_table(first["error"].to_numpy()[shown], own_hits[shown], bootstrap)
    members = _group_by_class(results) | _group_by_objects(results)
    groups = summarize_groups(results.stats, members, resampled, bootstrap)
    by_class = groups["by"] == "class"
    return Tables(
        metrics=metric_table(resampled),
        classes=_name_classes(groups[by_class], results),
        groups=groups[~by_class].reset_index(drop=True),
        errors=errors,
        baselines=pd.concat(
            [_name_baseline(name, table.result()) for name, table in baselines.items()], ignore_index=True
        ),
        predictions=predictions,
    )


def _group_by_class(results: LocalizationResults) -> dict[tuple[str, str], NDArray[np.int64]]:
    labels = results.stats.labels
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    return {
        ("class", str(label)): members
        for label, members in zip(present.tolist(), np.split(order, starts[1:]), strict=True)
    }


def _name_classes(groups: pd.DataFrame, results: LocalizationResults) -> pd.DataFrame:
    classes = groups.drop(columns="by").rename(columns={"group": "class_id"}).reset_index(drop=True)
    classes["class_id"] = classes["class_id"].astype(int)
    classes.insert(1, "class", [results.images.classes[label] for label in classes["class_id"]])
    return classes


def _group_by_objects(results: LocalizationResults) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Group images by the share of the image that the largest published box covers, and by the number of objects."""
    truths = results.truths
    edges = np.clip(truths.edges, 0, np.repeat(np.tile(truths.sizes, 2), truths.counts, axis=0))
    areas = reduce_by_image(np.maximum, (edges[:, 2:] - edges[:, :2]).prod(1), truths.counts)
    size = np.searchsorted(_SIZES, areas / truths.sizes.prod(1), side="right")
    size[truths.counts == 0] = -1  # in no group
    number = np.minimum(truths.counts, 4)
    limits = [f"{100 * limit:.0f} %" for limit in _SIZES]
    sizes = [f"below {limits[0]}", *(f"{a} to {b}" for a, b in pairwise(limits)), f"{limits[-1]} up"]
    groups = {("size", name): np.flatnonzero(size == k) for k, name in enumerate(sizes)}
    return groups | {("instances", f"{k}" if k < 4 else "4 up"): np.flatnonzero(number == k) for k in range(1, 5)}


def tabulate_baseline(
    name: str,
    protocol: Protocol,
    results: LocalizationResults,
    tau: Tau,
    chosen_on: LocalizationResults | None,
    bootstrap: int = RESAMPLES,
) -> pd.DataFrame:
    """Compute the metrics of a baseline on the same images by the same rules.

    Args:
        name: Registered name.
        protocol: The protocol.
        results: The results on the evaluated images.
        tau: The threshold of the run's predictions, or its rule.
        chosen_on: The results on the validation images, if tau was chosen on them.
        bootstrap: Number of resamples; 0 for no intervals.

    Returns:
        The table of ``summarize``.
    """
    with ThreadPoolExecutor(processor_count()) as pool:
        on_test, on_val = (
            replace(
                baseline_stats(
                    name, protocol, split.truths, pool, split.stats.ranks, split.stats.attribution is not None
                ),
                top5=split.stats.top5,
            )
            if split
            else None
            for split in (results, chosen_on)
        )
    assert on_test is not None
    return summarize(on_test, protocol.taus, fixed_tau(tau, protocol.taus), on_val, bootstrap)


def _name_baseline(name: str, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics of a baseline that are its own, with its name; the classes are those of the run."""
    own = metrics[~metrics["metric"].isin(["top1_cls_err", "top5_cls_err"])]
    own.insert(0, "baseline", name)
    return own
