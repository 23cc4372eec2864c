"""The tables of a comparison that list its runs, their images, their curves and their seeds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.comparison.differences import Resampled
from wsol.comparison.groups import SeedGroup
from wsol.io.display import printable
from wsol.metrics.base import METRICS
from wsol.metrics.hits import are_hits
from wsol.runs.read import StoredRun
from wsol.runs.signature import Signature

_SEEDS = ["run", "folder", "seed", "metric", "tau_rule", "tau", "value", "signature"]


def run_table(groups: Sequence[SeedGroup]) -> pd.DataFrame:
    """Return ``runs`` of ``wsol.comparison.compare.Comparison``."""
    rows = []
    for group in groups:
        first = group.runs[0]
        folders = "; ".join(printable(str(run.folder)) for run in group.runs)
        method = Signature.parse(first.signature).method
        fields = [group.name, group.model, method, first.protocol.signature, len(group.runs), group.tau]
        rows.append([*fields, folders, group.signature])
    columns = ["run", "model", "method", "protocol", "seeds", "tau", "folder", "signature"]
    table = pd.DataFrame(rows, columns=columns)
    same = {"protocol": table["protocol"].nunique() == 1, "seeds": (table["seeds"] == 1).all()}
    return table.drop(columns=[name for name, is_same in same.items() if is_same])


def image_table(groups: Sequence[SeedGroup]) -> pd.DataFrame:
    """Return ``images`` of ``wsol.comparison.compare.Comparison``."""
    images = groups[0].runs[0].results.images
    labels = [sample.label for sample in images]
    columns: dict[str, Sequence[object] | NDArray[np.generic]] = {
        "image_id": [sample.image_id for sample in images],
        "label": labels,
        "class": [images.classes[label] for label in labels],
    }
    for group in groups:
        ious = [_true_class_ious(run) for run in group.runs]
        protocol = group.runs[0].protocol
        share = np.mean([are_hits(each, protocol.delta, protocol.strict == "all") for each in ious], axis=0)
        columns |= {f"iou {group.name}": _mean_ious(ious), f"hit {group.name}": share > 0.5}
        if len(group.runs) > 1:
            columns[f"hit_share {group.name}"] = share
    return pd.DataFrame(columns)


def pooled_ious(group: SeedGroup) -> NDArray[np.float64]:
    """Return the IoU of the true class's box in all images that show an object, of each run in turn."""
    shown = group.runs[0].results.truths.counts > 0
    return np.concatenate([_true_class_ious(run)[shown] for run in group.runs])


def curve_table(groups: Sequence[SeedGroup]) -> pd.DataFrame:
    """Return ``curves`` of ``wsol.comparison.compare.Comparison``."""
    columns, taus = {}, dict[float, float]()
    for group in groups:
        curves = [curve for run in group.runs if (curve := _curve(run)) is not None]
        if len(curves) == len(group.runs):
            columns[group.name] = sum(curves[1:], curves[0]) / len(curves)
            grid = group.runs[0].taus
            taus = dict(zip(np.round(grid, 9).tolist(), grid.tolist(), strict=True)) | taus
    grid_of_all = sorted(taus)
    by_run = {name: column.reindex(grid_of_all).to_numpy() for name, column in columns.items()}
    return pd.DataFrame({"tau": [taus[tau] for tau in grid_of_all], **by_run})


def curve_spreads(groups: Sequence[SeedGroup], curves: pd.DataFrame) -> pd.DataFrame:
    """Return the standard deviation over seeds (n - 1) of the curves of every group of several, in points."""
    spreads = {}
    for group in groups:
        if group.name in curves and len(group.runs) > 1:
            every = pd.concat([curve for run in group.runs if (curve := _curve(run)) is not None], axis=1)
            spreads[group.name] = every.std(axis=1, ddof=1).reindex(np.round(curves["tau"], 9)).to_numpy()
    return pd.DataFrame(spreads)


def seed_table(groups: Sequence[SeedGroup], resampled: Sequence[Sequence[Resampled]]) -> pd.DataFrame:
    """Return ``seeds`` of ``wsol.comparison.compare.Comparison``.

    Args:
        groups: The groups.
        resampled: The metrics of every run of each.
    """
    rows = []
    for group, by_run in zip(groups, resampled, strict=True):
        members = zip(group.runs, group.trainings, by_run, strict=True) if len(group.runs) > 1 else ()
        for run, training, metrics in members:
            seed = training.seed if training else None
            for (metric, rule), each in metrics.items():
                number = [metric, rule, each.tau, 100 * each.value]
                rows.append([group.name, printable(str(run.folder)), seed, *number, run.signature])
    return pd.DataFrame(rows, columns=_SEEDS).astype({"seed": "Int64"})


def _true_class_ious(run: StoredRun) -> NDArray[np.float64]:
    """Return the IoU of the true class's box at the run's tau, ``(n,)``; NaN if there is no box or no object."""
    true_class = run.tables.predictions[run.tables.predictions["rank"] == 0]
    ious: NDArray[np.float64] = true_class["iou"].where(true_class["x0"].notna()).to_numpy()
    return ious


def _mean_ious(ious: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the mean over seeds, where a missing box has IoU 0; NaN where no seed has a box."""
    stacked = np.stack(ious)
    return np.where(np.isnan(stacked).all(0), np.nan, np.nan_to_num(stacked).mean(0))


def _curve(run: StoredRun) -> "pd.Series[float] | None":
    """Return the GT-known accuracy in percent by tau, rounded; None if the run has no thresholds or not all boxes."""
    metric = METRICS.get("gt_known_loc_acc")
    if not len(run.taus) or not metric.applies(run.results.stats):
        return None
    return pd.Series(100 * run.results.stats.counted_by(metric).hits.mean(0), np.round(run.taus, 9))
