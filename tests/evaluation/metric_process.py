"""One process of a group that shares a streaming metric; run by test_localization_metric.py.

python metric_process.py BASE IMAGES RANK SIZE FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from wsol.datasets import Mask

OPTIONS = {"classes": 5, "interval": True}
N = 11


def draw_images() -> dict[str, list[np.ndarray]]:
    """Maps, boxes, labels, logits and masks of the images, in the frame of 224 x 224."""
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 100, (N, 2, 4)) + np.array([0, 0, 110, 110])
    noise = rng.random((N, 224, 224))
    return {
        "maps": [*rng.normal(size=(N, 6, 7)).astype(np.float32)],
        "boxes": [box[: 1 + i % 2].astype(float) for i, box in enumerate(corners)],
        "labels": [*rng.integers(0, 5, N)],
        "logits": [*rng.normal(size=(N, 5)).astype(np.float32)],
        "masks": [Mask(each > 0.6, each < 0.1) for each in noise],
    }


def update(metric, indices, complete: bool = True) -> None:
    """Count the images at these indices as a batch; without logits and masks if it is not complete."""
    images = draw_images()
    chosen = {name: [values[i] for i in indices] for name, values in images.items()}
    maps, labels, logits = (torch.from_numpy(np.array(chosen[name])) for name in ("maps", "labels", "logits"))
    if complete:
        metric.update(maps, chosen["boxes"], labels, logits, masks=chosen["masks"])
    else:
        metric.update(maps, chosen["boxes"], labels)


def compute_in_group(kind: type, images: str, rank: int, size: int, store: Path) -> dict[str, float]:
    """Compute the metric of all images as one process of a group that meets in a file."""
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    metric = kind(**OPTIONS)
    for _ in range(2):  # the second time after a reset
        batches = ([0, 1, 2, 3], [4, 5, 6], [7, 8, 9, 10])
        for indices in batches[: 3 if images == "all" else 1][rank::size]:
            update(metric, indices, images == "all")
        before = metric.sums.clone()
        result = metric.compute()
        assert torch.equal(metric.sums, before)  # this process's own again
        metric.reset()
    distributed.destroy_process_group()
    return result


def main(base: str, images: str, rank: int, size: int, folder: Path) -> None:
    if base == "own":
        sys.modules["torchmetrics"] = None  # as if it were not installed
    import wsol  # noqa: PLC0415  # after the line above

    result = compute_in_group(wsol.LocalizationMetric, images, rank, size, folder / "store")
    (folder / f"{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
