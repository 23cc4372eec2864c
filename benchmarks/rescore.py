"""Measure the scoring of a stored run under other protocols: time, and peak memory at two numbers of images.

    python benchmarks/rescore.py [--images 50000] [--protocols exact zhou2016 wsolevaluation:step=0.01]

The run is generated: smooth 14 x 14 maps of one class per image, and image sizes as in ImageNet. The limits are 60
seconds and 2 GiB for 50,000 images on two cores. Where other programs run too, processor seconds tell more.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from wsol.datasets import Content, Dataset, Sample
from wsol.protocols import find_protocol
from wsol.runs.checksums import add_checksums
from wsol.runs.ground_truth import ground_truth_table
from wsol.runs.metadata import DatasetRecord, RunMetadata, TauRecord, package_versions
from wsol.runs.predictions import predictions_table
from wsol.runs.provenance import Provenance
from wsol.runs.signature import RunRequest

SIZES = ((500, 375), (375, 500), (500, 333), (500, 500), (400, 300), (640, 480))  # width, height
SECONDS, GIBIBYTES = 60, 2


def write_source_run(folder: Path, n: int) -> None:
    """Write the files that ``wsol.score --run`` reads."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    samples = []
    for i in range(n):
        size = SIZES[rng.integers(len(SIZES))]
        x0, y0 = rng.integers(0, 150, 2).tolist()
        box = np.array([[x0, y0, rng.integers(200, size[0] - 1), rng.integers(200, size[1] - 1)]], float)
        samples.append(Sample(f"{i}.jpg", i % 1000, box, "inclusive", size=size))
    images = Dataset("generated", "test", tuple(samples), tuple(map(str, range(1000))))
    np.save(folder / "maps.npy", gaussian_filter(rng.normal(size=(n, 1, 14, 14)).astype(np.float32), (0, 0, 1.5, 1.5)))
    truth = ground_truth_table(samples, np.array([sample.size for sample in samples]))
    truth.to_parquet(folder / "ground_truth.parquet")
    labels, ones = np.array([[sample.label] for sample in samples]), np.ones((n, 1), np.float32)
    unused = np.zeros((n, 1, 4)), np.zeros((n, 1)), np.full((n, 1), "other", object)
    predictions_table(samples, labels, ones, 0.2, *unused).to_parquet(folder / "predictions.parquet")
    metadata = add_checksums(describe_run(images), folder, ("ground_truth.parquet", "predictions.parquet"))
    (folder / "run.json").write_text(json.dumps(asdict(metadata)))


def describe_run(images: Dataset) -> RunMetadata:
    """Return the contents of ``run.json``, without checksums."""
    protocol = find_protocol("wsolevaluation")
    request = RunRequest(images, Provenance("generated:0", "cam", protocol.view), protocol, 0.2)
    return RunMetadata(
        signature=request.signature(),
        request=request.signature(),
        dataset=DatasetRecord(
            images.name, images.split, images.origin, len(images), images.fingerprint, Content(), images.classes
        ),
        provenance=request.provenance,
        protocol=protocol.signature,
        tau=TauRecord("fixed", 0.2, 0.2),
        skipped={},
        clipped_boxes=0,
        val=None,
        notes=(),
        versions=package_versions(),
        seconds={},
    )


def main() -> int:
    """Time every protocol, on all images and on half of them; return 1 if one exceeds a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000, help="number of images (default: %(default)s)")
    parser.add_argument(
        "--protocols",
        nargs="+",
        default=["exact", "zhou2016", "wsolevaluation:step=0.01"],
        help="protocols to score under (default: %(default)s)",
    )
    options = parser.parse_args()
    within_limits = True
    with tempfile.TemporaryDirectory() as place:
        for n in (options.images // 2, options.images):
            write_source_run(Path(place) / str(n), n)
            for protocol in options.protocols:
                start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-m", "wsol.score", "--run", f"{place}/{n}", "--protocol", protocol]
                command += ["--out", f"{place}/{n}-{protocol.replace(':', '-')}"]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                seconds = time.perf_counter() - start
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                # Linux gives kilobytes of the largest child so far, so the order is from few to many images.
                gibibytes = after.ru_maxrss / 2**20
                within_limits &= n < options.images or (seconds < SECONDS and gibibytes < GIBIBYTES)
                times = f"{seconds:6.1f} s, {processor:6.1f} processor s = {1000 * processor / n:.2f} ms an image"
                print(f"{n} images, {protocol:26} {times}, at most {gibibytes:.2f} GiB", flush=True)
    print(f"limits: {SECONDS} s, {GIBIBYTES} GiB")
    return int(not within_limits)


if __name__ == "__main__":
    sys.exit(main())
