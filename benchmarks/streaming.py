"""Compare an update of the streaming metric with the sweep over all thresholds that it contains.

    python benchmarks/streaming.py [--images 64] [--rounds 30]

Both score the same smooth 14 x 14 maps: the sweep is the protocol's ``score_batch`` with the ground truth at hand, the
update also checks maps, boxes, labels and the logits of 1,000 classes, ranks the classes and adds to the sums. They
alternate, and processor time is compared. The limit is 1.2.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

import wsol
from wsol.datasets import Mask, Sample
from wsol.protocols import View, find_protocol
from wsol.protocols.base import ground_truth_of

LIMIT = 1.2
CLASSES = 1000


def measure(protocol_name: str, n: int, rounds: int, masked: bool, classes: int | None, device: str) -> None:
    """Print the ratio of an update and the sweep of one protocol."""
    rng = np.random.default_rng(0)
    protocol = find_protocol(protocol_name)
    side = protocol.view.side
    maps = gaussian_filter(rng.normal(size=(n, 14, 14)).astype(np.float32), (0, 1.5, 1.5))
    corners = np.add(rng.integers(0, side // 2, (n, 1, 4)), [0, 0, side // 2 - 1, side // 2 - 1])
    labels, logits = torch.from_numpy(rng.integers(0, CLASSES, n)), torch.from_numpy(rng.normal(size=(n, CLASSES)))
    on_device = [each.to(device) for each in (torch.from_numpy(maps), labels, logits.float())]
    mask = Mask(np.tri(side, dtype=bool), np.zeros((side, side), bool))
    boxes = [each.astype(np.float64) for each in corners]
    masks = [mask.foreground] * n if masked else None
    truths = [
        ground_truth_of(
            protocol, Sample(str(i), 0, each, "edges", mask=(lambda: mask) if masked else None), (side, side)
        )
        for i, each in enumerate(boxes)
    ]
    whole = View(side, side)
    metric = wsol.LocalizationMetric(protocol_name, classes=classes)

    def sweep() -> None:
        protocol.score_batch(whole, maps[:, None], truths, labels.numpy()[:, None], None)

    def update() -> None:
        metric.update(on_device[0], boxes, *on_device[1:], masks=masks)

    pairs = [(_seconds(sweep), _seconds(update)) for _ in range(rounds + 1)][1:]
    ratios = sorted(second / first for first, second in pairs)
    name = protocol_name + (", masks" if masked else "") + (f", CorLoc of {classes} classes" if classes else "")
    print(
        f"{name}: sweep {1000 * median(first for first, _ in pairs):.1f} ms, update "
        f"{1000 * median(second for _, second in pairs):.1f} ms, median ratio {median(ratios):.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f}; limit {LIMIT})"
    )


def _seconds(call: Callable[[], None]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="maps of an update (default: 64)")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cpu", help="device of maps, labels and logits (default: cpu)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, masked, classes in (
        ("wsolevaluation", False, None),
        ("wsolevaluation", False, CLASSES),
        ("wsolevaluation", True, None),
        ("wsolevaluation:step=0.01", False, None),
        ("exact", False, None),
        ("zhou2016", False, None),
        ("zhou2016:box=script", False, None),
    ):
        measure(name, args.images, args.rounds, masked, classes, args.device)


if __name__ == "__main__":
    main()
