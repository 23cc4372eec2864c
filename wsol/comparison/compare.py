"""The public function that compares runs: differences, ranks, and the images that only one of them finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.comparison.compatibility import common_signature, run_names
from wsol.comparison.figures import accuracy_figure, iou_figure
from wsol.comparison.files import claim_comparison, write_comparison
from wsol.comparison.notes import TIE, comparison_notes
from wsol.comparison.page import render_comparison_page
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.metrics.base import METRICS
from wsol.metrics.bootstrap import intervals
from wsol.metrics.significance import corrected_p_values, p_values, pairs, ranks, winners
from wsol.metrics.summary import ResampledMetric, resample_metrics
from wsol.runs.read import StoredRun, read_run
from wsol.runs.signature import Signature
from wsol.runtime.progress import track

_Metrics = dict[tuple[str, str | None], ResampledMetric]


@dataclass(frozen=True)
class Comparison:
    """Comparison of runs on the same images under the same protocol.

    Attributes:
        signature: Signature that the runs have in common, ``*`` in fields where they differ.
        notes: Warnings, one sentence each.
        stored: The runs.
        runs: run (its name in this comparison), model, method, tau (the run's own; NaN if it uses no threshold),
            folder, signature.
        metrics: run, metric, tau_rule, tau, value (percent), ci_low, ci_high, rank, tied. The rank is 1 plus the number
            of significantly better runs; runs of the same rank are tied. The rank is missing if no other run has the
            metric.
        differences: One row per pair of runs, metric and rule: run, other, metric, tau_rule, difference (run minus
            other, in points), ci_low, ci_high, p, p_corrected (for all pairs of runs), better: the name of the
            significantly better run, or ``tie``.
        images: image_id, label, class, and for each run ``iou NAME`` and ``hit NAME``: the IoU of the ground-truth
            class's box at the run's tau, NaN if there is no box, and whether it is a hit.
        curves: tau, and for each run the GT-known accuracy in percent at that tau; empty if the runs use no threshold.
        delta: Minimum IoU of a hit.
    """

    signature: str
    notes: list[str]
    stored: tuple[StoredRun, ...] = field(repr=False)
    runs: pd.DataFrame = field(repr=False)
    metrics: pd.DataFrame = field(repr=False)
    differences: pd.DataFrame = field(repr=False)
    images: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    delta: float

    def __repr__(self) -> str:
        lines = [f"Comparison of {len(self.runs)} runs on {len(self.images)} images", f"  {self.signature}"]
        rules = [run.metadata.tau.rule for run in self.stored]
        for name, rule in zip(self.runs["run"], rules, strict=True):
            rows = self.metrics[(self.metrics["run"] == name) & (self.metrics["metric"] == "gt_known_loc_acc")]
            own = rows[rows["tau_rule"].isna() | (rows["tau_rule"] == rule)]
            lines.append(f"  {name}" + "".join(f": GT-known accuracy {value:.3f} %" for value in own["value"]))
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def images_found_only_by(self, run: str, other: str) -> pd.DataFrame:
        """Return the images that one run finds and another misses, sorted by the gap between their IoUs.

        Args:
            run: Name of the run whose box is a hit.
            other: Name of the run whose box is not.

        Returns:
            image_id, label, class, iou, other_iou, gap; the index is the image's position in the data set.

        Raises:
            InputError: The comparison has no run of that name.
        """
        names = [*self.runs["run"]]
        for name in (run, other):
            if name not in names:
                raise InputError(f"the comparison has no run {name!r}; its runs are {', '.join(names)}")
        only = self.images[self.images[f"hit {run}"] & ~self.images[f"hit {other}"]]
        table = only[["image_id", "label", "class"]].assign(iou=only[f"iou {run}"], other_iou=only[f"iou {other}"])
        table["gap"] = table["iou"] - table["other_iou"].fillna(0)
        return table.sort_values("gap", ascending=False, kind="stable")

    def draw_figures(self) -> dict[str, bytes]:
        """Draw the figures: PNG files by file name, with the signature as a text chunk."""
        names = [*self.runs["run"]]
        ious = self.images[[f"iou {name}" for name in names]].set_axis(names, axis=1)
        figures = {"iou.png": iou_figure(ious, self.delta, self.signature)}
        if len(self.curves):
            taus = self.runs.set_index("run")["tau"][[*self.curves.columns[1:]]]
            figures["accuracy.png"] = accuracy_figure(self.curves, [*taus], self.delta, self.signature)
        return {name: figure.to_png({"signature": self.signature}) for name, figure in figures.items()}


def compare(runs: Sequence[str | Path | StoredRun], *, out: str | Path | None = None) -> Comparison:
    """Compare runs on the same images.

    All runs use the same bootstrap resamples of the images, so their differences are paired. Significance is tested at
    5 %, corrected for all pairs, within each metric and rule; see ``wsol.metrics.significance``.

    Args:
        runs: Two or more runs, as folders or as returned by ``read_run``. They are comparable if they have the same
            images, protocol, version and rule of tau.
        out: Folder for tables, figures and the report page; nothing is written if None.

    Returns:
        Tables of the comparison.

    Raises:
        InputError: A folder is not a run folder, the runs are not comparable, or ``out`` contains something else.
    """
    stored = tuple(run if isinstance(run, StoredRun) else read_run(run) for run in runs)
    names = run_names([run.folder for run in stored])
    signature = common_signature(stored, names)
    signatures = [run.signature for run in stored]
    if out is not None:
        claim_comparison(Path(out), signatures)
    resampled = [_resample(run) for run in track(stored, "resampling", unit="run")]
    metrics, differences = _test_differences(names, resampled)
    comparison = Comparison(
        signature=signature,
        notes=[*comparison_notes(names, stored, differences)],
        stored=stored,
        runs=_runs(names, stored),
        metrics=metrics,
        differences=differences,
        images=_images(names, stored),
        curves=_curves(names, stored),
        delta=stored[0].protocol.delta,
    )
    if out is not None:
        _write(comparison, Path(out))
    return comparison


def _resample(run: StoredRun) -> _Metrics:
    held_out = run.validation.results.stats if run.validation else None
    resampled = resample_metrics(run.results.stats, run.taus, run.metadata.tau.fixed, held_out)
    return {(each.metric.name, each.rule): each for each in resampled}


def _test_differences(names: Sequence[str], resampled: Sequence[_Metrics]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables ``metrics`` and ``differences``."""
    metrics, differences = [], []
    for key in dict.fromkeys(key for run_metrics in resampled for key in run_metrics):
        having = [i for i, run_metrics in enumerate(resampled) if key in run_metrics]
        results = [resampled[i][key] for i in having]
        values, draws = np.array([each.value for each in results]), np.stack([each.draws for each in results], 1)
        first, second = pairs(len(having)).T
        gaps, gap_draws = values[first] - values[second], draws[:, first] - draws[:, second]
        p, corrected = p_values(gaps, gap_draws), corrected_p_values(gaps, gap_draws)
        winning = winners(gaps, corrected, results[0].metric.better)
        order = ranks(winning, len(having))
        for i, each, rank in zip(having, results, order.tolist(), strict=True):
            percent = (100 * number for number in (each.value, each.interval.low, each.interval.high))
            rank_and_tie = (rank, (order == rank).sum() > 1) if len(having) > 1 else (pd.NA, pd.NA)
            metrics.append([names[i], *key, each.tau, *percent, *rank_and_tie])
        low, high = 100 * intervals(gap_draws)
        for pair, row in enumerate(zip(100 * gaps, low, high, p, corrected, strict=True)):
            sides = [names[having[first[pair]]], names[having[second[pair]]]]
            differences.append([*sides, *key, *row, sides[winning[pair]] if winning[pair] >= 0 else TIE])
    columns = ["run", "metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "rank", "tied"]
    table = pd.DataFrame(metrics, columns=columns).astype({"rank": "Int64", "tied": "boolean"})
    columns = ["run", "other", *columns[1:3], "difference", "ci_low", "ci_high", "p", "p_corrected", "better"]
    return table, pd.DataFrame(differences, columns=columns)


def _runs(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    rows = []
    for name, run in zip(names, stored, strict=True):
        parsed, tau = Signature.parse(run.signature), run.metadata.tau.value
        tau = np.nan if tau is None else tau
        rows.append([name, parsed.model, parsed.method, tau, printable(str(run.folder)), run.signature])
    return pd.DataFrame(rows, columns=["run", "model", "method", "tau", "folder", "signature"])


def _images(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    images = stored[0].results.images
    labels = [sample.label for sample in images]
    columns: dict[str, Sequence[object] | NDArray[np.generic]] = {
        "image_id": [sample.image_id for sample in images],
        "label": labels,
        "class": [images.classes[label] for label in labels],
    }
    for name, run in zip(names, stored, strict=True):
        true_class = run.tables.predictions[run.tables.predictions["rank"] == 0]
        ious = true_class["iou"].where(true_class["x0"].notna()).to_numpy()
        columns |= {f"iou {name}": ious, f"hit {name}": ious >= run.protocol.delta}
    return pd.DataFrame(columns)


def _curves(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    metric = METRICS.get("gt_known_loc_acc")
    columns = {}
    for name, run in zip(names, stored, strict=True):
        if len(run.taus) and metric.applies(run.results.stats):
            columns[name] = 100 * run.results.stats.hits.mean(0)
    return pd.DataFrame({"tau": stored[0].taus if columns else [], **columns})


def _write(comparison: Comparison, folder: Path) -> None:
    """Write the tables, with the signature of the row's runs or of the comparison, the figures, and the page."""
    signatures = comparison.runs.set_index("run")["signature"]
    differences = comparison.differences
    tables = {
        "metrics": comparison.metrics.assign(signature=comparison.metrics["run"].map(signatures)),
        "differences": differences.assign(
            signature=differences["run"].map(signatures), other_signature=differences["other"].map(signatures)
        ),
        "images": comparison.images.assign(signature=comparison.signature),
    }
    if len(comparison.curves):
        tables["curves"] = comparison.curves.assign(signature=comparison.signature)
    figures = comparison.draw_figures()
    page = render_comparison_page(
        comparison.stored,
        comparison.signature,
        comparison.notes,
        comparison.runs,
        comparison.metrics,
        comparison.differences,
        comparison.images,
        figures["iou.png"],
        folder,
    )
    files = {**figures, "report.html": page.encode("utf-8", "replace")}
    write_comparison(folder, {**tables, "runs": comparison.runs}, files)
