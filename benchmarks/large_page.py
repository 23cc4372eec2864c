"""Measure the time to write the page of a large run and to open it in Chromium.

    python benchmarks/large_page.py [--images 20000 50000] [--rounds 5]

A run of the bundled network on the generated data set is repeated up to the given number of images. Opening is timed
from the call until the gallery is usable; the limit is 3 s for 20,000 images.
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

import wsol
from wsol.reports.page import write_page
from wsol.runs.read import StoredRun, read_run


def main() -> None:
    """Print one line per number of images."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # a test that needs no browser imports this file

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, nargs="+", default=[20_000, 50_000], help="numbers of images (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="times that each page is opened (default: %(default)s)")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    parser.add_argument("--chromium", default=chromium, help="path of the browser")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        small = Path(folder) / "small"
        wsol.evaluate("vgg16-gap", limit=100, device="cpu", out=small)
        for n in options.images:
            large = repeat_run(read_run(small), n, Path(folder) / str(n))
            start = time.perf_counter()
            write_page(large)
            write_seconds = time.perf_counter() - start
            page = large.folder / "report.html"
            open_seconds = []
            for _ in range(options.rounds):
                browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
                tab = browser.new_page()
                start = time.perf_counter()
                tab.goto(page.as_uri())
                tab.wait_for_selector("html[data-ready=true]")
                open_seconds.append(time.perf_counter() - start)
                browser.close()
            print(
                f"{n} images: written in {write_seconds:.1f} s, {page.stat().st_size / 2**20:.1f} MiB, opened in "
                f"{statistics.median(open_seconds):.2f} s ({min(open_seconds):.2f} to {max(open_seconds):.2f})"
            )


def repeat_run(run: StoredRun, images: int, folder: Path) -> StoredRun:
    """Repeat a small run until it has as many images; only the first copy has thumbnails."""
    times = images // len(run.results.images)
    results = run.results
    samples = [
        replace(sample, image_id=f"{k:05d}-{sample.image_id}") for k in range(times) for sample in results.images
    ]
    stats = replace(
        results.stats,
        curves=np.tile(results.stats.curves, (times, 1)),
        labels=np.tile(results.stats.labels, times),
        ranks=None if results.stats.ranks is None else np.tile(results.stats.ranks, times),
        contours=None,
        peaks=None,
    )
    assert results.boxes is not None
    assert run.maps is not None
    many = replace(
        results,
        images=replace(results.images, samples=tuple(samples)),
        truths=results.truths.subset([*range(len(results.images))] * times),
        classes=np.tile(results.classes, (times, 1)),
        scores=np.tile(results.scores, (times, 1)),
        stats=stats,
        boxes=np.tile(results.boxes, (times, 1, 1)),
    )
    predictions = pd.concat([run.tables.predictions] * times, ignore_index=True)
    predictions["image_id"] = np.repeat([sample.image_id for sample in samples], results.classes.shape[1])
    shutil.copytree(run.folder / "thumbnails", folder / "thumbnails")
    large = replace(run, folder=folder, results=many, tables=replace(run.tables, predictions=predictions))
    vars(large)["maps"] = np.tile(run.maps[:, :1], (times, 1, 1, 1))  # in place of maps.npy
    return large


if __name__ == "__main__":
    main()
