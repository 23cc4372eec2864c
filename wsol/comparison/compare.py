"""The public function that compares runs: differences, ranks, and the images that only one of them finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsol.comparison.compatibility import common_signature, run_names
from wsol.comparison.differences import compare_pairs, resample
from wsol.comparison.figures import accuracy_figure, iou_figure
from wsol.comparison.files import claim_comparison, write_comparison
from wsol.comparison.notes import comparison_notes
from wsol.comparison.page import render_comparison_page
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.metrics.base import METRICS
from wsol.metrics.hits import are_hits
from wsol.runs.read import StoredRun, read_run
from wsol.runs.signature import Signature
from wsol.runtime.progress import track


@dataclass(frozen=True)
class Comparison:
    """Comparison of runs on the same images, under the same protocol or of the same score maps.

    Attributes:
        signature: Signature that the runs have in common, ``*`` in fields where they differ.
        notes: Warnings, one sentence each.
        stored: The runs.
        runs: run (its name in this comparison), model, method, protocol (only if not all have the same), tau (the run's
            own; NaN if it uses no threshold), folder, signature.
        metrics: run, metric, tau_rule, tau, value (percent), ci_low, ci_high, rank, tied. The rank is 1 plus the number
            of significantly better runs; runs of the same rank are tied. The rank is missing if no other run has the
            metric.
        differences: One row per pair of runs, metric and rule: run, other, metric, tau_rule, difference (run minus
            other, in points), ci_low, ci_high, p, p_corrected (for all pairs of runs), better: the name of the
            significantly better run, or ``tie``.
        images: image_id, label, class, and for each run ``iou NAME`` and ``hit NAME``: the IoU of the ground-truth
            class's box at the run's tau, NaN if there is no box, and whether it is a hit.
        curves: tau, and for each run the GT-known accuracy in percent at that tau, NaN if its protocol does not have
            that tau; empty if the runs use no threshold.
        delta: Minimum IoU of a hit; None if it is not the same for all runs.
    """

    signature: str
    notes: list[str]
    stored: tuple[StoredRun, ...] = field(repr=False)
    runs: pd.DataFrame = field(repr=False)
    metrics: pd.DataFrame = field(repr=False)
    differences: pd.DataFrame = field(repr=False)
    images: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    delta: float | None

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
        deltas = [run.protocol.delta for run in self.stored]
        strict = [run.protocol.strict == "all" for run in self.stored]
        figures = {"iou.png": iou_figure(ious, deltas, self.signature, strict)}
        if len(self.curves):
            taus = self.runs.set_index("run")["tau"][[*self.curves.columns[1:]]]
            figures["accuracy.png"] = accuracy_figure(self.curves, [*taus], self.delta, self.signature)
        return {name: figure.to_png({"signature": self.signature}) for name, figure in figures.items()}


def compare(runs: Sequence[str | Path | StoredRun], *, out: str | Path | None = None) -> Comparison:
    """Compare runs on the same images.

    All runs use the same bootstrap resamples of the images, so their differences are paired, under whatever protocol.
    Significance is tested at 5 %, corrected for all pairs, within each metric and rule; see
    ``wsol.metrics.significance``.

    Args:
        runs: Two or more runs, as folders or as returned by ``read_run``. They are comparable if they have the same
            images, version and rule of tau, and the same protocol; or the same score maps under several protocols.
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
    resampled = [resample(run) for run in track(stored, "resampling", unit="run")]
    metrics, differences = compare_pairs(names, resampled)
    comparison = Comparison(
        signature=signature,
        notes=[*comparison_notes(names, stored, differences)],
        stored=stored,
        runs=_runs(names, stored),
        metrics=metrics,
        differences=differences,
        images=_images(names, stored),
        curves=_curves(names, stored),
        delta=stored[0].protocol.delta if len({run.protocol.delta for run in stored}) == 1 else None,
    )
    if out is not None:
        _write(comparison, Path(out))
    return comparison


def _runs(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    rows = []
    for name, run in zip(names, stored, strict=True):
        parsed, tau = Signature.parse(run.signature), run.metadata.tau.value
        tau = np.nan if tau is None else tau
        fields = [name, parsed.model, parsed.method, run.protocol.signature, tau]
        rows.append([*fields, printable(str(run.folder)), run.signature])
    table = pd.DataFrame(rows, columns=["run", "model", "method", "protocol", "tau", "folder", "signature"])
    return table if table["protocol"].nunique() > 1 else table.drop(columns="protocol")


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
        hits = are_hits(ious, run.protocol.delta, run.protocol.strict == "all")
        columns |= {f"iou {name}": ious, f"hit {name}": hits}
    return pd.DataFrame(columns)


def _curves(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    metric = METRICS.get("gt_known_loc_acc")
    columns, taus = {}, dict[float, float]()
    for name, run in zip(names, stored, strict=True):
        if len(run.taus) and metric.applies(run.results.stats):
            rounded = np.round(run.taus, 9)
            columns[name] = pd.Series(100 * run.results.stats.hits.mean(0), rounded)
            taus = dict(zip(rounded.tolist(), run.taus.tolist(), strict=True)) | taus
    grid = sorted(taus)
    by_run = {name: column.reindex(grid).to_numpy() for name, column in columns.items()}
    return pd.DataFrame({"tau": [taus[tau] for tau in grid], **by_run})


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
