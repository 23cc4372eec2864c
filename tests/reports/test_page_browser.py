"""The page in Chromium; skipped if there is none."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from large_page import repeat_run
from PIL import Image
from tiny_net import TinyNet

import wsol
from wsol.datasets import load_dataset
from wsol.models import Model, Preprocessing, find_gap
from wsol.reports import page_data
from wsol.reports.page import write_page
from wsol.runs.read import StoredRun, read_run

pytestmark = pytest.mark.slow

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

HOSTILE = [
    "<script>window.hacked = 1</script>", '"quoted" \'name\'', "</script><img src=x onerror=hacked=1>", "{{ 7 * 7 }}",
    "löwe 狮子 🦁", "a" * 300, "&amp; & &lt;", "back\\slash `tick` ${1}", "plain", "white  space", "-dash", "zebra",
]  # fmt: skip
N = 200


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """A run on 200 images and classes with hostile names; half of the top-1 predictions are right."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    names = [f"{i:03d} {HOSTILE[i % 12].replace('/', '-')[:80]}.png" for i in range(N)]
    for name in names:
        blocks = random.integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(blocks).resize((96, 64), Image.Resampling.BICUBIC).save(root / name)
    corners = np.sort(random.integers(0, 64, (N, 2, 2)), axis=2)
    rows = pd.DataFrame({"image_id": names, "label": [HOSTILE[i % 12] for i in range(N)]})
    rows[["x0", "y0"]], rows[["x1", "y1"]] = corners[..., 0] // 3, corners[..., 1] + 1
    rows.to_csv(root / "boxes.csv", index=False)
    torch.manual_seed(0)
    network = find_gap(TinyNet(12).eval(), "tiny")
    model = Model("tiny", network, Preprocessing(), "random", "0" * 64, 12)
    first = wsol.evaluate(model, dataset="csv", data_root=root, device="cpu")
    classes = first.metadata.dataset.classes
    guesses = first.predictions.query("rank == 1").class_id
    rows["label"] = [
        classes[g] if i % 2 else label for i, (g, label) in enumerate(zip(guesses, rows.label, strict=True))
    ]
    rows.loc[:11, "label"] = HOSTILE
    rows.to_csv(root / "boxes.csv", index=False)
    out = tmp_path_factory.mktemp("run") / "<b>run"
    wsol.evaluate(model, dataset="csv", data_root=root, device="cpu", out=out)
    return read_run(out)


class Page:
    """An opened page, with its console messages and requests."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, height: int = 900) -> None:
        self.tab = browser.new_page(viewport={"width": width, "height": height})
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.tab.on("console", lambda message: self.messages.append(message.text))
        self.tab.on("pageerror", lambda error: self.messages.append(str(error)))
        self.tab.on("dialog", lambda box: self.messages.append(f"dialog {box.message}"))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(path.resolve().as_uri())
        self.tab.wait_for_selector("html[data-ready=true]", timeout=60_000)
        self.tab.evaluate("document.getElementById('curve-section').scrollIntoView()")  # the images follow it
        self.wait_for_frame()

    def wait_for_frame(self) -> None:
        self.tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def images(self) -> list[int]:
        """Return the indices of the visible images, in the order of the page."""
        self.wait_for_frame()
        return [int(i) for i in self.tab.eval_on_selector_all("#gallery li", "all => all.map(li => li.dataset.image)")]

    def status(self) -> str:
        self.wait_for_frame()
        return str(self.tab.inner_text("#status"))

    def boxes(self, image: int, kind: str) -> list[list[float]]:
        """Return the boxes of an image, in units of the frame."""
        script = "all => all.map(r => ['x', 'y', 'width', 'height'].map(a => Number(r.getAttribute(a))))"
        boxes = self.tab.eval_on_selector_all(f"li[data-image='{image}'] rect.box{kind}", script)
        return [[x, y, x + w, y + h] for x, y, w, h in boxes]


@pytest.fixture
def page(browser: Any, run: StoredRun) -> Iterator[Page]:
    opened = Page(browser, run.folder / "report.html")
    yield opened
    assert opened.messages == []
    assert [url for url in opened.requests if not url.startswith(("file:", "blob:"))] == []
    opened.tab.close()


def own(run: StoredRun) -> pd.DataFrame:
    return run.tables.predictions.query("rank == 0").reset_index(drop=True)


def test_it_opens_from_disk(page: Page, run: StoredRun) -> None:
    assert page.tab.title() == "<b>run · wsol"
    hits = int((own(run).iou >= 0.5).sum())
    assert page.status().startswith(f"200 of 200 images · {hits} found")
    shown = page.images()
    assert shown[:6] == [*range(6)]
    assert len(shown) < 60  # the rest is not in the document
    loaded = "[...document.querySelectorAll('#gallery img')].slice(0, 4).every((i) => i.naturalWidth === 224)"
    page.tab.wait_for_function(loaded)
    for i in shown[:6]:
        truth = [box / 224 for box in run.results.truths[i].boxes]
        np.testing.assert_allclose(page.boxes(i, ".truth"), truth, atol=1e-4)
        expected = own(run).loc[i, ["x0", "y0", "x1", "y1"]].to_numpy(float) / 224
        kind = ".hit" if own(run).iou[i] >= 0.5 else ".miss"
        np.testing.assert_allclose(page.boxes(i, kind), [expected], atol=1e-4)


def test_the_slider_moves_boxes(page: Page, run: StoredRun) -> None:
    assert run.results.boxes is not None
    page.tab.fill("#tau", "60")
    curves = run.results.stats.curves[:, 600]
    assert f"{int((curves >= 0.5).sum())} found" in page.status()
    assert page.tab.inner_text("#tau-value") == "0.6"
    for i in page.images()[:8]:
        kind = ".hit" if curves[i] >= 0.5 else ".miss"
        np.testing.assert_allclose(page.boxes(i, kind), [run.results.boxes[i, 60] / 224], atol=0.5 / 255)
        assert f"IoU {curves[i] - 0.00499:.2f}"[:7] in page.tab.inner_text(f"li[data-image='{i}']") or (
            f"IoU {curves[i]:.2f}" in page.tab.inner_text(f"li[data-image='{i}']")
        )
    page.tab.focus("#tau")
    page.tab.keyboard.press("ArrowRight")
    page.wait_for_frame()
    assert page.tab.inner_text("#tau-value") == "0.61"
    accuracy = 100 * (run.results.stats.curves[:, 610] >= 0.5).mean()
    assert f"GT-known, IoU 0.5: {accuracy:.1f} %" in page.tab.inner_text("#curve")
    page.tab.click("#tau-own")
    assert f"{int((own(run).iou >= 0.5).sum())} found" in page.status()
    assert page.tab.inner_text("#tau-value") == "0.2"


def test_error_types_filter(page: Page, run: StoredRun) -> None:
    errors = run.tables.predictions.query("rank == 1").error.to_numpy()
    counts = run.tables.errors.set_index("error").n
    present = [name for name in counts.index if counts[name]]
    assert len(present) >= 3  # otherwise the filter is hardly tested
    page.tab.click(f"[data-error='{present[0]}']")
    assert page.status().startswith(f"{counts[present[0]]} of 200")
    assert page.tab.get_attribute(f"[data-error='{present[0]}']", "aria-pressed") == "true"
    assert {errors[i] for i in page.images()} == {present[0]}
    page.tab.click(f"[data-error='{present[1]}']")
    assert page.status().startswith(f"{counts[present[0]] + counts[present[1]]} of 200")
    page.tab.click(f"[data-error='{present[0]}']")
    assert {errors[i] for i in page.images()} == {present[1]}
    page.tab.click("#reset")
    assert page.status().startswith("200 of 200")


@pytest.mark.parametrize("key", ["iou", "score", "class", "id"])
def test_it_sorts(page: Page, run: StoredRun, key: str) -> None:
    table = own(run)
    names = [run.results.images.classes[label].lower() for label in table.class_id]
    values = {
        "iou": np.floor(1e4 * table.iou + 1e-3).astype(int).tolist(),
        "score": table.score.tolist(),
        "class": [name.encode("utf-16-be") for name in names],  # JavaScript's order of strings
        "id": [name.lower().encode("utf-16-be") for name in table.image_id],
    }[key]
    order = sorted(range(N), key=lambda i: (values[i], i))
    page.tab.select_option("#sort", key)
    shown = page.images()
    assert shown == order[: len(shown)]
    page.tab.click("#direction")
    shown = page.images()
    assert shown == order[::-1][: len(shown)]


def test_it_searches(page: Page, run: StoredRun) -> None:
    names = run.results.images.classes
    guessed = run.tables.predictions.query("rank == 1").class_id.to_numpy()
    for query in ("017 ", "狮子", "<SCRIPT>", "zebra", "no such thing"):
        expected = [
            i
            for i, row in own(run).iterrows()
            if any(query.lower() in text.lower() for text in (row.image_id, names[row.class_id], names[guessed[i]]))
        ]
        page.tab.fill("#search", query)
        assert page.status().startswith(f"{len(expected)} of 200")
        shown = page.images()
        assert shown == expected[: len(shown)]
    page.tab.select_option("#outcome", "missed")
    page.tab.fill("#search", "")
    assert page.status().startswith(f"{int((own(run).iou < 0.5).sum())} of 200")


def test_the_keyboard_is_enough(page: Page) -> None:
    focused = "document.activeElement.closest('li')?.dataset.image ?? document.activeElement.id"
    page.tab.keyboard.press("/")
    assert page.tab.evaluate(focused) == "search"
    page.tab.focus("#gallery .card")
    columns = page.tab.evaluate(
        "(() => { const tops = [...document.querySelectorAll('#gallery li')].map(li => li.style.top);"
        " return tops.filter(top => top === tops[0]).length })()"
    )
    for key, image in (
        ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowUp", 1), ("ArrowLeft", 0), ("ArrowLeft", 0),
        ("End", N - 1), ("ArrowRight", N - 1), ("Home", 0),
    ):  # fmt: skip
        page.tab.keyboard.press(key)
        page.wait_for_frame()
        assert page.tab.evaluate(focused) == str(image), key
        card = page.tab.locator(f"li[data-image='{image}'] .card").bounding_box()
        assert 0 <= card["y"] < 900 - card["height"] / 2  # in sight
    page.tab.keyboard.press("Enter")
    assert page.tab.inner_text("#detail-place") == "1 of 200"
    page.tab.keyboard.press("ArrowRight")
    page.tab.keyboard.press("ArrowRight")
    assert page.tab.inner_text("#detail-place") == "3 of 200"
    assert "002 " in page.tab.inner_text("#detail-body")
    page.tab.keyboard.press("Escape")
    page.wait_for_frame()
    assert not page.tab.is_visible("#detail")
    assert page.tab.evaluate(focused) == "2"
    assert page.tab.locator("#gallery [tabindex='0']").count() == 1


def test_names_are_text(page: Page, run: StoredRun) -> None:
    names = run.results.images.classes
    for i in range(12):
        page.tab.click(f"li[data-image='{i}'] .card")
        title = page.tab.inner_text("#detail-title")
        assert title.split() == names[own(run).class_id[i]].split()
        assert own(run).image_id[i].split()[0] in page.tab.inner_text("#detail-body")
        page.tab.keyboard.press("Escape")
        page.wait_for_frame()
    assert page.tab.evaluate("window.hacked") is None
    assert page.tab.inner_text("h1") == "<b>run"
    assert page.tab.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width", [320, 390, 768])
def test_the_page_fits_a_phone(browser: Any, run: StoredRun, width: int) -> None:
    page = Page(browser, run.folder / "report.html", width, 800)
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    page.tab.evaluate("document.querySelector('#gallery').scrollIntoView()")
    page.wait_for_frame()
    page.tab.click("#gallery li:nth-child(2) .card")
    inside = page.tab.locator("#detail").bounding_box()
    assert inside["x"] >= 0
    assert inside["x"] + inside["width"] <= width
    assert page.messages == []
    page.tab.close()


def test_light_and_dark(page: Page) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.tab.evaluate(ground)
    page.tab.click("#theme")
    assert page.tab.evaluate(ground) != before
    assert page.tab.get_attribute("#theme", "aria-pressed") == "true"


def test_contrast_of_text(page: Page) -> None:
    """WCAG 2.2, success criterion 1.4.3: 4.5 to 1."""
    script = """() => [...document.querySelectorAll('main *, header *')]
        .filter((e) => e.offsetParent && !e.closest(':disabled'))
        .filter((e) => [...e.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim()))
        .map((e) => {
            let back = e;
            while (back && getComputedStyle(back).backgroundColor === 'rgba(0, 0, 0, 0)') back = back.parentElement;
            const ground = getComputedStyle(back ?? document.body).backgroundColor;
            return [getComputedStyle(e).color, ground, e.className + e.id];
        })"""

    def luminance(color: str) -> float:
        parts = np.array([float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for _ in range(2):
        for ink, paper, name in page.tab.evaluate(script):
            low, high = sorted([luminance(ink), luminance(paper)])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper, name)
        page.tab.click("#theme")


def test_thumbnails_next_to_the_page(browser: Any, run: StoredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_data, "THUMBNAIL_BYTES", 20_000)
    write_page(run)
    monkeypatch.undo()
    page = Page(browser, run.folder / "report.html")
    page.tab.wait_for_function(
        "[...document.querySelectorAll('#gallery img')].slice(0, 6).every((i) => i.naturalWidth === 224)"
    )
    assert any("thumbnails/000/" in url for url in page.requests)
    assert page.messages == []
    page.tab.close()
    write_page(run)


def test_a_run_of_maps_shows_them_and_no_classes(browser: Any, tmp_path: Path) -> None:
    images = load_dataset("synthetic").limit(6)
    (tmp_path / "maps").mkdir()
    for i, sample in enumerate(images):
        score_map = np.zeros((224, 224), np.float32)
        score_map[:112, :112] = 1  # the upper left quarter
        np.save(tmp_path / "maps" / f"{sample.image_id}.npy", np.roll(score_map, 112 * (i % 2), 1))
    wsol.score(maps=tmp_path / "maps", dataset=images, out=tmp_path / "run")
    page = Page(browser, tmp_path / "run" / "report.html")
    cards = page.tab.locator("#gallery li")
    bright = """canvas => { const data = canvas.getContext('2d').getImageData(0, 0, 56, 56).data;
        return [[14, 14], [42, 14], [14, 42]].map(([x, y]) => data[4 * (56 * y + x)] > 200) }"""
    for i in range(6):
        assert cards.nth(i).locator("canvas").evaluate(bright) == [i % 2 == 0, i % 2 == 1, False]
        lines = cards.nth(i).locator(".rest").all_inner_texts()
        assert re.fullmatch(r"IoU \d\.\d\d · (correct|multi|part|more|other)", lines[0])
    assert page.tab.is_visible("#opacity-label")
    assert page.tab.locator("#sort option").all_inner_texts() == ["data set order", "IoU", "class", "image id"]
    assert "box, IoU ≥ 0.5" in page.tab.inner_text("#legend")
    assert page.tab.locator("[data-error]").count() == 5
    page.tab.click("#gallery li:nth-child(1) .card")
    assert page.tab.locator("#detail dt").all_inner_texts() == ["image", "true class", "error type", "box"]
    assert "NaN" not in page.tab.inner_text("body")
    assert page.messages == []
    page.tab.close()


def test_the_links_at_the_top(page: Page) -> None:
    for name, title in (("Metrics", "All metrics"), ("Images", "Images"), ("Run details", "Run details")):
        page.tab.evaluate("scrollTo(0, 0)")
        page.tab.click(f"nav >> text={name}")
        heading = page.tab.locator(f"h2 >> text={title}").first.bounding_box()
        assert 0 <= heading["y"] < 900
    tops = [page.tab.locator(f"#{name}-title").bounding_box()["y"] for name in ("metrics", "errors", "gallery", "run")]
    assert tops == sorted(tops)  # numbers stand above the images


def test_twenty_thousand_images(browser: Any, run: StoredRun, tmp_path: Path) -> None:
    large = repeat_run(run, 20_000, tmp_path)
    write_page(large)
    page = Page(browser, tmp_path / "report.html")
    assert page.status().startswith("20000 of 20000")
    seen = {tuple(page.images())}
    for _ in range(5):
        page.tab.mouse.wheel(0, 3000)
        page.tab.wait_for_timeout(50)
        seen.add(tuple(page.images()))
    assert len(seen) == 6
    page.tab.focus("#gallery .card")
    page.tab.keyboard.press("End")
    assert page.images()[-1] == 19999
    assert len(page.images()) < 100
    page.tab.fill("#search", "00042-")
    assert page.status().startswith("200 of 20000")
    assert page.images()[0] == 42 * N
    assert page.messages == []
    page.tab.close()


@pytest.fixture(scope="module")
def compared(run: StoredRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StoredRun]:
    """A comparison of the run with a copy that has other boxes, and the copy."""
    folder = tmp_path_factory.mktemp("other") / "other & <i>"
    shutil.copytree(run.folder, folder)
    other = read_run(folder)
    assert other.results.boxes is not None
    curves = np.roll(other.results.stats.curves, 1, axis=0)
    predictions = other.tables.predictions.copy()
    first = predictions["rank"] == 0
    predictions.loc[first, "iou"] = curves[:, 200]
    other = replace(
        other,
        results=replace(other.results, stats=replace(other.results.stats, curves=curves)),
        tables=replace(other.tables, predictions=predictions),
    )
    out = tmp_path_factory.mktemp("comparison") / "page"
    wsol.compare([run, other], out=out)
    return out, other


def test_a_comparison(browser: Any, run: StoredRun, compared: tuple[Path, StoredRun]) -> None:
    out, other = compared
    page = Page(browser, out / "report.html")
    hits, theirs = (each.tables.predictions.query("rank == 0").iou.to_numpy() >= 0.5 for each in (run, other))
    only_first, only_second = np.flatnonzero(hits & ~theirs), np.flatnonzero(theirs & ~hits)
    assert len(only_first) > 2
    assert len(only_second) > 2
    page.tab.click("[data-outcome='0,1']")
    assert page.status().startswith(f"{len(only_first)} of 200")
    shown = page.images()
    assert shown == only_first[: len(shown)].tolist()
    assert page.tab.inner_text("[data-outcome='1,0']") == str(len(only_second))
    page.tab.select_option("#outcome", "1,0")
    shown = page.images()
    assert shown == only_second[: len(shown)].tolist()
    for run_place, each in enumerate((run, other)):
        expected = each.tables.predictions.query("rank == 0")[["x0", "y0", "x1", "y1"]].to_numpy()[shown[0]] / 224
        np.testing.assert_allclose(page.boxes(shown[0], ".own")[run_place], expected, atol=1e-4)
    page.tab.click("#reset")
    page.tab.select_option("#run", "1")
    assert page.status().endswith("other & <i>")
    errors = other.tables.predictions.query("rank == 1").error
    page.tab.click("[data-error='class'][data-run='1']")
    assert page.status().startswith(f"{int((errors == 'class').sum())} of 200")
    page.tab.fill("#tau", "40")
    page.wait_for_frame()
    accuracy = 100 * (other.results.stats.curves[:, 400] >= 0.5).mean()
    assert f"other & <i>: GT-known, IoU 0.5: {accuracy:.1f} %" in page.tab.inner_text("#curve")
    page.tab.wait_for_function("document.querySelector('#gallery img')?.naturalWidth === 224")
    assert page.messages == []
    assert [url for url in page.requests if not url.startswith(("file:", "blob:", "data:"))] == []
    page.tab.close()
    narrow = Page(browser, out / "report.html", 360, 700)
    assert narrow.tab.evaluate("document.documentElement.scrollWidth") <= 360
    narrow.tab.close()
