"""Holds the command on one photo against a process that loads the same model and runs one forward pass.

    python benchmarks/explain.py --model squeezenet1_0 --weights FILE PHOTO

Both sides are whole processes, interpreter and imports included, run in turn, so that a machine whose speed drifts
drifts for both. The command also reads the photo, makes maps and boxes, draws and writes. The limit is the median of
the differences, in seconds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

LIMIT = 0.5
BARE = """
import sys
import torch
from wsol.models import load_model

model = load_model(sys.argv[1], sys.argv[2] or None)
with torch.inference_mode():
    model.network(torch.zeros(1, 3, 224, 224))
"""


def seconds(command: Sequence[str]) -> float:
    """Return what a process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Times both sides in turn and prints the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo")
    parser.add_argument("--model", default="vgg16-gap")
    parser.add_argument("--weights", default="")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare = ["-c", BARE, options.model, options.weights]
        command = ["-m", "wsol.explain", options.photo, "--model", options.model, "--device", "cpu", "--out", folder]
        command += ["--weights", options.weights] if options.weights else []
        sides = bare, command
        for side in sides:
            seconds(side)  # compiles what Numba has not cached, and fills the file cache
        differences, ratios = [], []
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"{options.model}, {processors} processors")
        for i in range(options.rounds):
            one, other = (seconds(side) for side in sides)
            differences.append(other - one)
            ratios.append(other / one)
            print(
                f"round {i + 1}: bare {one:.2f} s, explain {other:.2f} s, {differences[-1]:+.2f} s, {ratios[-1]:.2f} x"
            )
    median = statistics.median(differences)
    spread = f"{min(differences):.2f} to {max(differences):.2f}"
    print(f"median {median:+.2f} s (limit {LIMIT}), {spread}; ratio {statistics.median(ratios):.2f}")
    return int(median > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
