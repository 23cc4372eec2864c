"""Leaderboards: their contents, worked out by hand, and the detection of every changed digit."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_net import TinyNet

import wsol
from wsol.datasets import Dataset, Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import ImageError, InputError
from wsol.evaluation.tables import Tables
from wsol.leaderboard import main
from wsol.leaderboards.build import _RENDERERS
from wsol.leaderboards.render import render_latex, render_markdown, render_text
from wsol.leaderboards.rows import COSTS, Row, build_row, rank_rows, to_csv
from wsol.leaderboards.stale import find_stale
from wsol.metrics.summary import COLUMNS
from wsol.models import Model, Preprocessing, find_gap
from wsol.protocols import find_protocol
from wsol.runs.checksums import add_checksums
from wsol.runs.metadata import Cost, read_metadata
from wsol.runs.provenance import NetworkRecord, Normalization, Provenance, WeightsFile
from wsol.runs.read import Evaluation, StoredRun
from wsol.score import main as score_main

ERRORS = ["error", "n", "share", "share_low", "share_high", "gain", "gain_low", "gain_high"]
ODD = ["<script>alert(1)</script>", 'a "quoted", name', "pipe|and&_$%", "back\\slash", "line\nbreak", "é 中", "x" * 300]
NETWORK = NetworkRecord("m", WeightsFile("w", "1f" * 32), Normalization((0.5,), (0.2,)), None, "", "cam", "float32", "")
CAM = Provenance("m:1f1f1f1f", "cam", network=NETWORK)
NAMES = [name.replace("\n", " ") for name in ODD]  # of classes and images, which no line break may be in


def stored(
    signature: str,
    metrics: list[list[Any]],
    errors: list[list[Any]],
    device: str | None = None,
    cost: Cost | None = None,
    skipped: int = 0,
) -> StoredRun:
    """A run by hand."""
    n = metrics[0][-1]
    tables = Tables(pd.DataFrame(metrics, columns=COLUMNS[:7]), *3 * (pd.DataFrame(),), pd.DataFrame(), pd.DataFrame())
    tables = Tables(**{**vars(tables), "errors": pd.DataFrame(errors, columns=ERRORS)})
    provenance = replace(CAM, network=replace(NETWORK, device=device)) if device else Provenance("", "")
    metadata = SimpleNamespace(signature=signature, provenance=provenance, cost=cost, notes=())
    results = SimpleNamespace(images=range(n), skipped=dict.fromkeys(range(skipped)))
    return StoredRun(Path("somewhere"), metadata, find_protocol("exact"), tables, results, None)


def by_hand() -> list[Row]:
    """Two runs on eight images, one without classes on nine, and a published number."""
    cam = stored(
        "odd-test#8:aa|vgg_16:1f|cam|exact:levels=6|tau:val(odd-val#5:bb)=0.4|wsol:0.1.0",
        [
            ["top1_cls_err", None, np.nan, 25.0, 10.5, 40.25, 8],
            ["top1_loc_err", "fixed", 0.2, 50.0, 30.125, 70.0, 8],
            ["top1_loc_err", "val", 0.4, 37.5, 20.0, 62.5, 8],
            ["top1_loc_err", "oracle", 0.6, 37.5, 12.5, 50.0, 8],
            ["gt_known_loc_acc", "fixed", 0.2, 62.5, 40.0, 80.0, 8],
        ],
        [["class", 2, 25.0, 10.5, 40.25, 12.5, 0.0, 25.0], ["correct", 6, 75.0, 59.75, 89.5, 0.0, 0.0, 0.0]],
        cost=Cost(ms_per_image=41.46, forwards_per_image=11.25, peak_memory_mib=None),
        device="cpu",
        skipped=2,
    )
    backprop = stored(
        "odd-test#8:aa|vgg_16:1f|backprop|exact:levels=6|tau:0.2|wsol:0.1.0",
        [
            ["top1_cls_err", None, np.nan, 25.0, 10.5, 40.25, 8],
            ["top1_loc_err", "fixed", 0.2, 100 / 3, 0.0, 50.0, 8],
            ["gt_known_loc_acc", "fixed", 0.2, 87.5, 75.0, 100.0, 8],
        ],
        [],
        device="cuda:0",
    )
    boxes = stored(
        "odd-test#9:cc|mine:2e|boxes(edges)|exact:levels=6|tau:none|wsol:0.1.0",
        [["gt_known_loc_acc", None, np.nan, 12.0, np.nan, np.nan, 9]],
        [],
    )
    published = {
        "kind": "published", "group": "odd-test#8:aa|exact:levels=6,norm=minmax", "dataset": "odd-test#50", "n": 50,
        "model": "NIN*", "method": "cam", "protocol": "exact", "source": "Someone, A Title, 2020", "place": "Table 1",
        "mismatch": "images: 50, not 8", "top1_loc_err@fixed": 33.3, "top1_loc_err@fixed.tau": 0.25,
    }  # fmt: skip
    runs = {"a/cam": cam, "b": backprop, "c": boxes}
    return rank_rows([published, *(build_row(run, name) for name, run in runs.items())])


def test_csv_by_hand() -> None:
    header = (
        "kind,group,run,dataset,model,method,protocol,tau,version,signature,n,skipped,"
        "gt_known_loc_acc,gt_known_loc_acc@fixed,gt_known_loc_acc@fixed.low,gt_known_loc_acc@fixed.high,"
        "gt_known_loc_acc@fixed.tau,"
        "top1_cls_err,top1_cls_err.low,top1_cls_err.high,"
        "top1_loc_err@fixed,top1_loc_err@fixed.low,top1_loc_err@fixed.high,top1_loc_err@fixed.tau,"
        "top1_loc_err@val,top1_loc_err@val.low,top1_loc_err@val.high,top1_loc_err@val.tau,"
        "top1_loc_err@oracle,top1_loc_err@oracle.low,top1_loc_err@oracle.high,top1_loc_err@oracle.tau,"
        "error_class,error_class.low,error_class.high,error_correct,error_correct.low,error_correct.high,"
        "ms_per_image,forwards_per_image,device,source,place,mismatch\n"
    )
    backprop = (
        'measured,"odd-test#8:aa|exact:levels=6,norm=minmax",b,odd-test#8:aa,vgg_16:1f,backprop,'
        '"exact:levels=6,norm=minmax",tau:0.2,wsol:0.1.0,'
        "odd-test#8:aa|vgg_16:1f|backprop|exact:levels=6|tau:0.2|wsol:0.1.0,8,0,"
        ",87.5,75.0,100.0,0.2,25.0,10.5,40.25,33.333333333333336,0.0,50.0,0.2,,,,,,,,,,,,,,,,,cuda:0,,,\n"
    )
    cam = (
        'measured,"odd-test#8:aa|exact:levels=6,norm=minmax",a/cam,odd-test#8:aa,vgg_16:1f,cam,'
        '"exact:levels=6,norm=minmax",'
        "tau:val(odd-val#5:bb)=0.4,wsol:0.1.0,"
        "odd-test#8:aa|vgg_16:1f|cam|exact:levels=6|tau:val(odd-val#5:bb)=0.4|wsol:0.1.0,8,2,"
        ",62.5,40.0,80.0,0.2,25.0,10.5,40.25,50.0,30.125,70.0,0.2,37.5,20.0,62.5,0.4,37.5,12.5,50.0,0.6,"
        "25.0,10.5,40.25,75.0,59.75,89.5,41.46,11.25,cpu,,,\n"
    )
    published = (
        'published,"odd-test#8:aa|exact:levels=6,norm=minmax",,odd-test#50,NIN*,cam,exact,,,,50,,'
        ",,,,,,,,33.3,,,0.25,,,,,,,,,,,,,,,,,,"
        '"Someone, A Title, 2020",Table 1,"images: 50, not 8"\n'
    )
    boxes = (
        'measured,"odd-test#9:cc|exact:levels=6,norm=minmax",c,odd-test#9:cc,mine:2e,boxes(edges),'
        '"exact:levels=6,norm=minmax",tau:none,wsol:0.1.0,'
        "odd-test#9:cc|mine:2e|boxes(edges)|exact:levels=6|tau:none|wsol:0.1.0,9,0,12.0" + "," * 31 + "\n"
    )
    assert to_csv(by_hand()) == header + backprop + cam + published + boxes


def test_markdown_by_hand() -> None:
    text = render_markdown(by_hand()).split("\n\n", 2)
    assert text[0] == "# Leaderboard"
    assert "Numbers of different sections are not comparable." in text[1]
    assert text[2] == (
        "## odd-test#8:aa, exact:levels=6,norm=minmax\n\n"
        "| # | model | method | tau | top-1 loc. error, fixed | top-1 loc. error, val | top-1 loc. error, oracle | "
        "GT-known accuracy, fixed | top-1 cls. error | differs in |\n"
        "| --- | --- | --- | --- | --: | --: | --: | --: | --: | --- |\n"
        "| 1 | vgg_16:1f | backprop | 0.2 | **33.3** [0.0, 50.0] |  |  | **87.5** [75.0, 100.0] | "
        "**25.0** [10.5, 40.2] |  |\n"
        "| 2 | vgg_16:1f | cam | val=0.4 | 50.0 [30.1, 70.0] | 37.5 [20.0, 62.5] | 37.5 [12.5, 50.0] | "
        "62.5 [40.0, 80.0] | **25.0** [10.5, 40.2] |  |\n"
        "| †1 | NIN\\* | cam | 0.25 | 33.3 |  |  |  |  | images: 50, not 8 |\n\n"
        "Error types of the top-1 predictions at the run's tau, in percent of the images, and cost.\n\n"
        "| # | class | correct | ms per image | forward passes per image | device |\n"
        "| --- | --: | --: | --: | --: | --- |\n"
        "| 1 |  |  |  |  | cuda:0 |\n"
        "| 2 | 25.0 | 75.0 | 41.5 | 11.25 | cpu |\n\n"
        "- 1: b, odd-test#8:aa\\|vgg_16:1f\\|backprop\\|exact:levels=6\\|tau:0.2\\|wsol:0.1.0\n"
        "- 2: a/cam (2 images skipped), "
        "odd-test#8:aa\\|vgg_16:1f\\|cam\\|exact:levels=6\\|tau:val(odd-val#5:bb)=0.4\\|wsol:0.1.0\n"
        "- †1: Someone, A Title, 2020, Table 1\n"
        "- †: published, not measured here and not ranked\n\n"
        "## odd-test#9:cc, exact:levels=6,norm=minmax\n\n"
        "| # | model | method | tau | GT-known accuracy, no tau |\n"
        "| --- | --- | --- | --- | --: |\n"
        "| 1 | mine:2e | boxes(edges) | none | 12.0 |\n\n"
        "Error types of the top-1 predictions at the run's tau, in percent of the images, and cost.\n\n"
        "| # | device |\n| --- | --- |\n| 1 |  |\n\n"
        "- 1: c, odd-test#9:cc\\|mine:2e\\|boxes(edges)\\|exact:levels=6\\|tau:none\\|wsol:0.1.0\n"
    )


def test_latex_by_hand() -> None:
    lines = render_latex(by_hand()).splitlines()
    assert lines[:2] == [
        r"% needs \usepackage{booktabs}",
        r"\providecommand{\wsolchar}[2]{\ifdefined\Umathchar#1\else\texttt{U+#2}\fi}",
    ]
    assert lines.count(r"\begin{table}[p]") == lines.count(r"\end{table}") == 2
    start, end = lines.index(r"\begin{tabular}{llllrrrrrl}"), lines.index(r"\end{tabular}")
    rows = [
        r"1 & vgg\_16:1f & backprop & 0.2 & \shortstack[r]{\textbf{33.3}\\{\tiny {[}0.0,{} 50.0{]}}} &  &  & "
        r"\shortstack[r]{\textbf{87.5}\\{\tiny {[}75.0,{} 100.0{]}}} & "
        r"\shortstack[r]{\textbf{25.0}\\{\tiny {[}10.5,{} 40.2{]}}} &  \\[3pt]",
        r"2 & vgg\_16:1f & cam & val=0.4 & \shortstack[r]{50.0\\{\tiny {[}30.1,{} 70.0{]}}} & "
        r"\shortstack[r]{37.5\\{\tiny {[}20.0,{} 62.5{]}}} & \shortstack[r]{37.5\\{\tiny {[}12.5,{} 50.0{]}}} & "
        r"\shortstack[r]{62.5\\{\tiny {[}40.0,{} 80.0{]}}} & "
        r"\shortstack[r]{\textbf{25.0}\\{\tiny {[}10.5,{} 40.2{]}}} &  \\[3pt]",
        r"\midrule",
        r"\dag{}1 & NIN{*} & cam & 0.25 & 33.3 &  &  &  &  & images: 50,{} not 8 \\",
        r"\bottomrule",
    ]
    assert lines[start + 4 : end] == rows
    text = "\n".join(lines).replace(r"\allowbreak{}", "")
    assert r"\caption{odd-{}test\#8:aa,{} exact:levels=6,{}norm=minmax. " in text
    assert r"\dag{}1: Someone,{} A Title,{} 2020,{} Table 1\par" in lines


def test_terminal_by_hand() -> None:
    lines = render_text(by_hand()).splitlines()
    assert lines[0] == "odd-test#8:aa, exact:levels=6,norm=minmax"
    assert re.split(r"  +", lines[3]) == [
        "1", "vgg_16:1f", "backprop", "0.2", "33.3* [0.0, 50.0]", "87.5* [75.0, 100.0]", "25.0* [10.5, 40.2]",
    ]  # fmt: skip
    assert lines[6] == "†1: Someone, A Title, 2020, Table 1"
    assert lines[-1].startswith(
        "* is the best of its column. Rows are sorted by top-1 localization error; those without"
    )


def headline(name: str, kind: str = "measured", group: str = "g", **numbers: float) -> Row:
    return {"kind": kind, "group": group, "run": name, **{key.replace("_at_", "@"): v for key, v in numbers.items()}}


def test_what_compares_is_ranked_and_nothing_else() -> None:
    rows = [
        headline("z", group="a", gt_known_loc_acc_at_fixed=1),
        headline("oracle alone", top1_loc_err_at_oracle=1),
        headline("second", top1_loc_err_at_fixed=40, gt_known_loc_acc_at_fixed=90),
        headline("printed", "published", top1_loc_err_at_fixed=2),
        headline("boxes", top1_loc_err=3),
        headline("first", top1_loc_err_at_fixed=30, gt_known_loc_acc_at_fixed=10, top1_loc_err_at_oracle=99),
        headline("no classes, worse", gt_known_loc_acc_at_fixed=5),
        headline("no classes, better", gt_known_loc_acc_at_fixed=6),
        headline("nothing"),
        headline("also second", top1_loc_err_at_fixed=40),
    ]
    expected = [
        "z", "first", "also second", "second", "boxes", "oracle alone", "no classes, better", "no classes, worse",
        "nothing", "printed",
    ]  # fmt: skip
    assert [row["run"] for row in rank_rows(rows)] == expected
    assert [row["run"] for row in rank_rows(reversed(rows))] == expected


# What follows looks at runs on disk.


def picture(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (40 + i, 60, 3), np.uint8)


def mask(height: int, width: int) -> Mask:
    foreground = np.zeros((height, width), bool)
    foreground[3:35, 5:30] = True
    ignore = np.zeros_like(foreground)
    ignore[:3] = True
    return Mask(foreground, ignore)


def data(split: str, n: int, off: int) -> Dataset:
    """Pictures of noise whose ids and classes look like markup."""
    samples = tuple(
        Sample(
            f"{split}/{i}{NAMES[i % 7]}", i % 7, as_boxes([[2 + 3 * i, 3, 30 + 7 * i, 35], [1, 2, 9, 9 + i]]),
            "inclusive", size=(60, 40 + i + off), render=partial(picture, i + off),
            mask=partial(mask, 40 + i + off, 60),
        )
        for i in range(n)
    )  # fmt: skip
    return Dataset("odd", split, samples, tuple(NAMES))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain run, one with a validation split, one scored anew, a baseline, and one of boxes."""
    torch.manual_seed(0)
    model = Model("tiny", find_gap(TinyNet(7).eval(), "tiny"), Preprocessing(), "random", "0" * 64, 7)
    root = tmp_path_factory.mktemp("results")
    images = data("test", 4, 0)
    wsol.evaluate(model, dataset=images, protocol="wsolevaluation:step=0.1", device="cpu", out=root / "plain")
    wsol.evaluate(
        model, dataset=images, validation=data("val", 3, 9), protocol="exact:levels=6", tau="val", device="cpu",
        out=root / "deep" / ODD[0].replace("/", "\n"),
    )  # fmt: skip
    wsol.score(run=root / "plain", protocol="zhou2016:crops=1,step=0.1", tau="oracle", out=root / "scored")
    wsol.score(baseline="center-gaussian", dataset=images, protocol="wsolevaluation:step=0.1", out=root / "baseline")
    boxes = root / "boxes.csv"
    with boxes.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "class_id", "score", "x0", "y0", "x1", "y1"])
        rows.writerows([sample.image_id, k, 9 - k, 1, 1 + k, 40, 30] for sample in images for k in range(3))
    return root


@pytest.fixture
def run(results: Path, tmp_path: Path) -> Path:
    """A copy of the plain run."""
    return Path(shutil.copytree(results / "plain", tmp_path / "results" / "run"))


@pytest.mark.slow
def test_every_run_is_found_and_reproduces(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(results), "--out", str(tmp_path / "out")]) == 0
    assert main([str(results), "--out", str(tmp_path / "again"), "--validate"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    target = tmp_path / "again" / "leaderboard.csv"
    assert f"4 runs, 0 published rows, 0 runs left out, written to {target}" in printed.out
    assert printed.out.endswith("\nvalidated: all tables of 4 runs were recomputed from the stored files\n")
    assert printed.out.count("validated") == 1  # and not by the first command
    for name in ("leaderboard.csv", *_RENDERERS):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert main([str(results), "--out", str(tmp_path / "out"), "--validate"]) == 0  # with one that stands already
    table = pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("run")
    assert set(table.index) == {"plain", "scored", "baseline", "deep/" + ODD[0].replace("/", "\n")}
    assert table.group.nunique() == 3
    for name in table.index:
        told = json.loads((results / name / "run.json").read_text())
        assert (
            table.signature[name]
            == told["signature"]
            == "|".join(table.loc[name, ["dataset", "model", "method", "protocol", "tau", "version"]])
        )
        metrics = pd.read_csv(results / name / "metrics.csv")
        for entry in metrics[metrics.tau_rule.notna()].itertuples():
            for end, number in (("", entry.value), (".low", entry.ci_low), (".tau", entry.tau)):
                if not pd.isna(number):
                    assert table.loc[name, f"{entry.metric}@{entry.tau_rule}{end}"] == pytest.approx(number, rel=1e-15)
        errors = pd.read_csv(results / name / "errors.csv").set_index("error").share
        assert table.loc[name, [f"error_{kind}" for kind in errors.index]].tolist() == errors.tolist()
    cost = json.loads((results / "plain" / "run.json").read_text())["cost"]
    assert table.loc["plain", [*cost]].to_dict() == cost
    assert table.loc[["scored", "baseline"], [*cost]].isna().all(axis=None)


@pytest.mark.slow
def test_names_show_as_text(results: Path) -> None:
    board = wsol.leaderboard(results)
    assert "<script>" not in board.markdown + board.latex
    assert "&#60;script&#62;alert(1)&#60;&#92;nscript&#62;" in board.markdown
    (name,) = [row["run"] for row in board.rows if row["run"].startswith("deep")]
    assert name in pd.read_csv(io.StringIO(board.csv)).run.tolist()


def test_what_is_no_run_is_named_and_stops_nothing(
    run: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = run.parent
    for name, missing in (("no table", "metrics.csv"), ("no facts", "run.json"), ("no curves", "curves.npy")):
        shutil.copytree(run, root / "deep" / name)
        (root / "deep" / name / missing).unlink()
    (root / "text").mkdir()
    (root / "text" / "run.json").write_text("{")
    (root / "begun").mkdir()
    (root / "begun" / "maps.npy.tmp").touch()
    (root / "notes").mkdir()
    (root / "loop").symlink_to(root)
    assert main([str(root)]) == 0
    printed = capsys.readouterr()
    sentences = printed.err.splitlines()
    assert [sentence.split(":")[1].strip() for sentence in sentences] == [
        "begun", "deep/no facts", "deep/no curves", "deep/no table", "text",
    ]  # fmt: skip
    assert all(sentence.startswith("wsol: ") for sentence in sentences)
    assert "1 run, 0 published rows, 5 runs left out" in printed.out
    assert pd.read_csv(root / "leaderboard.csv").run.tolist() == ["run"]
    shutil.rmtree(run)
    with pytest.raises(
        InputError, match=r"contains no complete run; begun: the run is incomplete, as it has no run\.json"
    ):
        wsol.leaderboard(root)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["lock", "batches/request.json", "batches/run/000000.safetensors", "batches/run/000003.safetensors"],
         "the run is unfinished, 2 batches stored; wait for it, or continue it with --resume"),
        (["batches/request.json", "batches/val/000000.safetensors", "val/lock", "thumbnails.tmp/000/000000.jpg"],
         "the run is unfinished, 1 batch stored; wait for it, or continue it with --resume"),
        (["run.json", "batches/request.json", "curves.npy"],
         "the run is unfinished, 0 batches stored; wait for it, or continue it with --resume"),
        (["lock", "val/lock"], "the run is incomplete, as it has no run.json; evaluate again"),
        (["lock", "metrics.csv", "classes.csv.tmp"], "the run is incomplete, as it has no run.json; evaluate again"),
        (["errors.csv"], "the run is incomplete, as it has no run.json; evaluate again"),
        (["gallery.png", "report.html"], "the run is incomplete, as it has no run.json; evaluate again"),
        (["metrics.csv", "differences.csv", "report.html"], None),  # a comparison
        (["lock", "state.safetensors", "log.csv"], None),  # a training
        (["val/n01440764/a.JPEG", "classes.csv"], None),  # images
    ],
)  # fmt: skip
def test_a_killed_run_is_named(run: Path, files: list[str], reason: str | None) -> None:
    """The content of a suite's folder when its second run was killed, at several moments."""
    for name in files:
        path = run.parent / "killed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    board = wsol.leaderboard(run.parent)
    assert [row["run"] for row in board.rows] == ["run"]
    assert board.left_out == ([f"killed: {reason}"] if reason else [])
    if reason:
        with pytest.raises(InputError, match="killed is a run folder; give another --out"):
            wsol.leaderboard(run.parent, out=run.parent / "killed")


def test_a_run_that_stops_midway_is_named(run: Path) -> None:
    def unreadable() -> np.ndarray:
        raise ImageError("broken")

    images = data("test", 4, 0)
    broken = replace(images, samples=(*images.samples[:3], replace(images.samples[3], render=unreadable)))
    torch.manual_seed(0)
    model = Model("tiny", find_gap(TinyNet(7).eval(), "tiny"), Preprocessing(), "random", "0" * 64, 7)
    with pytest.raises(ImageError, match="broken"):
        wsol.evaluate(model, dataset=broken, batch_size=1, device="cpu", out=run.parent / "stopped")
    (sentence,) = wsol.leaderboard(run.parent).left_out
    assert re.fullmatch("stopped: the run is unfinished, [123] batch(es)? stored; .*", sentence)


def test_a_foreign_run_folder_is_named(run: Path) -> None:
    foreign = run.parent / "foreign"
    foreign.mkdir()
    (foreign / "run.json").write_text('{"epochs": 90}')
    (foreign / "report.html").touch()
    (sentence,) = wsol.leaderboard(run.parent).left_out
    assert re.fullmatch(r"foreign: .*foreign is not a run of this version \(run\.json lacks signature\).*", sentence)
    (run.parent.parent / "thesis").mkdir()
    board = wsol.leaderboard(run.parent, run.parent.parent / "thesis")
    no_run = "thesis: the folder contains no run; give one that contains runs of wsol.eval or wsol.score"
    assert board.left_out == [no_run, f"results/{sentence}"]


def test_folders(results: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = wsol.leaderboard(results / "plain", run.parent, results / "plain")
    names = sorted(row["run"] for row in both.rows)
    assert len(names) == 2
    assert names[1].endswith("/run") != names[0].endswith("/run")
    assert [row["run"] for row in wsol.leaderboard(run).rows] == ["."]
    assert main([str(run)]) == 2
    assert f"{run} is a run folder; give another --out" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"write leaderboard\(\*folders\) for a list of them"):
        wsol.leaderboard([tmp_path])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no folder is given"):
        wsol.leaderboard()


@pytest.mark.slow
def test_published_numbers_stand_beside(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = tmp_path / "published"
    tables.mkdir()
    line = "A <b>,2020,,odd,test,9,N|N,cam,top1_loc_err,fixed,0.2,exact,B7,1.5,C <d>,"
    header = (
        "source,year,place,dataset,split,n,model,method,metric,tau_rule,tau,protocol,classifier,value,quoted_by,note"
    )
    (tables / "a.csv").write_text(f"{header}\n{line}\n")
    call = [str(run.parent), "--with-published", str(tables)]
    assert main(call) == 0
    printed = capsys.readouterr()
    assert "1 run, 0 published rows, 0 runs left out" in printed.out
    assert "1 published row differs from the runs in images, protocol or normalization; --all-published" in printed.err
    call.append("--all-published")
    assert main(call) == 0
    printed = capsys.readouterr()
    assert "1 run, 1 published row, 0 runs left out" in printed.out
    assert "†" not in printed.out
    assert (
        "1 published row that differs from the runs in images, protocol or normalization: in the files" in printed.err
    )
    table = pd.read_csv(run.parent / "leaderboard.csv")
    assert table.kind.tolist() == ["measured", "published"]
    assert table.mismatch[1] == "images: 9, not 4; protocol: exact, not wsolevaluation:step=0.1,norm=minmax"
    assert table["top1_loc_err@fixed"][1] == 1.5
    text = (run.parent / "leaderboard.md").read_text()
    assert "| †1 | N\\|N | cam | 0.2 | 1.5 |" in text
    assert "- †1: A &#60;b&#62;, as quoted by C &#60;d&#62;, classes predicted by B7\n" in text
    assert main([*call, "--validate"]) == 0
    assert main([str(run.parent), "--validate"]) == 2
    assert "contains published numbers; give --with-published, or --all-published" in capsys.readouterr().err
    (tables / "a.csv").write_text(f"{header}\n{line.replace('1.5', '1.6')}\n")
    assert main([*call, "--validate"]) == 2
    assert "top1_loc_err@fixed of A <b> N|N cam is 1.5, but should be 1.6" in capsys.readouterr().err
    (tables / "a.csv").write_text(f"{header}\n{line.replace(',odd,', ',even,')}\n")
    assert main(call) == 0
    assert "no published number is for the data set and split of any run" in capsys.readouterr().err


def test_the_bundled_numbers_need_no_checkout(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = replace(data("test", 4, 0), name="cub")
    runs = tmp_path / "runs"
    wsol.score(baseline="center-gaussian", dataset=images, protocol="wsolevaluation:step=0.1", out=runs / "run")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main([str(runs), "--with-published"]) == 0
    assert "1 run, 0 published rows, 0 runs left out" in capsys.readouterr().out
    board = wsol.leaderboard(runs, all_published=True)
    rows = [row for row in board.rows if row["kind"] == "published"]
    assert {row["mismatch"].split("; ")[0] for row in rows} == {"images: 5794, not 4"}
    choe = [row for row in rows if row["source"].startswith("Choe")]
    best = {(row["model"], row["method"]): row["max_box_acc_v2@oracle"] for row in choe}
    assert best["InceptionV3", "has"] == 53.4
    assert best["", "center-gaussian"] == 59.7
    assert "classes predicted by EfficientNet-B7" in board.markdown
    assert "as quoted by Zhao et al., ICCV 2023 (GenPromp)" in board.markdown
    unseen = [row for row in rows if row["model"] == "InceptionV3" and row["method"] == "bagcams"]
    assert unseen[0]["max_box_acc_v2_50@oracle"] == 89.78  # no column of the tables shows it
    assert (
        "Bagging Regional Classification Activation Maps for Weakly Supervised Object Localization, ECCV 2022, as "
        not in (board.markdown)
    )
    assert not [row for row in wsol.leaderboard(runs).rows if row["kind"] == "published"]
    with (Path(wsol.__file__).parents[1] / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["package-data"]["wsol"]
    package = resources.files("wsol")
    for path in (package / "leaderboards" / "literature").iterdir():
        assert any(path.relative_to(package).match(pattern) for pattern in patterns), path


def with_another_digit(number: str, place: int) -> str:
    """Returns a number with one of its digits, counted round and round, one higher."""
    places = [i for i, sign in enumerate(number) if sign.isdigit()]
    i = places[place % len(places)]
    return number[:i] + str((int(number[i]) + 1) % 10) + number[i + 1 :]


def with_other_facts(path: Path) -> Iterator[bytes]:
    """Yields a JSON file with each of its numbers changed in one digit, those in words too."""
    text = path.read_text()
    for k, match in enumerate(re.finditer(r"\d+(\.\d+)?", text)):
        yield (text[: match.start()] + with_another_digit(match[0], k) + text[match.end() :]).encode()


def with_other_fields(path: Path, most: int = 12) -> Iterator[bytes]:
    """Yields a CSV file with numbers of each column changed in one digit."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    rng = np.random.default_rng(0)
    for column in range(len(header)):
        numbers = [i for i, row in enumerate(rows) if re.fullmatch(r"\d+(\.\d+)?(e-\d+)?", row[column])]
        for place, i in enumerate(sorted(rng.permutation(numbers)[:most].tolist())):
            changed = [list(row) for row in rows]
            changed[i][column] = with_another_digit(rows[i][column], place)
            text = io.StringIO(newline="")
            csv.writer(text, lineterminator="\n").writerows([header, *changed])
            yield text.getvalue().encode()


def refused(run: Path, validated: str = "reproduce") -> str:
    with pytest.raises(InputError, match=validated) as error:
        wsol.leaderboard(run.parent, validate=True)
    return str(error.value)


def with_other_values(path: Path) -> Iterator[bytes]:
    """Yields an array file with single values changed."""
    array = np.load(path)
    chosen = np.random.default_rng(0).choice(array.size, min(array.size, 12), replace=False)
    for i in chosen.tolist():
        changed = array.copy()
        changed.flat[i] = not changed.flat[i] if array.dtype == bool else changed.flat[i] + array.dtype.type(1)
        file = io.BytesIO()
        np.save(file, changed)
        yield file.getvalue()


def with_other_cells(path: Path) -> Iterator[bytes]:
    """Yields a Parquet file with a number of each column changed."""
    table = pd.read_parquet(path)
    for name in table.select_dtypes(["number", "bool"]).columns:
        changed = table.copy()
        changed[name] = np.where(
            np.arange(len(table)) == 1, ~table[name] if table[name].dtype == bool else table[name] + 1, table[name]
        )
        yield changed.to_parquet(None, index=False)


CHANGES: dict[str, Callable[[Path], Iterator[bytes]]] = {
    ".csv": with_other_fields,
    ".json": with_other_facts,
    ".npy": with_other_values,
    ".parquet": with_other_cells,
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CHANGES)
def test_no_digit_changes_unseen(run: Path, suffix: str) -> None:
    wsol.leaderboard(run.parent, validate=True)
    for path in sorted(run.glob(f"*{suffix}")):
        before = path.read_bytes()
        changed = list(CHANGES[suffix](path))
        assert len(changed) >= 4
        for content in changed:
            path.write_bytes(content)
            sentence = refused(run)
            assert path.name in sentence or suffix == ".json"
        path.write_bytes(before)
    wsol.leaderboard(run.parent, validate=True)


def reseal(run: Path) -> None:
    """Does what somebody would who wants to hide a change."""
    metadata = read_metadata(run)
    (run / "run.json").write_text(json.dumps(asdict(add_checksums(metadata, run, metadata.checksums or ()))))


def forge_table(name: str, column: str, row: int = 0, by: float = 1.0) -> Callable[[Path], None]:
    def forge(run: Path) -> None:
        path = run / f"{name}.csv"
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        place = header.index(column)
        i = [i for i, fields in enumerate(rows) if fields[place]][row]
        rows[i][place] = str(float(rows[i][place]) + by)
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])

    return forge


def forge_guesses(column: str, value: Any = None) -> Callable[[Path], None]:
    def forge(run: Path) -> None:
        table = pd.read_parquet(run / "predictions.parquet")
        table.loc[3, column] = table[column][3] + 1 if value is None else value
        table.to_parquet(run / "predictions.parquet", index=False)

    return forge


def forge_array(name: str) -> Callable[[Path], None]:
    def forge(run: Path) -> None:
        array = np.load(run / f"{name}.npy")
        array[1] = ~array[1] if array.dtype == bool else array[1] * 0
        np.save(run / f"{name}.npy", array)

    return forge


def more_pixels(run: Path) -> None:
    pixels = np.load(run / "pixels.npy")
    pixels[2, 4, 1] += 1000
    np.save(run / "pixels.npy", pixels)


def forge_facts(*keys: str, value: Any) -> Callable[[Path], None]:
    def forge(run: Path) -> None:
        facts = part = json.loads((run / "run.json").read_text())
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        (run / "run.json").write_text(json.dumps(facts))

    return forge


FORGED = {
    "metrics value": (forge_table("metrics", "value"), r"metrics\.csv: value in line 2 is \S+, but should be"),
    "metrics low": (forge_table("metrics", "ci_low"), r"metrics\.csv: ci_low"),
    "metrics high": (forge_table("metrics", "ci_high", -1), r"metrics\.csv: ci_high"),
    "metrics tau": (forge_table("metrics", "tau", 1, 0.1), r"metrics\.csv: tau"),
    "metrics n": (forge_table("metrics", "n", 1), r"metrics\.csv: n "),
    "a hair": (forge_table("metrics", "ci_high", by=1e-3), r"metrics\.csv: ci_high"),
    "classes": (forge_table("classes", "value", 7), r"classes\.csv: value in line 9"),
    "groups": (forge_table("groups", "value", 3), r"groups\.csv: value"),
    "errors n": (forge_table("errors", "n"), r"errors\.csv: n in line 2"),
    "errors share": (forge_table("errors", "share", 1), r"errors\.csv: share in line 3"),
    "errors gain": (forge_table("errors", "gain", 2), r"errors\.csv: gain in line 4"),
    "pixels": (forge_array("pixels"), r"metrics\.csv: value in line .* \d+ more"),
    "more pixels": (more_pixels, r"pixels\.npy: 1 of 4 images differ from the recomputed values, the first is test/2"),
    "baselines": (forge_table("baselines", "value", 5), r"baselines\.csv: value in line 7 "),
    "label": (forge_guesses("label"), r"predictions\.parquet does not hold predictions for these images"),
    "rank": (forge_guesses("rank"), r"predictions\.parquet does not hold predictions for these images"),
    "class": (forge_guesses("class_id", 0), r"a class is predicted twice .*error in row 3 is class"),
    "score": (forge_guesses("score"), r"scores increase|two scores"),
    "tau of a guess": (forge_guesses("tau"), r"predictions\.parquet: tau in row 3"),
    "box": (
        forge_guesses("x1"),
        r"predictions\.parquet: .*1 of 4 images differ from the recomputed values, the first is test/0",
    ),
    "iou": (forge_guesses("iou", 0.123), r"predictions\.parquet: iou in row 3 is 0\.123"),
    "error": (forge_guesses("error", "multi"), r"predictions\.parquet: error in row 3 is multi"),
    "curves": (
        forge_array("curves"),
        r"curves\.npy: 1 of 4 images differ from the recomputed values, the first is test/1",
    ),
    "contours": (forge_array("curves_v2"), r"curves_v2\.npy: 1 of 4"),
    "peaks": (forge_array("peaks"), r"peaks\.npy: 1 of 4"),
    "boxes": (forge_array("boxes"), r"boxes\.npy: 1 of 4"),
    "maps": (forge_array("maps"), r"curves\.npy: 1 of 4"),
    "n": (forge_facts("dataset", "n", value=5), r"ground_truth\.parquet has 4 images, but run\.json says otherwise"),
    "tau": (
        forge_facts("tau", "value", value=0.3),
        r"the rule of tau is tau:0\.2 in run\.json, but tau:0\.3 according to the files",
    ),
    "fixed": (
        forge_facts("tau", "fixed", value=0.3),
        r"the fixed tau is 0\.3 in run\.json, but 0\.2 according to the files",
    ),
    "model": (
        forge_facts("provenance", "model", value="other:1"),
        r"the model is tiny:00000000 in run\.json, but other:1 according to the files",
    ),
    "protocol": (
        forge_facts("protocol", value="wsolevaluation:step=0.1,delta=0.4"),
        r"the protocol is \S+ in run\.json, but \S+ according to the files",
    ),
    "version": (forge_facts("versions", "wsol", value="9"), r"the run was written by wsol 9, and this is"),
    "shape": (
        lambda run: np.save(run / "maps.npy", np.zeros((9, 6, 2, 2), "f4")),
        r"do not belong together, .*\(9, 6, 2, 2\)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FORGED)
def test_new_checksums_do_not_help(run: Path, what: str) -> None:
    forge, sentence = FORGED[what]
    forge(run)
    reseal(run)
    assert re.search(sentence, refused(run))


@pytest.mark.parametrize("name", ["metrics.csv", "errors.csv", "baselines.csv", "groups.csv", "classes.csv"])
def test_an_edited_table_is_noticed_without_validation(
    run: Path, results: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results / "baseline", run.parent / "intact")
    forge_table(name.removesuffix(".csv"), "share" if name == "errors.csv" else "value")(run)
    sentence = f"{run} is no longer what its run wrote ({name} was changed); restore the files, or remove the folder"
    board = wsol.leaderboard(run.parent)
    assert [row["run"] for row in board.rows] == ["intact"]
    assert board.left_out == [f"run: {sentence} and evaluate again"]
    for read in (Evaluation.read, lambda folder: wsol.compare([folder, run.parent / "intact"])):
        with pytest.raises(InputError, match=re.escape(sentence)):
            read(run)
    assert score_main(["--run", str(run), "--protocol", "exact", "--out", str(run.parent / "again")]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("forge", "name"),
    [
        (forge_guesses("score"), "predictions.parquet"),
        (forge_array("curves"), "curves.npy"),
        (forge_facts("notes", value=["a better run"]), "run.json"),
        (forge_facts("cost", "ms_per_image", value=0.1), "run.json"),
    ],
)
def test_other_edits_are_noticed_too(run: Path, forge: Callable[[Path], None], name: str) -> None:
    forge(run)
    with pytest.raises(InputError, match=rf"contains no complete run; run: .* \({name} was changed\)"):
        wsol.leaderboard(run.parent)


def test_an_edited_validation_split_is_noticed(results: Path, tmp_path: Path) -> None:
    (own,) = (results / "deep").iterdir()
    run = Path(shutil.copytree(own, tmp_path / "run"))
    forge_table("metrics", "value")(run / "val")
    with pytest.raises(InputError, match=r"run/val is no longer what its run wrote \(metrics\.csv was changed\)"):
        Evaluation.read(run)
    reseal(run / "val")
    with pytest.raises(InputError, match=r"run is no longer what its run wrote \(val/run\.json was changed\)"):
        Evaluation.read(run)


def test_a_file_without_checksum(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    del facts["checksums"]["curves.npy"]
    (run / "run.json").write_text(json.dumps(facts))
    reseal(run)
    assert "curves.npy has no checksum" in refused(run)


def test_the_validation_split_is_looked_at_too(results: Path, tmp_path: Path) -> None:
    (own,) = (results / "deep").iterdir()
    run = Path(shutil.copytree(own, tmp_path / "results" / "run"))
    before = (run / "val" / "metrics.csv").read_bytes()
    forge_table("metrics", "value")(run / "val")
    assert "val: metrics.csv was changed" in refused(run)
    reseal(run / "val")
    assert "val/run.json was changed" in refused(run)
    reseal(run)
    assert "val: metrics.csv: value in line 2" in refused(run)
    (run / "val" / "metrics.csv").write_bytes(before)
    reseal(run / "val")
    reseal(run)
    wsol.leaderboard(run.parent, validate=True)
    facts = json.loads((run / "run.json").read_text())
    chosen = facts["signature"].split("=")[-1].split("|")[0]
    forge_facts("signature", value=facts["signature"].replace(f"={chosen}|", "=0.8|"))(run)
    reseal(run)
    assert re.search(r"the rule of tau is \S+=0\.8 in run\.json, but \S+ according to the files", refused(run))


@pytest.mark.parametrize(("name", "files"), [("scored", r"curves\.npy or boxes\.npy"), ("baseline", r" curves\.npy")])
def test_curves_without_maps(results: Path, tmp_path: Path, name: str, files: str) -> None:
    run = Path(shutil.copytree(results / name, tmp_path / "results" / name))
    curves = np.load(run / "curves.npy")
    curves[2, 7] += 0.25
    np.save(run / "curves.npy", curves)
    reseal(run)
    assert re.search(f"{files}: 1 of 4 images differ from the recomputed values, the first is test/2", refused(run))


def test_boxes_from_elsewhere(results: Path, tmp_path: Path) -> None:
    run = tmp_path / "results" / "boxes"
    wsol.score(boxes=results / "boxes.csv", dataset=data("test", 4, 0), protocol="exact", corners="edges", out=run)
    board = wsol.leaderboard(run.parent, validate=True)
    assert {"top1_loc_err", "gt_known_loc_acc"} & {*board.table.columns} == {"top1_loc_err"}
    forge_guesses("x0")(run)
    reseal(run)
    assert "predictions.parquet: iou in row 3" in refused(run)


def test_all_are_looked_at_and_nothing_is_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = run.parent
    for name in ("also", "fine"):
        shutil.copytree(run, root / name)
    assert main([str(root)]) == 0
    before = {path.name: path.read_bytes() for path in root.glob("leaderboard.*")}
    assert len(before) == 3
    forge_table("metrics", "value")(run)
    (root / "also" / "run.json").write_text("{}")
    (root / "leaderboard.csv").write_bytes(before["leaderboard.csv"].replace(b",fine,", b",fein,"))
    before["leaderboard.csv"] = before["leaderboard.csv"].replace(b",fine,", b",fein,")
    capsys.readouterr()
    assert main([str(root), "--validate"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[0] == "wsol: no leaderboard is written, as not everything reproduces (faults: 3):"
    assert (
        lines[1]
        == "  also: the run does not reproduce: run.json cannot be read (run.json lacks signature); evaluate again"
    )
    assert lines[2] == "  run: the run does not reproduce: metrics.csv was changed; evaluate again"
    assert lines[3].endswith("leaderboard.csv, line 3: no run or published number matches the row of fein")
    assert len(lines) == 4
    assert {path.name: path.read_bytes() for path in root.glob("leaderboard.*")} == before


def test_no_cell_of_a_leaderboard_changes_unseen(tmp_path: Path) -> None:
    rows = by_hand()
    path = tmp_path / "leaderboard.csv"
    path.write_text(to_csv(rows))
    for name, render in _RENDERERS.items():
        (tmp_path / name).write_bytes(render(rows).encode())
    assert find_stale(tmp_path, rows, (), _RENDERERS) == []
    header, *lines = csv.reader(io.StringIO(to_csv(rows)))
    count = 0
    for i, line in enumerate(lines):
        for j, cell in enumerate(line):
            if any(sign.isdigit() for sign in cell):
                changed = [list(fields) for fields in lines]
                changed[i][j] = with_another_digit(cell, i + j)
                with path.open("w", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerows([header, *changed])
                (sentence,) = find_stale(tmp_path, rows, (), _RENDERERS)
                assert f"line {i + 2}: " in sentence
                if "but should be" in sentence:
                    assert f"{header[j]} of " in sentence
                    advice = "; each evaluation measures its cost, so if the run was evaluated again, build the "
                    end = re.escape(advice) + ".*" if header[j] in COSTS else ""
                    assert re.search(f" is {re.escape(changed[i][j])}, but should be {re.escape(cell)}{end}$", sentence)
                count += 1
    assert count > 60
    path.write_text(to_csv(rows))
    for name, render in _RENDERERS.items():
        text = render(rows)
        for match in list(re.finditer(r"\d+\.\d", text))[::3]:
            (tmp_path / name).write_text(text[: match.end() - 1] + "x" + text[match.end() :])
            (sentence,) = find_stale(tmp_path, rows, (), _RENDERERS)
            assert sentence.endswith(
                f"{name} does not match leaderboard.csv; delete it and build the leaderboard again"
            )
        (tmp_path / name).write_bytes(text.encode())


def test_rows_may_come_but_not_go_or_stand_twice(tmp_path: Path) -> None:
    rows = by_hand()
    path = tmp_path / "leaderboard.csv"
    path.write_text(to_csv(rows[1:]))
    (tmp_path / "leaderboard.md").write_text(render_markdown(rows[1:]))
    assert find_stale(tmp_path, rows, (), _RENDERERS) == []
    assert find_stale(tmp_path, [rows[0], *rows[2:]], ("a/cam",), _RENDERERS) == []
    (sentence,) = find_stale(tmp_path, [rows[0], *rows[2:]], (), _RENDERERS)
    assert sentence.endswith("line 2: no run or published number matches the row of a/cam")
    header, *lines = to_csv(rows).splitlines(keepends=True)
    path.write_text(header + lines[0] + lines[0])
    (sentence,) = find_stale(tmp_path, rows, (), _RENDERERS)
    assert sentence.endswith("line 3: the row of b occurs twice")
    path.write_text('a,b\n1,"2\n')
    (sentence,) = find_stale(tmp_path, rows, (), _RENDERERS)
    assert "is not a leaderboard" in sentence


def test_help_is_quick_and_the_command_does_not_hide_the_function() -> None:
    code = """
import sys, wsol
from wsol.leaderboard import main
try:
    main(["--help"])
except SystemExit:
    assert "torch" not in sys.modules
import wsol.leaderboard
assert callable(wsol.leaderboard)
from wsol.__main__ import _COMMANDS
assert "leaderboard" in _COMMANDS
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
