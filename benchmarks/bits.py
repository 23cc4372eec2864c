"""What changes the bits of an evaluation, and by how much: threads, batches, layout, precision, device.

    python benchmarks/bits.py [--model vgg16-gap] [--images 96]

Each setting is held against the default on the same generated images: the largest difference of a class's probability,
of a raw map as a share of the span of its values, the share of images whose box at tau 0.2 is another, and the largest
difference of a metric in points.
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

_SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
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
def threads(count: int) -> Iterator[None]:
    """Let torch take some threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def run(model: str, images: int, folder: Path, options: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """Return an evaluation and its maps."""
    found = wsol.evaluate(model, limit=images, out=folder, **{"device": "cpu", **options})
    return found, np.load(folder / "maps.npy")


def main() -> int:
    """Print a line a setting; exit code 1 if threads or workers change a bit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg16-gap")
    parser.add_argument("--images", type=int, default=96)
    options = parser.parse_args()
    changed = 0
    with tempfile.TemporaryDirectory() as folder:
        default, maps = run(options.model, options.images, Path(folder) / "default", {})
        span = np.ptp(maps, axis=(2, 3), keepdims=True)
        for i, (name, (count, setting)) in enumerate(_SETTINGS.items()):
            if setting.get("device") == "cuda" and not torch.cuda.is_available():
                continue
            with threads(count):
                other, others = run(options.model, options.images, Path(folder) / str(i), setting)
            same = (maps == others).all() and default.predictions.equals(other.predictions)
            same = bool(same and default.metrics.equals(other.metrics))
            changed += not same and name.endswith(("thread", "threads", "worker"))
            first, second = (each.predictions.set_index(["image_id", "class_id", "rank"]) for each in (default, other))
            scores = (first["score"] - second["score"]).abs().max()
            both = [
                each[each["rank"] == 0][["x0", "y0", "x1", "y1"]].to_numpy()
                for each in (default.predictions, other.predictions)
            ]
            moved = (both[0] != both[1]).any(1)
            points = (default.metrics["value"] - other.metrics["value"]).abs().max()
            ranked = np.abs(maps - others)[:, 0] / span[:, 0]  # the ground-truth class; the others may change places
            bits = "same bits" if same else "other bits"
            print(
                f"{name:24s} {bits:10s}   probability {scores:.1e}   map {ranked.max():.1e}   "
                f"boxes {100 * moved.mean():.1f} %   metrics {points:.3f} points",
                flush=True,
            )
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
