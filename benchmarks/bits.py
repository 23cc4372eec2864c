"""Measure what changes the bits of an evaluation, and by how much: threads, batches, layout, precision, device.

    python benchmarks/bits.py [--model vgg16-gap] [--images 96]

Each setting is compared with the default on the same generated images. Printed are the largest difference of a class
probability, the largest difference of a raw map relative to the range of its values, the share of images whose box at
tau 0.2 differs, and the largest difference of a metric in percentage points.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import wsol
from wsol.runs.read import Evaluation

_SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {  # threads of torch, and arguments of wsol.evaluate
    "1 thread": (1, {}),
    "2 threads": (2, {}),
    "3 threads": (3, {}),
    "1 worker": (2, {"workers": 1}),
    "batches of 7": (2, {"batch_size": 7}),
    "channels last": (2, {"channels_last": True}),
    "compiled": (2, {"compiled": True}),
    "bfloat16": (2, {"precision": "bfloat16"}),
    "bfloat16, channels last": (2, {"precision": "bfloat16", "channels_last": True}),
    "GPU": (2, {"device": "cuda"}),
}


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set the number of threads of torch inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def evaluate(model: str, images: int, folder: Path, options: dict[str, Any]) -> tuple[Evaluation, np.ndarray]:
    """Return an evaluation and its maps."""
    evaluation = wsol.evaluate(model, limit=images, out=folder, **{"device": "cpu", **options})
    return evaluation, np.load(folder / "maps.npy")


def main() -> int:
    """Print one line per setting; return 1 if threads or workers change a bit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg16-gap", help="registered name (default: %(default)s)")
    parser.add_argument("--images", type=int, default=96, help="number of images (default: %(default)s)")
    options = parser.parse_args()
    changed = False
    with tempfile.TemporaryDirectory() as folder:
        default, maps = evaluate(options.model, options.images, Path(folder) / "default", {})
        span = np.ptp(maps, axis=(2, 3), keepdims=True)
        for i, (name, (count, setting)) in enumerate(_SETTINGS.items()):
            if setting.get("device") == "cuda" and not torch.cuda.is_available():
                continue
            with torch_threads(count):
                other, other_maps = evaluate(options.model, options.images, Path(folder) / str(i), setting)
            same = bool((maps == other_maps).all()) and default.predictions.equals(other.predictions)
            same = same and default.metrics.equals(other.metrics)
            changed |= not same and name.endswith(("thread", "threads", "worker"))
            tables = [each.predictions.set_index(["image_id", "class_id", "rank"]) for each in (default, other)]
            scores = (tables[0]["score"] - tables[1]["score"]).abs().max()
            boxes = [
                each[each["rank"] == 0][["x0", "y0", "x1", "y1"]].to_numpy()
                for each in (default.predictions, other.predictions)
            ]
            moved = (boxes[0] != boxes[1]).any(1)
            points = (default.metrics["value"] - other.metrics["value"]).abs().max()
            own_maps = np.abs(maps - other_maps)[:, 0] / span[:, 0]  # the ground-truth class; others may swap ranks
            bits = "same bits" if same else "other bits"
            print(
                f"{name:24s} {bits:10s}   probability {scores:.1e}   map {own_maps.max():.1e}   "
                f"boxes {100 * moved.mean():.1f} %   metrics {points:.3f} points",
                flush=True,
            )
    return int(changed)


if __name__ == "__main__":
    sys.exit(main())
