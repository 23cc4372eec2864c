"""Runs a method over many images and holds the memory after all of them against that after the first tenth.

    python benchmarks/leak.py [--images 10000] [--methods cam gradcam++ backprop chefer]

Random weights and images, forward pass and maps as an evaluation makes them, nothing kept. The resident set is read
after every tenth of the images, once freed memory has gone back to the system; the limit is on the last against the
first.
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


def resident() -> int:
    """Return the bytes of this process that are in memory."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def network(method: str) -> nn.Module:
    """Return a small network that the method applies to."""
    if method in ("chefer", "attention-rollout", "self-attention", "ts-cam"):
        return timm.create_model("vit_tiny_patch16_224")
    return torchvision.models.squeezenet1_1(weights=None)


def main() -> int:
    """Print the memory of each method after every tenth of the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--methods", nargs="+", default=["cam", "gradcam++"])
    options = parser.parse_args()
    worst = 0.0
    for name in options.methods:
        method = find_method(name)
        classifier = find_classifier(network(name).eval().requires_grad_(False), name)
        tenth = options.images // 10
        after = []
        for done in tqdm(range(0, options.images, options.batch_size), desc=name, disable=None):
            if done and done % tenth < options.batch_size:
                after.append(resident())
            images = torch.rand(options.batch_size, 3, 224, 224)
            passed = forward(classifier, images)
            method.maps(passed, passed.logits.topk(6).indices).numpy()
            del passed
        after.append(resident())
        ratio = after[-1] / after[0]
        worst = max(worst, ratio)
        mib = " ".join(f"{each / 2**20:.0f}" for each in after)
        print(f"{name:<12} {options.images} images: {mib} MiB, last over first {ratio:.4f} (limit {LIMIT})", flush=True)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
