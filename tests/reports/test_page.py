import base64
import gzip
import json
import re
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import wsol
from wsol.models import Model
from wsol.reports.page import render_run_page
from wsol.reports.page_data import encode_page_data
from wsol.runs.read import StoredRun, read_run


@pytest.fixture
def run(tmp_path: Path, synthetic_model: Model) -> StoredRun:
    wsol.evaluate(synthetic_model, limit=9, device="cpu", out=tmp_path / "run")
    return read_run(tmp_path / "run")


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


def test_scored_runs_have_pages_too(tmp_path: Path, run: StoredRun) -> None:
    wsol.score(run=run.folder, protocol="exact", out=tmp_path / "exact")
    assert len([*(tmp_path / "exact" / "thumbnails").rglob("*.jpg")]) == 9
    wsol.score(baseline="center-box", dataset="synthetic", limit=5, out=tmp_path / "box")
    for name in ("exact", "box"):
        page = (tmp_path / name / "report.html").read_text(encoding="utf-8")
        header, arrays = unpack(re.search(r'id="data">([^<]*)<', page)[1])  # type: ignore[index]
        assert len(arrays["embedded"]) == len(header["ids"])
        assert "0.maps" not in arrays


def test_nothing_is_left_on_disk_without_out(tmp_path: Path, synthetic_model: Model, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    wsol.evaluate(synthetic_model, limit=2, device="cpu")
    assert [*tmp_path.iterdir()] == []
