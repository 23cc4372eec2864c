import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_net import TinyNet

import wsol
from wsol.datasets import load_dataset
from wsol.models import Model, Preprocessing, find_gap
from wsol.reports.page import render_run_page
from wsol.reports.page_data import _min_hit, _quantize_ious, encode_page_data
from wsol.runs.read import StoredRun, read_run


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Model("tiny", find_gap(TinyNet(12).eval(), "tiny"), Preprocessing(), "random", "0" * 64, 12)
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    wsol.evaluate(model, limit=9, device="cpu", out=folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, evaluated: Path) -> StoredRun:
    return read_run(shutil.copytree(evaluated, tmp_path / "run"))


def unpack(blob: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    packed = gzip.decompress(base64.b64decode(blob))
    size = int.from_bytes(packed[:4], "little")
    header = json.loads(packed[4 : 4 + size])
    assert (4 + size) % 8 == 0
    arrays = {
        name: np.frombuffer(packed, kind, count, 4 + size + offset)
        for name, (kind, offset, count) in header["arrays"].items()
    }
    return header, arrays


class Outline(HTMLParser):
    """The ids, references, sources and controls of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.sources: list[str] = []
        self.controls: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if attributes.get("id") else []
        self.references += [v for k in ("for", "aria-labelledby") if (v := attributes.get(k))]
        self.sources += [v for k in ("src", "href", "srcset", "action") if (v := attributes.get(k))]
        self.controls += [{"tag": tag, **attributes}] if tag in ("input", "select") else []


def test_the_packed_data_are_those_of_the_run(run: StoredRun) -> None:
    with ThreadPoolExecutor(1) as pool:
        header, arrays = unpack(encode_page_data([run], ["run"], "", pool))
    own = run.tables.predictions.query("rank == 0")
    first = run.tables.predictions.query("rank == 1")
    assert header["ids"] == own.image_id.tolist()
    assert [header["classes"][label] for label in arrays["labels"]] == [header["classes"][c] for c in own.class_id]
    np.testing.assert_allclose(arrays["0.iou"] / 1e4, own.iou, atol=1e-4)
    corners = own[["x0", "y0", "x1", "y1"]].to_numpy()
    np.testing.assert_allclose(arrays["0.box"].reshape(-1, 4) / 65534 * 224, corners, atol=0.01)
    np.testing.assert_allclose(arrays["0.top1Score"], first.score, rtol=1e-6)
    assert [header["errors"][code] for code in arrays["0.error"]] == first.error.tolist()
    truths = np.concatenate([truth.boxes for truth in run.results.truths])
    np.testing.assert_allclose(arrays["truths"].reshape(-1, 4) / 65534 * 224, truths, atol=0.01)
    assert arrays["truthStarts"].tolist() == [0, *np.cumsum([len(truth.boxes) for truth in run.results.truths])]
    # at each tau of the slider
    assert header["taus"] == [round(0.01 * k, 9) for k in range(100)]
    np.testing.assert_allclose(arrays["0.ious"].reshape(9, 100) / 1e4, run.results.stats.curves[:, ::10], atol=1.1e-4)
    hits = arrays["0.ious"].reshape(9, 100) >= 5000
    np.testing.assert_array_equal(hits, run.results.stats.curves[:, ::10] >= 0.5)
    boxes = arrays["0.boxes"].reshape(9, 100, 4)
    np.testing.assert_allclose(boxes[:, 20] / 255 * 224, corners, atol=0.5)
    curves = header["runs"][0]["curves"]
    curve = dict(zip(curves["taus"], curves["GT-known, IoU 0.5"], strict=True))
    assert curve[0.2] == pytest.approx(100 * (own.iou >= 0.5).mean(), abs=1e-3)
    # thumbnails
    assert arrays["embedded"].tolist() == [*range(9)]
    thumbnails, starts = arrays["thumbnails"].tobytes(), arrays["thumbnailStarts"]
    for i in range(9):
        assert thumbnails[starts[i] : starts[i + 1]] == (run.folder / f"thumbnails/000/{i:06d}.jpg").read_bytes()


def test_small_maps_are_kept(run: StoredRun) -> None:
    with ThreadPoolExecutor(1) as pool:
        _, arrays = unpack(encode_page_data([run], ["run"], "", pool))
    assert run.maps is not None
    own = np.asarray(run.maps[:, 0])
    low, high = own.min((1, 2), keepdims=True), own.max((1, 2), keepdims=True)
    np.testing.assert_allclose(arrays["0.maps"].reshape(9, 14, 14), 255 * (own - low) / (high - low), atol=0.51)


def test_large_maps_are_averaged(run: StoredRun) -> None:
    tiles = np.random.default_rng(0).random((9, 1, 28, 28)).astype(np.float32)
    vars(run)["maps"] = np.repeat(np.repeat(tiles, 8, 2), 8, 3)  # in place of maps.npy
    with ThreadPoolExecutor(1) as pool:
        _, arrays = unpack(encode_page_data([run], ["run"], "", pool))
    low, high = tiles.min((2, 3), keepdims=True), tiles.max((2, 3), keepdims=True)
    found = arrays["0.maps"].reshape(9, 1, 28, 28)
    np.testing.assert_allclose(found, 255 * (tiles - low) / (high - low), atol=0.51)


def test_the_page_stands_alone(run: StoredRun) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert page == render_run_page(run)  # wsol.evaluate wrote it
    outline = Outline(page)
    assert [source for source in outline.sources if not source.startswith("#")] == []
    assert not re.search(r"https?://(?!www\.w3\.org/)", page)
    assert len(outline.ids) == len(set(outline.ids))
    assert set(outline.references) <= set(outline.ids)
    assert run.signature in page
    for control in outline.controls:  # each is in a label, or has one
        labelled = control.get("aria-label") or control["id"] in outline.references
        assert labelled or re.search(rf'<label[^>]*>[^<]*<{control["tag"]} id="{control["id"]}"', page), control


def test_the_numbers_are_those_of_the_tables(run: StoredRun) -> None:
    page = re.sub(r"<[^>]+>", " ", render_run_page(run).split("<noscript>")[0])
    for row in run.tables.metrics.itertuples():
        assert f"{row.value:.3f}" in page
    for row in run.tables.errors.itertuples():
        assert f"{row.share:.1f} %" in page


@pytest.mark.slow
def test_scored_runs_have_pages_too(tmp_path: Path, run: StoredRun) -> None:
    wsol.score(run=run.folder, protocol="exact", out=tmp_path / "exact")
    assert len([*(tmp_path / "exact" / "thumbnails").rglob("*.jpg")]) == 9
    wsol.score(baseline="center-box", dataset="synthetic", limit=5, out=tmp_path / "box")
    for name, has_maps in (("exact", True), ("box", False)):
        header, arrays = unpack(re.search(r'id="data">([^<]*)<', read_page(tmp_path / name))[1])  # type: ignore[index]
        assert len(arrays["embedded"]) == len(header["ids"])
        assert ("0.maps" in arrays) == has_maps
    _, arrays = unpack(re.search(r'id="data">([^<]*)<', read_page(tmp_path / "exact"))[1])  # type: ignore[index]
    assert run.maps is not None
    rows = zip(run.maps[:, 0], run.results.truths, strict=True)
    prepared = [cv2.resize(row, truth.size, interpolation=cv2.INTER_LINEAR) for row, truth in rows]
    check_maps(arrays["0.maps"], [np.maximum(each - each.min(), 0) / np.ptp(each) for each in prepared], 2)


def read_page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def check_maps(found: NDArray[np.uint8], maps: Iterable[NDArray[Any]], tolerance: float) -> None:
    """Compares small maps with the means of maps over 28 x 28 tiles, of which every second row and column counts."""
    for small, each in zip(found.reshape(-1, 28, 28), (each[::2, ::2] for each in maps), strict=True):
        tiles = [np.array_split(rows, 28, axis=1) for rows in np.array_split(each - each.min(), 28)]
        means = np.array([[tile.mean() for tile in row] for row in tiles])
        if each.shape == (112, 112):  # all tiles have the same size
            np.testing.assert_allclose(small, 255 * means / means.max(), atol=tolerance)
        assert np.corrcoef(small.ravel(), means.ravel())[0, 1] > 0.98


@pytest.mark.slow
def test_external_maps_are_shown_and_classes_are_not(tmp_path: Path) -> None:
    images = load_dataset("synthetic").limit(5)
    maps = np.random.default_rng(0).random((5, 224, 224)).astype(np.float32)
    maps[:, 50:120, 60:190] += 2
    maps = (maps - maps.min((1, 2), keepdims=True)) / np.ptp(maps, axis=(1, 2), keepdims=True)
    (tmp_path / "maps").mkdir()
    for sample, score_map in zip(images, maps, strict=True):
        np.save(tmp_path / "maps" / f"{sample.image_id}.npy", score_map)
    (tmp_path / "maps" / f"{images.samples[2].image_id}.npy").unlink()
    wsol.score(maps=tmp_path / "maps", dataset=images, skip_bad=True, out=tmp_path / "run")
    page = read_page(tmp_path / "run")
    assert page == render_run_page(read_run(tmp_path / "run"))
    header, arrays = unpack(re.search(r'id="data">([^<]*)<', page)[1])  # type: ignore[index]
    assert header["runs"][0]["classifies"] is False
    check_maps(arrays["0.maps"], maps[[0, 1, 3, 4]], 0.51)
    text = visible_text(page)
    assert "Error types of the boxes" in text
    assert "change of the GT-known error" in text
    for absent in ("top-1", "predicted class", "right class", 'data-error="class"'):
        assert absent not in text
    assert 'data-error="class"' not in page
    assert "1 missing" in text.split("GT-known accuracy")[0]  # the note stands at the top


def visible_text(page: str) -> str:
    """Returns what a reader sees without hovering."""
    return " ".join(
        re.sub(r"<[^>]+>", " ", re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)).split()
    ).replace(" ,", ",")


def test_numbers_stand_above_the_images(run: StoredRun) -> None:
    page = render_run_page(run)
    text, below = (visible_text(part) for part in page.split('id="gallery-title"'))
    rows = run.tables.baselines
    for name in rows.baseline.unique():
        assert f"{name}, " in text  # which is followed by what it is
    for row in [*run.tables.metrics.itertuples(), *rows[rows.tau_rule != "oracle"].itertuples()]:
        assert f"{row.value:.3f}" in text
        assert not re.search(rf"\b{row.value:.3f}\b", below) or row.value in (0, 100)
    for error, meaning in {
        "class": "the predicted class is wrong",
        "correct": "right class; the IoU with a true box is at least 0.5",
        "multi": "right class; the box covers more than 30 % of two or more objects",
        "part": "right class; most of the box is inside the object",
        "more": "right class; the box encloses at least 70 % of the object",
        "other": "right class; none of these",
    }.items():
        assert re.search(rf"\b{error} \d+\.\d % \[[^]]*\] (if fixed: \S+ )?{meaning}", text)
    links = re.findall(r"<nav.*?</nav>", page)[0]
    assert set(re.findall(r'href="#([^"]+)"', links)) == {"metrics-title", "gallery-title", "run-title"}
    assert text.startswith(f"run · wsol Skip to the images run Metrics Images Run details Dark mode {run.signature}")


def test_a_tile_names_the_best_baseline(run: StoredRun) -> None:
    """At the run's own rule of tau; for an error the lowest, for an accuracy the highest."""
    table = run.tables.baselines.copy()
    numbers = {
        ("top1_loc_err", "fixed"): {"center-box": 70, "center-gaussian": 60.126, "full-image": 90, "random": 99},
        ("top1_loc_err", "oracle"): {"center-box": 50, "center-gaussian": 51, "full-image": 52, "random": 53},
        ("gt_known_loc_acc", "fixed"): {"center-box": 7, "center-gaussian": 6, "full-image": 5, "random": 8.5},
        ("max_box_acc_v2", "oracle"): {"center-box": 1, "center-gaussian": 2, "full-image": 33, "random": 4},
    }
    for (metric, rule), values in numbers.items():
        for name, value in values.items():
            rows = (table.metric == metric) & (table.tau_rule == rule) & (table.baseline == name)
            assert rows.sum() == 1
            table.loc[rows, "value"] = value
    text = visible_text(render_run_page(replace(run, tables=replace(run.tables, baselines=table))))
    for title, best in (
        ("top-1 localization error", "60.13 (center-gaussian)"),
        ("GT-known accuracy", "8.50 (random)"),
        ("MaxBoxAccV2", "33.00 (full-image)"),
    ):
        assert re.search(rf"{title} \d+\.\d\d % [^%]*% CI[^%]*best baseline: {re.escape(best)}", text), title


@pytest.mark.parametrize("delta", [0.5, 0.7, 1 / 3, 0.33335, 0.123456])
def test_no_iou_changes_sides_on_the_page(delta: float) -> None:
    near = np.float32(delta) + np.arange(-50, 51) * np.float32(3e-8)
    ious = np.concatenate([near, np.linspace(0, 1, 10_001), [delta]]).astype(np.float32)
    quantized = _quantize_ious(ious, delta)
    np.testing.assert_array_equal(quantized >= _min_hit(delta), ious >= np.float32(delta))
    np.testing.assert_allclose(quantized / 1e4, ious, atol=2.1e-4)


@pytest.mark.slow
def test_nothing_is_left_on_disk_without_out(tmp_path: Path, synthetic_model: Model, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    wsol.evaluate(synthetic_model, limit=2, device="cpu")
    assert [*tmp_path.iterdir()] == []
