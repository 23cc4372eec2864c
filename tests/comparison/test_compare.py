"""Comparisons: worked out by hand, by resampling independently, and end to end."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import wsol
from wsol.compare import main
from wsol.comparison.notes import comparison_notes
from wsol.comparison.terminal import format_comparison
from wsol.datasets import Content, Dataset, Sample, load_dataset
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.metrics.base import LocalizationStats
from wsol.models import Model
from wsol.protocols import View, find_protocol
from wsol.protocols.ground_truths import GroundTruths
from wsol.runs.checksums import add_checksums
from wsol.runs.metadata import DatasetRecord, RunMetadata, TauRecord, read_metadata
from wsol.runs.predictions import predictions_table
from wsol.runs.provenance import Provenance
from wsol.runs.read import StoredRun, read_run
from wsol.runs.results import LocalizationResults, Tables

PROTOCOL = "wsolevaluation:step=0.25,norm=minmax"
IMAGES = "made-test#4:00000000"
CURVES = {  # tau 0, 0.25, 0.5, 0.75
    "good": [[0.2, 0.9, 0.6, 0.1], [0.3, 0.8, 0.7, 0.1], [0.1, 0.6, 0.5, 0.1], [0.1, 0.2, 0.3, 0.1]],
    "fair": [[0.6, 0.5, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.1], [0.7, 0.6, 0.3, 0.1]],
}
Make = Callable[..., StoredRun]
SAME = "identical: the same classes, boxes and IoUs in all {} images, at every threshold"
NEARLY = "nearly identical: the same classes and boxes at tau 0.25 in {} of {} images"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Create runs of four images, or of as many as there are curves, as ``read_run`` would return them."""

    def run(
        name: str,
        curves: Sequence[Sequence[float]],
        tau: float | str | None = 0.25,
        validation: str | None = None,
        ranks: Sequence[int] | None = None,
        **fields: str,
    ) -> StoredRun:
        n, protocol = len(curves), find_protocol(PROTOCOL)
        ids = [f"{i}.jpg" for i in range(n)]
        samples = tuple(Sample(ids[i], i % 2, as_boxes([[0, 0, 9, 9]]), "inclusive", size=(20, 20)) for i in range(n))
        images = Dataset("made", "test", samples, ("odd\tcat", "dog"))
        values = np.array(curves, np.float32)
        stats = LocalizationStats(
            values if tau is not None else values[:, :1],
            0.5,
            np.arange(n) % 2,
            None if ranks is None else np.array(ranks),
        )
        rule, chosen = (tau, 0.5) if isinstance(tau, str) else ("fixed", tau)
        level = 0 if chosen is None else int(4 * chosen)
        columns = (np.arange(n)[:, None] % 2, np.ones((n, 1), np.float32), chosen or np.nan, np.ones((n, 1, 4)))
        predictions = predictions_table(
            samples, *columns, values[:, level, None].astype(float), np.full((n, 1), "other")
        )
        empty = pd.DataFrame()
        written = {None: "tau:none", "fixed": f"tau:{chosen}", "oracle": "tau:oracle=0.5"}
        parts = {
            "dataset": IMAGES,
            "model": name,
            "method": "cam",
            "protocol": PROTOCOL,
            "tau": f"tau:val({validation})=0.5" if validation else written[rule if tau is not None else None],
            "version": "wsol:0",
        } | fields
        metadata = RunMetadata(
            "|".join(parts.values()),
            "",
            DatasetRecord("x", "test", "", n, "", Content(), ("a", "b")),
            Provenance(name, "cam", View(224, 224)),
            PROTOCOL,
            TauRecord(rule if tau is not None else None, chosen, 0.25),
            skipped={},
            clipped_boxes=0,
            val=None,
            notes=(),
            versions={},
            seconds={},
        )
        validation_run = run(f"{name}/val", curves, "oracle", dataset=validation) if validation else None
        truths = GroundTruths(samples, np.full((n, 2), 20), np.tile([0.0, 0, 10, 10], (n, 1)), np.ones(n, np.int64))
        results = LocalizationResults(images, truths, np.empty(0), np.empty(0), stats, lambda _: np.empty(0), {}, 0)
        tables = Tables(empty, empty, empty, empty, empty, predictions)
        return StoredRun(tmp_path / name, metadata, protocol, tables, results, validation_run)

    return run


def row(table: pd.DataFrame, metric: str, rule: str | None, **more: str) -> Any:
    picked = table[(table.metric == metric) & (table.tau_rule.isna() if rule is None else table.tau_rule == rule)]
    for column, value in more.items():
        picked = picked[picked[column] == value]
    (match,) = picked.itertuples()
    return match


def test_by_hand(make: Make) -> None:
    comparison = wsol.compare([make(name, curves, ranks=[1, 2, 0, 1]) for name, curves in CURVES.items()])
    assert comparison.signature == f"{IMAGES}|*|cam|{PROTOCOL}|tau:0.25|wsol:0"
    assert comparison.notes == []
    assert comparison.runs["run"].tolist() == ["good", "fair"]
    assert comparison.runs["model"].tolist() == ["good", "fair"]
    assert comparison.delta == 0.5
    # at 0.25 good finds 0, 1, 2 and fair finds 0, 3; at their best, 0.25 and 0, both find three
    for rule, values in (("fixed", (75, 50)), ("oracle", (75, 75))):
        for name, value in zip(CURVES, values, strict=True):
            assert row(comparison.metrics, "gt_known_loc_acc", rule, run=name).value == value
        assert row(comparison.differences, "gt_known_loc_acc", rule).difference == values[0] - values[1]
    assert row(comparison.differences, "mean_iou", "fixed").difference == pytest.approx((2.5 - 1.4) / 4 * 100)
    assert row(comparison.differences, "top1_cls_err", None).difference == 0
    assert row(comparison.differences, "top1_cls_err", None).p == 1
    assert row(comparison.metrics, "max_box_acc", "oracle", run="fair").tau == 0
    assert set(comparison.differences["better"]) == {"tie"}  # of four images
    assert comparison.curves["tau"].tolist() == [0, 0.25, 0.5, 0.75]
    assert comparison.curves["good"].tolist() == [0, 75, 75, 0]
    assert comparison.curves["fair"].tolist() == [75, 50, 0, 0]

    assert comparison.images["image_id"].tolist() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert comparison.images["class"].tolist() == ["odd\tcat", "dog"] * 2
    np.testing.assert_allclose(comparison.images["iou good"], [0.9, 0.8, 0.6, 0.2], rtol=1e-6)
    assert comparison.images["hit fair"].tolist() == [True, False, False, True]
    only = comparison.images_found_only_by("good", "fair")
    assert only["image_id"].tolist() == ["1.jpg", "2.jpg"]  # by 0.7 and by 0.4
    assert [*only.index] == [1, 2]
    np.testing.assert_allclose(only[["iou", "other_iou", "gap"]], [[0.8, 0.1, 0.7], [0.6, 0.2, 0.4]], rtol=1e-6)
    assert comparison.images_found_only_by("fair", "good")["image_id"].tolist() == ["3.jpg"]
    with pytest.raises(InputError, match="the comparison has no run 'bad'; its runs are good, fair"):
        comparison.images_found_only_by("good", "bad")


def made_curves(n: int, share: float, seed: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, 4)) < share, 0.6, 0.4).tolist()


def test_differences_are_paired(make: Make) -> None:
    """Draw one resample after the other, for both runs together."""
    n = 60
    curves = {name: np.array(made_curves(n, share, i)) for i, (name, share) in enumerate((("a", 0.5), ("b", 0.8)))}
    comparison = wsol.compare([make(name, part) for name, part in curves.items()])
    hits = [part >= 0.5 for part in curves.values()]
    fixed, oracle = [], []
    for r in range(1000):
        drawn = np.random.RandomState([0, r]).randint(0, n, n)
        fixed.append(hits[0][drawn, 1].mean() - hits[1][drawn, 1].mean())
        oracle.append(hits[0][drawn].mean(0).max() - hits[1][drawn].mean(0).max())
    for rule, draws in (("fixed", fixed), ("oracle", oracle)):
        pair = row(comparison.differences, "gt_known_loc_acc", rule)
        np.testing.assert_allclose([pair.ci_low, pair.ci_high], 100 * np.percentile(draws, [2.5, 97.5]), atol=1e-4)
        far = np.abs(100 * np.array(draws) - pair.difference) > abs(pair.difference) - 1e-4
        assert pair.p == pair.p_corrected == pytest.approx((1 + far.sum()) / 1001)


def test_ranks_and_ties(make: Make) -> None:
    shares = {"low": 0.2, "high": 0.8, "high too": 0.82}
    ranks = {"low": 1, "high": 2, "high too": 3}  # the rank of the true class: top-1 error is 0 only for the first
    runs = [make(name, made_curves(80, share, 5), ranks=[ranks[name]] * 80) for name, share in shares.items()]
    comparison = wsol.compare(runs)
    table = comparison.metrics.set_index(["metric", "tau_rule", "run"])
    accuracy = table.loc["gt_known_loc_acc", "fixed"]
    assert accuracy["rank"].to_dict() == {"low": 3, "high": 1, "high too": 1}
    assert accuracy["tied"].to_dict() == {"low": False, "high": True, "high too": True}
    pair = row(comparison.differences, "gt_known_loc_acc", "fixed", run="low", other="high")
    assert pair.better == "high"
    assert pair.p <= pair.p_corrected < 0.05
    assert row(comparison.differences, "gt_known_loc_acc", "fixed", run="high", other="high too").better == "tie"
    errors = comparison.metrics[comparison.metrics.metric == "top1_cls_err"].set_index("run")["rank"]
    assert errors.to_dict() == {"low": 1, "high": 2, "high too": 2}  # lower is better


def test_a_metric_that_one_run_lacks_is_not_ranked(make: Make) -> None:
    comparison = wsol.compare([make("a", CURVES["good"], ranks=[1] * 4), make("b", CURVES["fair"])])
    errors = comparison.metrics[comparison.metrics.metric == "top1_cls_err"]
    assert errors["run"].tolist() == ["a"]
    assert errors["rank"].isna().all()
    assert "top1_cls_err" not in set(comparison.differences["metric"])


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (
            {},
            {"dataset": "made-val#4:1"},
            "dataset: made-val#4:1, not made-test#4:00000000); evaluate both on the same images",
        ),
        (
            {},
            {"protocol": "exact"},
            f"b and a are not comparable (protocol: exact:levels=256,norm=minmax, not {PROTOCOL}); score",
        ),
        (
            {},
            {"version": "wsol:1"},
            "version: wsol:1, not wsol:0); score one like the other: python -m wsol.score --run ",
        ),
        ({"tau": 0.25}, {"tau": 0.5}, f"/b --protocol {PROTOCOL} --tau 0.25"),
        ({"tau": "oracle"}, {"tau": 0.5}, "tau: 0.5, not oracle=*); score one like the other"),
        ({"tau": "val", "validation": "x-val#1:0"}, {"tau": "oracle"}, "oracle=*, not val(x-val#1:0)=*"),
        (
            {"tau": "val", "validation": "x-val#1:0"},
            {"tau": "val", "validation": "x-val#2:0"},
            "tau: val(x-val#2:0)=*, not val(x-val#1:0)=*); choose tau on the same images in both",
        ),
        (
            {"tau": None},
            {"tau": 0.25},
            "0.25, not none); a run on given boxes is comparable only with another such run",
        ),
    ],
)
def test_runs_that_are_not_comparable_are_refused(make: Make, one: Any, other: Any, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        wsol.compare([make("a", CURVES["good"], **one), make("b", CURVES["fair"], **other)])
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("provenance", "end"),
    [
        ({"baseline": "center-box"}, f"--baseline center-box --dataset x --protocol {PROTOCOL} --tau val"),
        (
            {},
            f"of b with --tau val): python -m wsol.score --run {{}}/a --protocol {PROTOCOL} --tau 0.5",
        ),
    ],
)
def test_the_command_that_makes_runs_comparable_works(
    make: Make, tmp_path: Path, provenance: dict[str, Any], end: str
) -> None:
    """A baseline is scored without a run, and only a run with val can have the tau that val chooses."""
    other = make("b", CURVES["fair"], tau=0.5)
    changed = replace(other.metadata.provenance, **provenance)
    other = replace(other, metadata=replace(other.metadata, provenance=changed))
    with pytest.raises(InputError) as raised:
        wsol.compare([make("a", CURVES["good"], tau="val", validation="x-val#1:0"), other])
    assert str(raised.value).endswith(end.format(tmp_path))


def test_masks_are_read_again(make: Make) -> None:
    other = make("b", CURVES["fair"], tau=0.5)
    dataset = replace(other.metadata.dataset, content=Content(masks="0"))
    with pytest.raises(InputError, match=r"as before: python -m wsol.score --run \S+/b --dataset x --protocol "):
        wsol.compare([make("a", CURVES["good"]), replace(other, metadata=replace(other.metadata, dataset=dataset))])


def test_a_run_without_raw_maps_is_scored_by_the_command_that_wrote_it(make: Make) -> None:
    other = make("b", CURVES["fair"], tau=0.5)
    without = replace(other.metadata.provenance, view=None)
    with pytest.raises(InputError, match=r"/b has no raw maps, so repeat the command that wrote it with --protocol"):
        wsol.compare([make("a", CURVES["good"]), replace(other, metadata=replace(other.metadata, provenance=without))])


def test_one_run_or_the_same_twice_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs at least two runs"):
        wsol.compare([make("a", CURVES["good"])])
    with pytest.raises(InputError, match="/a is given twice"):
        wsol.compare([make(name, CURVES["good"]) for name in ("a", "b", "../" + tmp_path.name + "/a")])


@pytest.mark.parametrize(
    ("given", "common"),
    [
        ({"tau": "oracle"}, "tau:oracle=*"),
        ({"tau": "val", "validation": "x-val#1:0"}, "tau:val(x-val#1:0)=*"),
        ({"tau": None}, "tau:none"),
    ],
)
def test_a_rule_in_common_is_enough(make: Make, given: Any, common: str) -> None:
    runs = [make(name, curves, **given) for name, curves in CURVES.items()]
    other_tau = runs[1].signature.replace("=0.5|", "=0.75|")  # another value of it
    runs[1] = replace(runs[1], metadata=replace(runs[1].metadata, signature=other_tau))
    comparison = wsol.compare(runs)
    assert comparison.signature.split("|")[4] == common
    rules = {"oracle": {"fixed", "oracle"}, "val": {"fixed", "oracle", "val"}, None: {"none"}}
    assert set(comparison.metrics["tau_rule"].fillna("none")) == rules[given["tau"]]
    assert len(comparison.curves) == (0 if given["tau"] is None else 4)
    assert ("accuracy.png" in comparison.draw_figures()) == (given["tau"] is not None)


def test_the_same_signature_twice_gives_a_note(make: Make) -> None:
    runs = [make(name, CURVES[curves], model="same") for name, curves in (("a", "good"), ("b", "good"), ("c", "fair"))]
    unknown = "have the same signature, but not the same predictions: the reason is outside of what it covers"
    assert [note.partition(", such as")[0] for note in wsol.compare(runs).notes[1:]] == [
        f"a and c {unknown}",
        f"b and c {unknown}",
    ]
    newer = replace(runs[2], metadata=replace(runs[2].metadata, versions={"torch": "9"}))
    differing = "a and c have the same signature, but not the same predictions: they differ in torch: None, not 9"
    assert differing in wsol.compare([runs[0], newer]).notes
    comparison = wsol.compare(runs[:2])
    assert comparison.notes == [f"a and b have the same signature and are {SAME.format(4)}"]
    assert comparison.signature.count("*") == 0
    assert (comparison.differences[["p", "p_corrected"]] == 1).all(axis=None)
    assert (comparison.differences[["difference", "ci_low", "ci_high"]] == 0).all(axis=None)
    assert (comparison.metrics["rank"] == 1).all()
    assert comparison.metrics["tied"].all()


def test_runs_that_are_the_same_are_named(make: Make) -> None:
    """Grad-CAM and CAM of one network may be the same maps under two names, and so may two networks."""
    curves = made_curves(200, 0.5, 1)
    runs = [make(name, curves) for name in ("cam", "hirescam", "rounded", "other thresholds", "other")]
    runs[2].tables.predictions.loc[7, "x1"] += 1
    runs[3].results.stats.curves[7, 2] += 0.125
    runs[4].tables.predictions.loc[:2, "class_id"] = 5  # three images of 200 are more than one in a hundred
    assert wsol.compare(runs).notes == [
        f"cam and hirescam are {SAME.format(200)}",
        f"cam and rounded are {NEARLY.format(199, 200)}",
        f"cam and other thresholds are {NEARLY.format(200, 200)}",
        f"hirescam and rounded are {NEARLY.format(199, 200)}",
        f"hirescam and other thresholds are {NEARLY.format(200, 200)}",
        f"rounded and other thresholds are {NEARLY.format(199, 200)}",
    ]


@pytest.mark.parametrize(
    ("interval", "p", "better", "runs", "sentence"),
    [
        ((1, 9), 0.02, "tie", 4, r"pointing game of a and b: tie although p is below 0\.05 .* for all 6 pairs of runs"),
        ((-9, -1), 0.02, "tie", 3, r"pointing game of a and b: tie although p is below 0\.05 .* for all 3 pairs"),
        (
            (1, 9),
            0.05,
            "tie",
            2,
            r"pointing game: tie although the 95 % interval excludes 0, since p is not below 0\.05",
        ),
        ((0, 9), 0.02, "a", 2, r"pointing game: significant although the 95 % interval includes 0"),
        ((1, 9), 0.02, "a", 2, None),
        ((-1, 9), 0.2, "tie", 2, None),
        ((0, 0), 1, "tie", 2, None),
    ],
)
def test_a_tie_that_the_interval_seems_to_contradict_is_explained(
    interval: tuple[float, float], p: float, better: str, runs: int, sentence: str | None
) -> None:
    rows = [[*pair, "mean_iou", "fixed", 0, -1, 1, 1, 1, "tie"] for pair in combinations("abcd"[:runs], 2)]
    rows.append(["a", "b", "pointing_game", np.nan, 5, *interval, p, 1, better])
    columns = ["run", "other", "metric", "tau_rule", "difference", "ci_low", "ci_high", "p", "p_corrected", "better"]
    notes = [*comparison_notes([], pd.DataFrame(rows, columns=columns))]
    assert len(notes) == (sentence is not None)
    assert sentence is None or re.match(sentence, notes[0])


def test_the_correction_for_all_pairs_is_explained_where_it_decides(make: Make) -> None:
    runs = [make("abcd"[i], made_curves(80, share, i)) for i, share in enumerate((0.4, 0.5, 0.5, 0.56))]
    comparison = wsol.compare(runs)
    accuracy = comparison.differences.query("metric == 'gt_known_loc_acc' and tau_rule == 'fixed'")
    corrected = accuracy[(accuracy["p"] < 0.05) & (accuracy["better"] == "tie")]
    assert (corrected["run"] + corrected["other"]).tolist() == ["ac", "ad"]
    (note,) = (note for note in comparison.notes if "corrected for all 6 pairs of runs" in note)
    assert "GT-known accuracy (fixed) of a and c, GT-known accuracy (fixed) of a and d" in note


def test_names_are_as_long_as_they_need_to_be(make: Make, tmp_path: Path) -> None:
    folders = ["x/run", "y/run", "y/other", "z/x/run", "o\ndd", "o dd", "\x1b[31m$a$"]
    comparison = wsol.compare([make(folder, CURVES["good"]) for folder in folders])
    assert comparison.runs["run"].tolist() == [
        f"{tmp_path.name}/x/run", "y/run", "other", "z/x/run", "o dd (5)", "o dd (6)", "\\x1b[31m$a$",
    ]  # fmt: skip


def test_an_image_without_a_box_is_missed(make: Make) -> None:
    runs = [make(name, curves) for name, curves in CURVES.items()]
    runs[1].tables.predictions.loc[2, ["x0", "y0", "x1", "y1"]] = np.nan
    comparison = wsol.compare(runs)
    assert np.isnan(comparison.images["iou fair"][2])
    assert comparison.images_found_only_by("good", "fair")["image_id"].tolist() == ["1.jpg", "2.jpg"]


def test_without_boxes_for_all_images_there_is_no_curve(make: Make) -> None:
    runs = [make(name, curves, ranks=[1] * 4) for name, curves in CURVES.items()]
    runs = [replace(r, results=replace(r.results, stats=replace(r.results.stats, complete=False))) for r in runs]
    assert len(wsol.compare(runs).curves) == 0
    assert wsol.compare([runs[0], make("whole", CURVES["good"])]).curves.columns.tolist() == ["tau", "whole"]


@pytest.fixture
def evaluated(tmp_path: Path, tiny_model: Model, csv_data: Path) -> list[Path]:
    folders = []
    for method in ("cam", "eigencam"):
        folders.append(tmp_path / "runs" / method)
        options = {"dataset": "csv", "data_root": csv_data, "protocol": "wsolevaluation:step=0.01,delta=0.3"}
        wsol.evaluate(tiny_model, method=method, tau="val", device="cpu", out=folders[-1], **options)
    return folders


@pytest.mark.slow
def test_the_folder(evaluated: list[Path], tmp_path: Path) -> None:
    runs = [read_run(folder) for folder in evaluated]
    out = tmp_path / "deep" / "out"
    comparison = wsol.compare(runs, out=out)
    assert {path.name for path in out.iterdir()} == {
        "runs.csv", "metrics.csv", "differences.csv", "images.csv", "curves.csv", "accuracy.png", "iou.png",
        "report.html",
    }  # fmt: skip
    signed = {run.name: run.signature for run in runs}
    read = {path.stem: pd.read_csv(path, dtype={"class": str}) for path in out.glob("*.csv")}
    assert read["runs"]["signature"].tolist() == [*signed.values()]
    assert (read["metrics"]["signature"] == read["metrics"]["run"].map(signed)).all()
    assert (read["differences"]["signature"] == signed["cam"]).all()
    assert (read["differences"]["other_signature"] == signed["eigencam"]).all()
    for name in ("images", "curves"):
        assert (read[name]["signature"] == comparison.signature).all()
        pd.testing.assert_frame_equal(read[name].drop(columns="signature"), getattr(comparison, name))
    for picture in out.glob("*.png"):
        with Image.open(picture) as image:
            assert image.info["signature"] == comparison.signature
    wsol.compare(runs, out=out)  # the same again
    with pytest.raises(InputError, match="contains a comparison of other runs; give another --out"):
        wsol.compare(runs[::-1], out=out)
    (out / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"has files of something other than a comparison \(thesis\.tex\)"):
        wsol.compare(runs, out=out)
    with pytest.raises(InputError, match="cannot be created"):
        wsol.compare(runs, out=out / "thesis.tex" / "x")


def test_files_of_an_earlier_version_are_removed(csv_data: Path, tmp_path: Path) -> None:
    options = {"dataset": "csv", "data_root": csv_data, "protocol": "exact"}
    names = ("center-box", "full-image")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        "image_id,x0,y0,x1,y1\n" + "".join(f"{s.image_id},1,1,9,9\n" for s in load_dataset("csv", csv_data))
    )
    for name in names:
        wsol.score(boxes=boxes, corners="edges", out=tmp_path / name, **options)
    out = tmp_path / "out"
    out.mkdir()
    (out / "curves.csv").touch()
    wsol.compare([tmp_path / name for name in names], out=out)
    assert {path.name for path in out.iterdir()} == {
        "runs.csv", "metrics.csv", "differences.csv", "images.csv", "iou.png", "report.html",
    }  # fmt: skip


@pytest.mark.slow
def test_the_page(evaluated: list[Path], tmp_path: Path) -> None:
    comparison = wsol.compare(evaluated, out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", " ", page.split("<noscript>")[0])
    for number in comparison.metrics["value"]:
        assert f"{number:.3f}" in text
    for row in comparison.differences.itertuples():
        assert f"{row.difference:+.3f}" in text
        assert f"[{row.ci_low:+.2f}, {row.ci_high:+.2f}]" in text
    letters = {"cam": "A", "eigencam": "B"}
    for run, other in permutations(letters):
        count = len(comparison.images_found_only_by(run, other))
        assert f'found by {letters[run]}, missed by {letters[other]}: {count} image{"s" * (count != 1)}"' in page
    for run in comparison.stored:
        errors = run.tables.errors.set_index("error")["share"]
        assert f"{errors['class']:.1f}" in text
    assert comparison.signature in text


@pytest.mark.slow
def test_runs_on_disk_and_the_command(
    evaluated: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = wsol.compare(evaluated)
    for folder in evaluated:
        mine = comparison.metrics[comparison.metrics["run"] == folder.name].reset_index(drop=True)
        theirs = read_run(folder).tables.metrics
        columns = ["metric", "tau_rule", "tau", "value", "ci_low", "ci_high"]
        pd.testing.assert_frame_equal(
            mine[columns].fillna({"tau_rule": ""}), theirs[columns].fillna({"tau_rule": ""}), check_dtype=False
        )
    # the boxes at each run's own tau, which was chosen on val by GT-known accuracy
    only_cam = comparison.images_found_only_by("cam", "eigencam")
    balance = len(only_cam) - len(comparison.images_found_only_by("eigencam", "cam"))
    assert not comparison.images["hit cam"].equals(comparison.images["hit eigencam"])
    assert row(comparison.differences, "gt_known_loc_acc", "val").difference == pytest.approx(100 * balance / 8)

    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "runs" / "\x1b[31mred\nrun"
    shutil.copytree(evaluated[1], odd)
    metadata = read_metadata(odd)
    renamed = replace(metadata, signature=metadata.signature.replace("|eigencam", "|other"))
    (odd / "run.json").write_text(json.dumps(asdict(add_checksums(renamed, odd, metadata.checksums or ()))))
    assert main([str(evaluated[0]), str(odd)]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith("csv-test#8:")
    assert "|*|" in lines[0]
    assert "\x1b" not in printed
    heads = [line.split() for line in lines]
    assert ["B", "\\x1b[31mred", "run"] in [words[:3] for words in heads]
    assert ["A", "B", "A", "-", "B", "[95", "%]", "p", "better"] in [words[2:] for words in heads]
    assert any(line.startswith("GT-known accuracy") and " val " in line and line.endswith("tie") for line in lines)
    assert any(line.startswith("top-1 classification error") and line.count("1=") == 2 for line in lines)
    assert [line for line in lines if line.startswith(("A finds", "B finds"))]
    assert (tmp_path / "results" / "compare-cam--31mred-run" / "differences.csv").is_file()


def test_more_than_three_runs_are_counted_in_a_table(make: Make, tmp_path: Path) -> None:
    comparison = wsol.compare([make(f"run{i}", CURVES["good" if i % 2 else "fair"]) for i in range(4)])
    tables = comparison.runs, comparison.metrics, comparison.differences
    text = format_comparison(comparison.signature, comparison.notes, *tables, comparison.images_found_only_by, tmp_path)
    lines = text.splitlines()
    assert lines[-1] == f"written to {tmp_path}"
    start = lines.index("images found by the row's run, missed by the column's  A  B  C  D")
    counts = [line.split() for line in lines[start + 1 : start + 5]]
    assert counts == [[*"A-101"], [*"B2-20"], [*"C01-1"], [*"D202-"]]
    assert not [line for line in lines if " finds " in line or "A - B" in line]
    assert any("corrected for all pairs of runs; differences.csv lists each pair" in line for line in lines)


def test_there_are_letters_for_any_number_of_runs(make: Make, tmp_path: Path) -> None:
    comparison = wsol.compare([make("a", CURVES["good"]), make("b", CURVES["good"])])
    names = [f"run{i}" for i in range(28)]
    runs = pd.concat([comparison.runs[:1]] * 28).assign(run=names)
    metrics = pd.concat([comparison.metrics[:1].assign(run=name) for name in names])
    nothing = comparison.images_found_only_by("a", "b")
    lines = format_comparison("", [], runs, metrics, comparison.differences, lambda *_: nothing, tmp_path).splitlines()
    assert [line.split()[0] for line in lines if " run" in line and " cam " in line][24:] == ["Y", "Z", "AA", "AB"]


def test_help_does_not_wait_for_torch() -> None:
    code = """
import sys
from wsol.compare import main
try:
    main(["--help"])
except SystemExit:
    assert not {"torch", "pandas"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_one_sentence_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for call in (["none"], ["none", "neither"], [str(tmp_path), os.devnull]):
        assert main(call) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("wsol: ")
        assert printed.err.count("\n") == 1
