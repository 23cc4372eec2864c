"""How long the page of a large run takes to write and to open, in Chromium: ``python benchmarks/large_page.py``.

A run of the bundled network on the generated data set is repeated until it has as many images as asked for. Opening is
timed from the call until the gallery can be used; the limit is 3 s for 20,000 images.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

import wsol
from wsol.reports.page import write_page
from wsol.runs.read import StoredRun, read_run


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 50_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        small = Path(folder) / "small"
        wsol.evaluate("vgg16-gap", limit=100, device="cpu", out=small)
        for n in options.images:
            large = repeated(read_run(small), n, Path(folder) / str(n))
            start = time.perf_counter()
            write_page(large)
            written = time.perf_counter() - start
            page = large.folder / "report.html"
            seconds = []
            for _ in range(options.rounds):
                browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
                tab = browser.new_page()
                start = time.perf_counter()
                tab.goto(page.as_uri())
                tab.wait_for_selector("html[data-ready=true]")
                seconds.append(time.perf_counter() - start)
                browser.close()
            print(
                f"{n} images: written in {written:.1f} s, {page.stat().st_size / 2**20:.1f} MiB, opened in "
                f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
            )


def repeated(run: StoredRun, images: int, folder: Path) -> StoredRun:
    """Make a run of many images out of a small one, whole times over; pictures are kept for the first alone."""
    times = images // len(run.found.images)
    found = run.found
    samples = [replace(sample, image_id=f"{k:05d}-{sample.image_id}") for k in range(times) for sample in found.images]
    evidence = replace(
        found.stats,
        curves=np.tile(found.stats.curves, (times, 1)),
        labels=np.tile(found.stats.labels, times),
        ranks=None if found.stats.ranks is None else np.tile(found.stats.ranks, times),
        contours=None,
        peaks=None,
    )
    assert found.boxes is not None
    assert run.maps is not None
    many = replace(
        found,
        images=replace(found.images, samples=tuple(samples)),
        truths=found.truths * times,
        classes=np.tile(found.classes, (times, 1)),
        scores=np.tile(found.scores, (times, 1)),
        stats=evidence,
        boxes=np.tile(found.boxes, (times, 1, 1)),
    )
    predictions = pd.concat([run.tables.predictions] * times, ignore_index=True)
    predictions["image_id"] = np.repeat([sample.image_id for sample in samples], found.classes.shape[1])
    shutil.copytree(run.folder / "thumbs", folder / "thumbs")
    made = replace(run, folder=folder, found=many, tables=replace(run.tables, predictions=predictions))
    vars(made)["maps"] = np.tile(run.maps[:, :1], (times, 1, 1, 1))
    return made


if __name__ == "__main__":
    main()
