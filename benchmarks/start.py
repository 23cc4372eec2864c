"""Measure what happens before the first batch: annotations, imports, kernels.

    python benchmarks/start.py [--files 50000]

1. Annotations: ``load_dataset`` and ``with_content`` of as many generated XML files in Kaggle's layout. The limit is 5
   seconds for 50,000, on two cores.
2. Imports: all modules of ``wsol.eval`` and of ``wsol.score``, compared with ``import torch`` alone, alternating. The
   limit for ``wsol.eval`` is 1.6 times torch.
3. The first batch: a whole ``wsol.eval`` of four images with an empty and with a filled cache of compiled kernels. The
   limit for the difference is 1.2 times the time that compiling takes alone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from wsol.datasets import load_dataset, with_content

SECONDS, RATIO, ROUNDS = 5, 1.6, 5
ROOT = Path(__file__).parents[1]
NAME = "ILSVRC2012_val_{:08d}"
OBJECT = """\t<object>
\t\t<name>{}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{}</xmin>
\t\t\t<ymin>{}</ymin>
\t\t\t<xmax>{}</xmax>
\t\t\t<ymax>{}</ymax>
\t\t</bndbox>
\t</object>
"""
ANNOTATION = """<annotation>
\t<folder>val</folder>
\t<filename>{}</filename>
\t<source>
\t\t<database>ILSVRC_2012</database>
\t</source>
\t<size>
\t\t<width>{}</width>
\t\t<height>{}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
{}</annotation>
"""


def write_annotations(root: Path, n: int) -> None:
    """Write a data set in Kaggle's layout, whose images are files of some bytes that nobody decodes."""
    home = root / "ILSVRC"
    images, notes, lists = (
        home / name for name in ("Data/CLS-LOC/val", "Annotations/CLS-LOC/val", "ImageSets/CLS-LOC")
    )
    for folder in (images, notes, lists):
        folder.mkdir(parents=True)
    wnids = [f"n{10_000_000 + i}" for i in range(1000)]
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} name, other name\n" for wnid in wnids))
    rng = np.random.default_rng(0)
    for i in range(1, n + 1):
        width, height = ((500, 375), (375, 500), (500, 333), (1024, 768))[rng.integers(4)]
        wnid = wnids[rng.integers(1000)]
        objects = []
        for _ in range(rng.choice([1, 2, 3], p=[0.75, 0.17, 0.08])):
            x0, y0 = rng.integers(0, width - 9), rng.integers(0, height - 9)
            objects.append(OBJECT.format(wnid, x0, y0, rng.integers(x0 + 1, width), rng.integers(y0 + 1, height)))
        name = NAME.format(i)
        (notes / f"{name}.xml").write_text(ANNOTATION.format(name, width, height, "".join(objects)))
        (images / f"{name}.JPEG").write_bytes(bytes(int(rng.integers(100, 200))))
    (lists / "val.txt").write_text("".join(f"{NAME.format(i)} {i}\n" for i in range(1, n + 1)))


def measure_annotations(n: int) -> bool:
    """Print the seconds that the annotations take, and return whether they are within the limit."""
    with tempfile.TemporaryDirectory() as folder:
        write_annotations(Path(folder), n)
        wall, busy = time.perf_counter(), time.process_time()
        images = with_content(load_dataset("ilsvrc", folder))
        images.signature  # noqa: B018  # has the fingerprints computed
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
    limit = SECONDS * n / 50_000
    print(f"annotations of {n:,} images: {wall:.2f} s, {busy:.2f} of the processor (limit {limit:g} s)")
    return wall <= limit


def measure_imports() -> bool:
    """Print processor times of imports, and return whether their ratio to torch's is within the limit."""
    modules = ("torch", "wsol.evaluation.evaluate", "wsol.evaluation.score")
    seconds: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(ROUNDS):
        for module in modules:
            prepare = "import gc; gc.disable(); " if module == "wsol.evaluation.evaluate" else ""  # as the command does
            code = f"import time; {prepare}import {module}; print(time.process_time())"
            seconds[module].append(float(subprocess.check_output([sys.executable, "-c", code], text=True)))
    torch, evaluate, score = (median(seconds[module]) for module in modules)
    print(f"imports: torch {torch:.2f} s, wsol.eval {evaluate:.2f} s, wsol.score {score:.2f} s of the processor")
    print(f"ratio of wsol.eval to torch: {evaluate / torch:.2f} (limit {RATIO})")
    return evaluate <= RATIO * torch


def write_images(folder: Path) -> None:
    """Write four images of noise, with a box and a class each."""
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8)).save(folder / f"{i}.png")
    rows = "".join(f"{i}.png,{i},50,60,200,300\n" for i in range(4))
    (folder / "boxes.csv").write_text(f"image_id,label,x0,y0,x1,y1\n{rows}")


def measure_first_batch() -> bool:
    """Print the seconds of a small evaluation without and with compiled kernels, and of compiling alone."""
    model = f"{ROOT}/benchmarks/_small_net.py:build"
    evaluate = ["wsol.eval", "--model", model, "--dataset", "csv", "--data-root", ".", "--assume-class-order"]
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        seconds = {
            title: _time(command, Path(folder), cache)
            for title, command, cache in (
                ("warm-up of the disk", [*evaluate, "--out", "first"], None),
                ("kernels alone", ["wsol.evaluation.kernels", "wsolevaluation"], "alone"),
                ("cold", [*evaluate, "--out", "cold"], "run"),
                ("warm", [*evaluate, "--out", "warm"], "run"),
            )
        }
    print("; ".join(f"{title}: {each:.1f} s" for title, each in seconds.items()))
    later = seconds["cold"] - seconds["warm"]
    print(f"a cold cache costs {later:.1f} s (limit {1.2 * seconds['kernels alone']:.1f} s)")
    return later <= 1.2 * seconds["kernels alone"]


def _time(command: list[str], folder: Path, cache: str | None) -> float:
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(folder / "cache" / cache)} if cache else {})
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", *command],
        check=True,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> int:
    """Print the three measurements; the exit code is 1 if one is over its limit."""
    parser = argparse.ArgumentParser(description="Measure what happens before the first batch.")
    parser.add_argument("--files", type=int, default=50_000)
    arguments = parser.parse_args()
    within = [measure_annotations(arguments.files), measure_imports(), measure_first_batch()]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
