"""The public function that holds runs against each other: differences, ranks, and which images one of them finds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from wsol.comparison.compatibility import common_signature, run_names
from wsol.comparison.figures import accuracy_figure, iou_figure
from wsol.comparison.files import claim_comparison, write_comparison
from wsol.comparison.page import render_comparison_page
from wsol.errors import InputError
from wsol.io.display import printable
from wsol.metrics.base import METRICS
from wsol.metrics.bootstrap import intervals
from wsol.metrics.significance import corrected_p_values, p_values, pairs, ranks, winners
from wsol.metrics.summary import ResampledMetric, resample_metrics
from wsol.runs.read import StoredRun, read_run
from wsol.runs.signature import Signature

TIE = "tie"
_Measured = dict[tuple[str, str | None], ResampledMetric]


@dataclass(frozen=True)
class Comparison:
    """Runs on the same images, by the same conventions, held against each other.

    Attributes:
        signature: What the runs have in common, ``*`` where they differ.
        notes: What deserves a second look, one sentence each.
        stored: The runs.
        runs: run (its name here), model, method, tau (its own; NaN where no threshold enters), folder, signature.
        metrics: run, metric, tau_rule, tau, value (percent), ci_low, ci_high, rank, tied. The rank is 1 and one more
            for every run that is better beyond chance; runs of the same rank are tied. There is none where no other run
            has the metric.
        differences: A row for each pair of runs, metric and rule: run, other, metric, tau_rule, difference (run less
            other, in points), ci_low, ci_high, p, p_corrected (for all pairs of runs), better: the name of the run that
            is better beyond chance, or ``tie``.
        images: image_id, label, class, and for each run ``iou NAME`` and ``hit NAME``: the IoU of the ground-truth
            class's box at the run's tau, NaN where there is no box, and whether it hits.
        curves: tau, and for each run the GT-known accuracy in percent at that tau; no row where no threshold enters.
        delta: IoU from which on a box is a hit.
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

    def found(self, run: str, other: str) -> pd.DataFrame:
        """Return the images that one run finds and another loses, the clearest first.

        Args:
            run: Name of the one whose box hits.
            other: Name of the one whose box does not.

        Returns:
            image_id, label, class, iou, other_iou, gap; the index is the image's place in the data set.

        Raises:
            InputError: No run has that name.
        """
        names = [*self.runs["run"]]
        for name in (run, other):
            if name not in names:
                raise InputError(f"no run is called {name!r} here; there are {', '.join(names)}")
        only = self.images[self.images[f"hit {run}"] & ~self.images[f"hit {other}"]]
        table = only[["image_id", "label", "class"]].assign(iou=only[f"iou {run}"], other_iou=only[f"iou {other}"])
        table["gap"] = table["iou"] - table["other_iou"].fillna(0)
        return table.sort_values("gap", ascending=False, kind="stable")

    def pictures(self) -> dict[str, bytes]:
        """Draw the figures: PNG files by file name, with the signature as a text chunk."""
        names = [*self.runs["run"]]
        ious = self.images[[f"iou {name}" for name in names]].set_axis(names, axis=1)
        figures = {"iou.png": iou_figure(ious, self.delta, self.signature)}
        if len(self.curves):
            taus = self.runs.set_index("run")["tau"][[*self.curves.columns[1:]]]
            figures["accuracy.png"] = accuracy_figure(self.curves, [*taus], self.delta, self.signature)
        return {name: figure.png({"signature": self.signature}) for name, figure in figures.items()}


def compare(runs: Sequence[str | Path | StoredRun], *, out: str | Path | None = None) -> Comparison:
    """Hold runs against each other.

    In every bootstrap resample all runs meet the same images, so the draws of a difference are paired. Which runs are
    better beyond chance is decided at 5 %, corrected for all pairs, within each metric and rule; see
    ``wsol.metrics.significance``.

    Args:
        runs: Two or more, as folders or read by ``read_run``. They compare if they have images, protocol, version and
            the rule of tau in common.
        out: Folder to write tables and figures to; nothing is written if None.

    Returns:
        Tables of the comparison.

    Raises:
        InputError: A folder holds no run, the runs do not compare, or ``out`` holds something else.
    """
    stored = tuple(run if isinstance(run, StoredRun) else read_run(run) for run in runs)
    names = run_names([run.folder for run in stored])
    signature = common_signature(stored, names)
    signatures = [run.signature for run in stored]
    if out is not None:
        claim_comparison(Path(out), signatures)
    bar = tqdm(stored, unit="run", desc="resampling", leave=False, disable=None)
    metrics, differences = _test(names, [_measure(run) for run in bar])
    comparison = Comparison(
        signature=signature,
        notes=[*_notes(names, stored)],
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


def _measure(run: StoredRun) -> _Measured:
    held_out = run.validation.found.stats if run.validation else None
    found = resample_metrics(run.found.stats, run.taus, run.fixed, held_out)
    return {(each.metric.name, each.rule): each for each in found}


def _test(names: Sequence[str], measured: Sequence[_Measured]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables ``metrics`` and ``differences``."""
    metrics, differences = [], []
    for key in dict.fromkeys(key for each in measured for key in each):
        having = [i for i, each in enumerate(measured) if key in each]
        found = [measured[i][key] for i in having]
        values, draws = np.array([each.value for each in found]), np.stack([each.draws for each in found], 1)
        first, second = pairs(len(having)).T
        apart, drawn = values[first] - values[second], draws[:, first] - draws[:, second]
        p, corrected = p_values(apart, drawn), corrected_p_values(apart, drawn)
        winning = winners(apart, corrected, found[0].metric.better)
        order = ranks(winning, len(having))
        for i, each, rank in zip(having, found, order.tolist(), strict=True):
            ends = 100 * intervals(each.draws[:, None])[:, 0]
            place = (rank, (order == rank).sum() > 1) if len(having) > 1 else (pd.NA, pd.NA)
            metrics.append([names[i], *key, each.tau, 100 * each.value, *ends, *place])
        low, high = 100 * intervals(drawn)
        for pair, row in enumerate(zip(100 * apart, low, high, p, corrected, strict=True)):
            sides = [names[having[first[pair]]], names[having[second[pair]]]]
            differences.append([*sides, *key, *row, sides[winning[pair]] if winning[pair] >= 0 else TIE])
    columns = ["run", "metric", "tau_rule", "tau", "value", "ci_low", "ci_high", "rank", "tied"]
    table = pd.DataFrame(metrics, columns=columns).astype({"rank": "Int64", "tied": "boolean"})
    columns = ["run", "other", *columns[1:3], "difference", "ci_low", "ci_high", "p", "p_corrected", "better"]
    return table, pd.DataFrame(differences, columns=columns)


def _runs(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    rows = []
    for name, run in zip(names, stored, strict=True):
        parsed, tau = Signature.parse(run.signature), run.facts["tau"]["value"]
        own = np.nan if tau is None else tau
        rows.append([name, parsed.model, parsed.method, own, printable(str(run.folder)), run.signature])
    return pd.DataFrame(rows, columns=["run", "model", "method", "tau", "folder", "signature"])


def _images(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    images = stored[0].found.images
    labels = [sample.label for sample in images]
    columns: dict[str, Sequence[object] | NDArray[np.generic]] = {
        "image_id": [sample.image_id for sample in images],
        "label": labels,
        "class": [images.classes[label] for label in labels],
    }
    for name, run in zip(names, stored, strict=True):
        own = run.tables.predictions[run.tables.predictions["rank"] == 0]
        ious = own["iou"].where(own["x0"].notna()).to_numpy()
        columns |= {f"iou {name}": ious, f"hit {name}": ious >= run.protocol.delta}
    return pd.DataFrame(columns)


def _curves(names: Sequence[str], stored: Sequence[StoredRun]) -> pd.DataFrame:
    metric = METRICS.get("gt_known_loc_acc")
    columns = {}
    for name, run in zip(names, stored, strict=True):
        if len(run.taus) and metric.applies(run.found.stats):
            columns[name] = 100 * run.found.stats.hits.mean(0)
    return pd.DataFrame({"tau": stored[0].taus if columns else [], **columns})


def _notes(names: Sequence[str], stored: Sequence[StoredRun]) -> Iterator[str]:
    """Yield what deserves a second look, one sentence each."""
    for i, j in pairs(len(stored)).tolist():
        if stored[i].signature == stored[j].signature:
            yield f"{names[i]} and {names[j]} have the same signature: what they differ in is chance or the machine's"
    for name, run in zip(names, stored, strict=True):
        yield from (f"{name}: {printable(note)}" for note in run.facts["notes"])


def _write(comparison: Comparison, folder: Path) -> None:
    """Write tables, each row with the signature of its runs or of all, figures, and the page."""
    signed = comparison.runs.set_index("run")["signature"]
    pair = comparison.differences
    tables = {
        "metrics": comparison.metrics.assign(signature=comparison.metrics["run"].map(signed)),
        "differences": pair.assign(signature=pair["run"].map(signed), other_signature=pair["other"].map(signed)),
        "images": comparison.images.assign(signature=comparison.signature),
    }
    if len(comparison.curves):
        tables["curves"] = comparison.curves.assign(signature=comparison.signature)
    pictures = comparison.pictures()
    page = render_comparison_page(
        comparison.stored,
        comparison.signature,
        comparison.notes,
        comparison.runs,
        comparison.metrics,
        comparison.differences,
        comparison.images,
        pictures["iou.png"],
        folder,
    )
    files = {**pictures, "report.html": page.encode("utf-8", "replace")}
    write_comparison(folder, {**tables, "runs": comparison.runs}, files)
