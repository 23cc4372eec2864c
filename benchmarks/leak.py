"""Run a method over many images and compare the memory after all of them with that after the first tenth.

    python benchmarks/leak.py [--images 10000] [--methods cam gradcam++ backprop chefer]

Weights and images are random; forward pass and maps are computed as in an evaluation, and nothing is kept. The resident
set is read after every tenth of the images, once freed memory has been returned to the system; the limit applies to the
ratio of the last to the first.
"""

import argparse
import ctypes
import gc
import sys
from pathlib import Path

import timm
import torch
import torchvision.models
from torch import nn
from tqdm import tqdm

from wsol.methods import find_method, forward
from wsol.models import find_classifier

LIMIT = 1.01


def measure_resident() -> int:
    """Return the resident memory of this process in bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def build_network(method: str) -> nn.Module:
    """Return a small network that the method applies to."""
    if method in ("chefer", "attention-rollout", "self-attention", "ts-cam"):
        return timm.create_model("vit_tiny_patch16_224")
    return torchvision.models.squeezenet1_1(weights=None)


def main() -> int:
    """Print the memory after every tenth of the images for each method; return 1 if a ratio exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="images per method (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=20, help="images per batch (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", default=["cam", "gradcam++"], help="methods (default: %(default)s)")
    options = parser.parse_args()
    worst = 0.0
    for name in options.methods:
        method = find_method(name)
        classifier = find_classifier(build_network(name).eval().requires_grad_(False), name)
        tenth = options.images // 10
        memory = []
        for done in tqdm(range(0, options.images, options.batch_size), desc=name, disable=None):
            if done and done % tenth < options.batch_size:
                memory.append(measure_resident())
            images = torch.rand(options.batch_size, 3, 224, 224)
            passed = forward(classifier, images)
            method.maps(passed, passed.logits.topk(6).indices).numpy()
            del passed
        memory.append(measure_resident())
        ratio = memory[-1] / memory[0]
        worst = max(worst, ratio)
        mib = " ".join(f"{each / 2**20:.0f}" for each in memory)
        print(
            f"{name:<12} {options.images} images: {mib} MiB, ratio of last to first {ratio:.4f} (limit {LIMIT})",
            flush=True,
        )
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
