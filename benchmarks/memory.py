"""Measure how the peak memory of a whole evaluation grows with the number of images, and what that growth consists of.

    python benchmarks/memory.py [--images 5000 50000]

Small PNG files are generated, listed in a CSV file and evaluated by ``python -m wsol.eval`` with a very small network,
each number of images in a separate process. The growth per image is compared with the bytes per image that a run holds
at its peak: arrays by their shapes, objects as Python's tracemalloc counts them. The limit applies to the ratio of the
growth to their sum.
"""

import argparse
import contextlib
import gc
import io
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

LIMIT = 1.1
_NET = f"{Path(__file__).parent / '_small_net.py'}:build"


def generate(root: Path, n: int) -> None:
    """Write 32 x 32 images of noise with one rectangle each, and their list."""
    rows = ["image_id,label,x0,y0,x1,y1,split,width,height"]
    for i in range(n):
        rng = np.random.default_rng(i)
        pixels = rng.integers(0, 60, (32, 32, 3), np.uint8)
        x, y = rng.integers(2, 10, 2)
        pixels[y : y + 14, x : x + 16] += np.uint8(120)
        place = root / f"{i // 1000:02d}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i:06d}.png", compress_level=1)
        rows.append(f"{place.name}/{i:06d}.png,{i % 7},{x},{y},{x + 16},{y + 14},test,32,32")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")


def evaluate(root: Path, out: Path) -> int:
    """Run the command in this process and return the peak of the resident set in bytes."""
    from wsol.eval import main  # noqa: PLC0415

    with contextlib.redirect_stdout(io.StringIO()):
        code = main(f"--model {_NET} --dataset csv --data-root {root} --device cpu --out {out}".split())
    assert code == 0
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_held_bytes(root: Path, run: Path) -> dict[str, float]:
    """Return the bytes per image that a run holds at its peak, when the files are read back for the page."""
    import pandas as pd  # noqa: PLC0415

    from wsol.datasets import load_dataset  # noqa: PLC0415
    from wsol.metrics.resamples import RESAMPLES  # noqa: PLC0415
    from wsol.protocols import find_protocol  # noqa: PLC0415
    from wsol.protocols.base import ground_truth_of  # noqa: PLC0415

    held = {}
    for name in ("curves", "curves_v2", "boxes", "peaks"):
        array = np.load(run / f"{name}.npy", mmap_mode="r")
        held[f"{name}.npy, memory-mapped"] = array.nbytes / len(array)
    held["its counts in the bootstrap resamples"] = RESAMPLES
    predictions = pd.read_parquet(run / "predictions.parquet")
    n = predictions["image_id"].nunique()
    predictions_per_image = len(predictions) / n
    held["predictions, as computed and as read back"] = 2 * predictions.memory_usage(index=False).sum() / n
    held["classes, scores and boxes"] = (8 + 4 + 32) * predictions_per_image
    held["data of the page, as bytes, string and page"] = 3 * (run / "report.html").stat().st_size / n
    protocol = find_protocol("wsolevaluation")
    sizes = []
    counts = n // 10, n // 3, n  # the first imports and compiles
    for count in counts:
        gc.collect()
        tracemalloc.start()
        loaded = load_dataset("csv", root)
        samples = [replace(sample, image_id=str(sample.image_id)) for sample in loaded.samples[:count]]
        truths = [ground_truth_of(protocol, sample, (32, 32)) for sample in samples]
        del loaded
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(truths) == count
        del samples, truths
    size_per_image = (sizes[2] - sizes[1]) / (counts[2] - counts[1])
    held["image, boxes and their names, as evaluated and as read back"] = 2 * size_per_image
    return held


def main() -> int:
    """Print the peaks, the growth and what is held; return 1 if the growth exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images",
        type=int,
        nargs=2,
        default=[5000, 50_000],
        help="numbers of images, few and many (default: %(default)s)",
    )
    parser.add_argument("--one", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(evaluate(*options.one))
        return 0
    few, many = options.images
    with tempfile.TemporaryDirectory() as folder:
        peaks = []
        for n in (few, many):
            root = Path(folder) / f"images-{n}"
            generate(root, n)
            command = [sys.executable, __file__, "--one", str(root), f"{folder}/run-{n}"]
            start = time.perf_counter()
            peaks.append(int(subprocess.check_output(command, text=True).split()[-1]))
            seconds = time.perf_counter() - start
            print(f"{n:6d} images: at most {peaks[-1] / 2**20:.1f} MiB resident, {seconds:.0f} s", flush=True)
        growth = (peaks[1] - peaks[0]) / (many - few)
        held = measure_held_bytes(Path(f"{folder}/images-{many}"), Path(f"{folder}/run-{few}"))
    total = sum(held.values())
    print(f"growth {growth:.0f} bytes per image; held per image:")
    for name, size in held.items():
        print(f"  {size:8.0f}  {name}")
    print(f"  {total:8.0f}  in total, growth {growth / total:.3f} of it (limit {LIMIT})")
    return int(growth > LIMIT * total)


if __name__ == "__main__":
    sys.exit(main())
