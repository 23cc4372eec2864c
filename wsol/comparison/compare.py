"""The public function that compares runs: differences, ranks, and the images that only one of them finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from wsol.comparison.compatibility import common_signature
from wsol.comparison.differences import average_runs, compare_pairs, resample
from wsol.comparison.figures import accuracy_figure, iou_figure
from wsol.comparison.files import claim_comparison, write_comparison
from wsol.comparison.groups import Run, SeedGroup, read_groups
from wsol.comparison.notes import comparison_notes
from wsol.comparison.page import render_comparison_page
from wsol.comparison.tables import curve_spreads, curve_table, image_table, pooled_ious, run_table, seed_table
from wsol.errors import InputError
from wsol.runs.read import StoredRun
from wsol.runtime.progress import track


@dataclass(frozen=True)
class Comparison:
    """Comparison of runs on the same images, under the same protocol or of the same score maps.

    A group of runs of one training with several seeds is compared like a run: its numbers are means over its seeds.

    Attributes:
        signature: Signature that the runs have in common, ``*`` in fields where they differ.
        notes: Warnings, one sentence each.
        groups: The runs, each a group of one, or groups of seeds.
        runs: run (its name in this comparison), model, method, protocol (only if not all have the same), seeds (number
            of runs of a group; only if there is a group), tau (the run's own; NaN if it uses no threshold), folder,
            signature.
        metrics: run, metric, tau_rule, tau, value (percent), sd (standard deviation over seeds, n - 1, in points; NaN
            of a single run) and seeds (both only if there is a group), ci_low, ci_high, rank, tied. The rank is 1 plus
            the number of significantly better runs; runs of the same rank are tied. The rank is missing if no other run
            has the metric.
        differences: One row per pair of runs, metric and rule: run, other, metric, tau_rule, difference (run minus
            other, in points), ci_low, ci_high, p, p_corrected (for all pairs of runs), better: the name of the
            significantly better run, or ``tie``.
        images: image_id, label, class, and for each run ``iou NAME`` and ``hit NAME``: the IoU of the ground-truth
            class's box at the run's tau, NaN if there is no box or no object, and whether it is a hit. For a group the
            mean IoU over seeds (0 for a seed without a box), whether it is a hit for more than half of the seeds, and
            ``hit_share NAME``, the share of the seeds for which it is.
        curves: tau, and for each run the GT-known accuracy in percent at that tau, NaN if its protocol does not have
            that tau; empty if the runs use no threshold.
        seeds: One row per run of a group, metric and rule: run (the group), folder, seed (missing if the weights do not
            record it), metric, tau_rule, tau, value (percent), signature.
        delta: Minimum IoU of a hit; None if it is not the same for all runs.
    """

    signature: str
    notes: list[str]
    groups: tuple[SeedGroup, ...] = field(repr=False)
    runs: pd.DataFrame = field(repr=False)
    metrics: pd.DataFrame = field(repr=False)
    differences: pd.DataFrame = field(repr=False)
    images: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    seeds: pd.DataFrame = field(repr=False)
    delta: float | None

    def __repr__(self) -> str:
        n = len(self.images)
        lines = [f"Comparison of {len(self.runs)} runs on {n} image{'s' * (n != 1)}", f"  {self.signature}"]
        rules = [group.runs[0].metadata.tau.rule for group in self.groups]
        for name, rule in zip(self.runs["run"], rules, strict=True):
            rows = self.metrics[(self.metrics["run"] == name) & (self.metrics["metric"] == "gt_known_loc_acc")]
            own = rows[rows["tau_rule"].isna() | (rows["tau_rule"] == rule)]
            line = f"  {name}"
            for row in own.to_dict("records"):
                spread = f" ± {row['sd']:.2f} points ({row['seeds']} seeds)" if row.get("seeds", 1) > 1 else ""
                line += f": GT-known accuracy {row['value']:.3f} %{spread}"
            lines.append(line)
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    @property
    def stored(self) -> tuple[StoredRun, ...]:
        """The runs, those of a group in turn."""
        return tuple(run for group in self.groups for run in group.runs)

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
        ious = {group.name: pooled_ious(group) for group in self.groups}
        deltas = [group.runs[0].protocol.delta for group in self.groups]
        strict = [group.runs[0].protocol.strict == "all" for group in self.groups]
        figures = {"iou.png": iou_figure(ious, deltas, self.signature, strict)}
        if len(self.curves):
            taus = self.runs.set_index("run")["tau"][[*self.curves.columns[1:]]]
            spreads = curve_spreads(self.groups, self.curves)
            figures["accuracy.png"] = accuracy_figure(self.curves, [*taus], self.delta, self.signature, spreads)
        return {name: figure.to_png({"signature": self.signature}) for name, figure in figures.items()}


def compare(runs: Sequence[Run] | Mapping[str, Run | Sequence[Run]], *, out: str | Path | None = None) -> Comparison:
    """Compare runs on the same images.

    All runs use the same bootstrap resamples of the images, so their differences are paired, under whatever protocol.
    Significance is tested at 5 %, corrected for all pairs, within each metric and rule; see
    ``wsol.metrics.significance``.

    Args:
        runs: Two or more runs, as folders or as returned by ``read_run``. They are comparable if they have the same
            images, version and rule of tau, and the same protocol; or the same score maps under several protocols. A
            dictionary gives them names; a list in it is a group of runs that differ in the weights alone, by the seed
            of the training: it has the mean over its seeds, and is resampled over seeds and images, see
            ``wsol.metrics.seeds``.
        out: Folder for tables, figures and the report page; nothing is written if None.

    Returns:
        Tables of the comparison.

    Raises:
        InputError: A folder is not a run folder, the runs are not comparable, those of a group differ in more than the
            weights and their seed, or ``out`` contains something else.
    """
    groups = read_groups(runs)
    stored = [run for group in groups for run in group.runs]
    signature = common_signature(stored, [name for group in groups for name in group.run_names])
    if out is not None:
        claim_comparison(Path(out), [group.signature for group in groups])
    resampled = iter([resample(run) for run in track(stored, "resampling", unit="run")])
    by_run = [[next(resampled) for _ in group.runs] for group in groups]
    averaged = [average_runs(each, group.weights) for group, each in zip(groups, by_run, strict=True)]
    metrics, differences = compare_pairs([group.name for group in groups], averaged)
    comparison = Comparison(
        signature=signature,
        notes=[*comparison_notes(groups, differences)],
        groups=groups,
        runs=run_table(groups),
        metrics=metrics,
        differences=differences,
        images=image_table(groups),
        curves=curve_table(groups),
        seeds=seed_table(groups, by_run),
        delta=stored[0].protocol.delta if len({run.protocol.delta for run in stored}) == 1 else None,
    )
    if out is not None:
        _write(comparison, Path(out))
    return comparison


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
    if len(comparison.seeds):
        tables["seeds"] = comparison.seeds
    figures = comparison.draw_figures()
    page = render_comparison_page(
        comparison.groups,
        comparison.signature,
        comparison.notes,
        comparison.runs,
        comparison.metrics,
        comparison.differences,
        figures["iou.png"],
        folder,
    )
    files = {**figures, "report.html": page.encode("utf-8", "replace")}
    write_comparison(folder, {**tables, "runs": comparison.runs}, files)
