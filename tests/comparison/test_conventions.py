"""Runs of the same score maps under different protocols: compared, named as such, and drawn right."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wsol
from wsol.comparison.figures import accuracy_figure, iou_figure
from wsol.datasets import Dataset, Mask, load_dataset
from wsol.errors import InputError
from wsol.runs.checksums import add_checksums
from wsol.runs.metadata import read_metadata
from wsol.runs.read import read_run

NOTE = "the runs score the same maps under different protocols: only the convention makes the differences"


@pytest.fixture
def maps(csv_data: Path, tmp_path: Path) -> Path:
    """Blobs near the object, as raw maps of another program."""
    folder, rng = tmp_path / "maps", np.random.default_rng(4)
    folder.mkdir()
    y, x = np.mgrid[:14, :14]
    for sample in load_dataset("csv", csv_data):
        cx, cy = rng.uniform(3, 10, 2)
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 20) + 0.1 * rng.normal(size=(14, 14))
        np.save(folder / sample.image_id.replace(".png", ".npy"), blob.astype(np.float32))
    return folder


def score(maps: Path, csv_data: Path, out: Path, protocol: str, **more: Any) -> Path:
    wsol.score(maps=maps, raw=True, dataset="csv", data_root=csv_data, protocol=protocol, out=out, bootstrap=0, **more)
    return out


@pytest.mark.slow
def test_differences_are_those_of_the_runs_by_hand(maps: Path, csv_data: Path, tmp_path: Path) -> None:
    protocols = ["wsolevaluation:step=0.1", "wsolevaluation:step=0.1,norm=max", "exact:levels=6"]
    folders = [score(maps, csv_data, tmp_path / f"run{i}", each) for i, each in enumerate(protocols)]
    comparison = wsol.compare(folders, out=tmp_path / "out")
    assert comparison.notes[0] == NOTE
    assert comparison.signature.split("|")[3] == "*"
    assert comparison.runs["protocol"].tolist() == [read_run(folder).protocol.signature for folder in folders]
    runs = [read_run(folder) for folder in folders]
    hits = [run.results.stats.hits[:, int(np.abs(run.taus - 0.2).argmin())] for run in runs]
    drawn = [np.random.RandomState([0, r]).randint(0, 8, 8) for r in range(1000)]
    for row in comparison.differences[comparison.differences.metric == "gt_known_loc_acc"].itertuples():
        if row.tau_rule != "fixed":
            continue
        a, b = (hits[int(name[-1])].astype(float) for name in (row.run, row.other))
        assert row.difference == pytest.approx(100 * (a.mean() - b.mean()))
        ends = np.percentile([100 * (a[i].mean() - b[i].mean()) for i in drawn], [2.5, 97.5])
        np.testing.assert_allclose([row.ci_low, row.ci_high], ends, atol=1e-9)
    curves = comparison.curves
    np.testing.assert_allclose(curves["tau"], np.arange(11) / 10, atol=1e-12)  # of all grids, each once
    for name, run in zip(comparison.runs["run"], runs, strict=True):
        own = curves[curves[name].notna()]
        np.testing.assert_allclose(own["tau"], run.taus, atol=1e-12)
        np.testing.assert_array_equal(own[name], 100 * run.results.stats.hits.mean(0))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert NOTE in page
    for run in runs:
        assert f"<td>{run.protocol.signature}</td>" in page
    written = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert written[written.metric == "max_box_acc_v2"]["run"].tolist() == ["run0", "run1"]  # the others have one box


@pytest.mark.slow
def test_each_run_has_the_hits_of_its_own_delta(maps: Path, csv_data: Path, tmp_path: Path) -> None:
    low, high = (
        score(maps, csv_data, tmp_path / name, f"wsolevaluation:step=0.1,delta={delta}")
        for name, delta in (("low", 0.3), ("high", 0.7))
    )
    comparison = wsol.compare([low, high], out=tmp_path / "out")
    assert comparison.delta is None
    images = comparison.images
    assert images["hit low"].tolist() == (images["iou low"] >= 0.3).tolist()
    assert images["hit high"].tolist() == (images["iou high"] >= 0.7).tolist()
    assert images["hit low"].sum() > images["hit high"].sum()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "at least 0.3 or at least 0.7, as the run&#39;s protocol has it" in page
    figure = iou_figure(dict.fromkeys(("low", "high"), np.array([0.4, 0.8])), [0.3, 0.7], "")
    assert [line.get_xdata()[0] for line in figure.axes[-1].lines] == [0.3, 0.7]
    text = [each.get_text() for each in figure.axes[0].texts]
    assert {"100.0 % hits", "50.0 % hits"} <= {*text}


def test_a_line_has_the_taus_of_its_own_run() -> None:
    curves = pd.DataFrame({"tau": [0, 0.2, 0.25, 0.5], "a": [10, np.nan, 30, 40], "b": [1, 2, np.nan, np.nan]})
    figure = accuracy_figure(curves, [0.25, 0.2], None, "")
    lines = [line.get_xydata().tolist() for line in figure.axes[-1].lines]
    assert lines == [[[0, 10], [0.25, 30], [0.5, 40]], [[0.25, 30]], [[0, 1], [0.2, 2]], [[0.2, 2]]]
    assert figure.axes[-1].yaxis.label.get_text() == "GT-known accuracy (%)"


def test_other_maps_are_refused_as_before(maps: Path, csv_data: Path, tmp_path: Path) -> None:
    first = score(maps, csv_data, tmp_path / "first", "wsolevaluation:step=0.2")
    (maps / "01.npy").write_bytes((maps / "02.npy").read_bytes())
    other = score(maps, csv_data, tmp_path / "other", "exact:levels=6")
    sentence = (
        "(protocol: exact:levels=6,norm=minmax, not wsolevaluation:step=0.2,norm=minmax); score one like the other"
    )
    with pytest.raises(InputError, match=re.escape(sentence)):
        wsol.compare([first, other])
    again = score(maps, csv_data, tmp_path / "again", "exact:levels=11", tau=0.5)
    with pytest.raises(InputError, match=r"again and other are not comparable \(tau: 0.5, not 0.2\)"):
        wsol.compare([other, again])
    twin = score(maps, csv_data, tmp_path / "twin", "wsolevaluation:step=0.2")
    with pytest.raises(InputError, match=r"--protocol exact:levels=11,norm=minmax --tau 0.2$"):
        wsol.compare([twin, again])


@pytest.mark.slow
def test_a_protocol_may_ignore_the_masks(csv_data: Path, tmp_path: Path) -> None:
    samples = load_dataset("csv", csv_data).samples[:4]
    mask = Mask(np.eye(64, 80, dtype=bool), np.zeros((64, 80), bool))
    masked = tuple(replace(sample, mask=lambda: mask, size=(80, 64)) for sample in samples)
    images = Dataset("made", "test", masked, tuple("0123456"), generated=True)
    for protocol in ("wsolevaluation", "exact", "zhou2016"):
        wsol.score(baseline="center-gaussian", dataset=images, protocol=protocol, out=tmp_path / protocol, bootstrap=0)
    fields = [read_run(tmp_path / name).signature.split("|")[0] for name in ("wsolevaluation", "exact", "zhou2016")]
    assert ["+masks" in field for field in fields] == [True, True, False]
    assert wsol.compare([tmp_path / "wsolevaluation", tmp_path / "exact"]).signature.split("|")[0] == fields[0]
    comparison = wsol.compare([tmp_path / name for name in ("zhou2016", "wsolevaluation", "exact")])
    assert comparison.signature.split("|")[0] == fields[2]
    assert set(comparison.metrics[comparison.metrics.metric == "pxap"]["run"]) == {"wsolevaluation", "exact"}


@pytest.mark.slow
def test_a_run_of_an_earlier_version_compares_and_reproduces(maps: Path, csv_data: Path, tmp_path: Path) -> None:
    """Without the normalization in its signature, as such a run is on disk."""
    now = score(maps, csv_data, tmp_path / "now", "wsolevaluation:step=0.1")
    before = score(maps, csv_data, tmp_path / "before", "wsolevaluation:step=0.1")
    forget_normalization(before)
    comparison = wsol.compare([before, now])
    assert comparison.signature == read_run(now).signature
    assert any("identical" in note for note in comparison.notes)
    assert "protocol" not in comparison.runs
    board = wsol.leaderboard(before, now, validate=False).table
    assert board["group"].nunique() == 1
    assert board["protocol"].tolist() == ["wsolevaluation:step=0.1,norm=minmax"] * 2
    assert sorted("norm=" in signature for signature in board["signature"]) == [False, True]
    assert wsol.leaderboard(tmp_path / "before", validate=True).left_out == []


def forget_normalization(folder: Path) -> None:
    """Rewrite the text files of a run, and its checksums, without the normalization."""
    for path in [*folder.glob("*.csv"), folder / "run.json"]:
        path.write_text(path.read_text(encoding="utf-8").replace(",norm=minmax", ""), encoding="utf-8")
    names = [path.name for path in folder.iterdir() if path.is_file() and path.name in read_checksums(folder)]
    metadata = add_checksums(read_metadata(folder), folder, names)
    (folder / "run.json").write_text(json.dumps(asdict(metadata)), encoding="utf-8")


def read_checksums(folder: Path) -> dict[str, str]:
    return read_metadata(folder).checksums or {}
