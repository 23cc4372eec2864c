"""Measure what happens before the first batch: annotations, imports, kernels.

    python benchmarks/start.py [--files 50000]

1. Annotations: ``load_dataset`` and ``with_content`` of as many generated XML files in Kaggle's layout. The limit is 5
   seconds for 50,000, on two cores.
2. Imports: all modules of ``wsol.eval`` and of ``wsol.score``, compared with ``import torch`` alone, alternating. The
   limits for ``wsol.eval`` are 2.5 seconds and 1.6 times torch.
3. The first batch: seconds from the start of ``wsol.eval`` until it, with an empty and with a filled cache of compiled
   kernels, and the processor time of all compiling. The limit for the difference is half the processor time: most of
   the compiling has to go on beside the rest, or in parallel. It needs three idle processors.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from wsol.datasets import load_dataset, with_content
from wsol.evaluation.kernels import SCORING, TABLES

SECONDS, IMPORT_SECONDS, RATIO, COMPILE_RATIO, ROUNDS = 5, 2.5, 1.6, 0.5, 5
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
    """Print processor times of imports, and return whether they are within the limits."""
    modules = ("torch", "wsol.evaluation.evaluate", "wsol.evaluation.score")
    seconds: dict[str, list[float]] = {module: [] for module in modules}
    for _ in range(ROUNDS):
        for module in modules:
            prepare = "import gc; gc.disable(); " if module == "wsol.evaluation.evaluate" else ""  # as the command does
            code = f"import time; {prepare}import {module}; print(time.process_time())"
            seconds[module].append(float(subprocess.check_output([sys.executable, "-c", code], text=True)))
    torch, evaluate, score = (median(seconds[module]) for module in modules)
    print(f"imports: torch {torch:.2f} s, wsol.eval {evaluate:.2f} s, wsol.score {score:.2f} s of the processor")
    print(f"limits for wsol.eval: {IMPORT_SECONDS} s; {RATIO} times torch, and it is {evaluate / torch:.2f} times")
    return evaluate <= min(IMPORT_SECONDS, RATIO * torch)


def write_images(folder: Path) -> None:
    """Write four images of noise, with a box and a class each."""
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (375, 500, 3), np.uint8)).save(folder / f"{i}.png")
    rows = "".join(f"{i}.png,{i},50,60,200,300\n" for i in range(4))
    (folder / "boxes.csv").write_text(f"image_id,label,x0,y0,x1,y1\n{rows}")


FIRST_BATCH = """
import sys, time
start = time.perf_counter()
from wsol.eval import main
from wsol.protocols.wsolevaluation import WsolEvaluation
score_batch = WsolEvaluation.score_batch
def score_and_print(*arguments):
    result = score_batch(*arguments)
    print("first batch", time.perf_counter() - start, flush=True)
    return result
WsolEvaluation.score_batch = score_and_print
sys.exit(main(sys.argv[1:]))
"""


def measure_first_batch() -> bool:
    """Print the seconds until the first batch is scored, without and with compiled kernels, and those of compiling."""
    model = f"{ROOT}/benchmarks/_small_net.py:build"
    evaluate = ["-c", FIRST_BATCH, "--model", model, "--dataset", "csv", "--data-root", ".", "--assume-class-order"]
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        _run([*evaluate, "--out", "first"], Path(folder), None)  # warms the disk up
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for part in (*SCORING, *TABLES):
            _run(["-m", "wsol.evaluation.kernels", "wsolevaluation", part, str(os.getpid())], Path(folder), "alone")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        compiling = after.ru_utime - before.ru_utime
        cold, warm = (
            float(_run([*evaluate, "--out", out], Path(folder), "run").partition("first batch ")[2].split()[0])
            for out in ("cold", "warm")
        )
    print(f"first batch: {warm:.1f} s; with an empty cache {cold:.1f} s; compiling takes {compiling:.1f} s in all")
    print(f"an empty cache costs {cold - warm:.1f} s (limit {COMPILE_RATIO * compiling:.1f} s)")
    return cold - warm <= COMPILE_RATIO * compiling


def _run(command: list[str], folder: Path, cache: str | None) -> str:
    environment = os.environ | ({"NUMBA_CACHE_DIR": str(folder / "cache" / cache)} if cache else {})
    done = subprocess.run(
        [sys.executable, *command], check=True, cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.stdout


def main() -> int:
    """Print the three measurements; the exit code is 1 if one is over its limit."""
    parser = argparse.ArgumentParser(description="Measure what happens before the first batch.")
    parser.add_argument("--files", type=int, default=50_000)
    arguments = parser.parse_args()
    within = [measure_annotations(arguments.files), measure_imports(), measure_first_batch()]
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
