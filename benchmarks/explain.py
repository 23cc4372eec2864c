"""Compare ``wsol.explain`` on one photo with a process that loads the same model and runs one forward pass.

    python benchmarks/explain.py --model squeezenet1_0 --weights FILE PHOTO

Both are complete processes, including interpreter and imports, and run alternately, so that a drift in the speed of the
machine affects both. The command also reads the photo, computes maps and boxes, draws and writes. The limit applies to
the median of the differences, in seconds.
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


def time_command(command: Sequence[str]) -> float:
    """Return the wall time of a process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Time both processes alternately and print the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", help="image file")
    parser.add_argument("--model", default="vgg16-gap", help="registered name (default: %(default)s)")
    parser.add_argument("--weights", default="", help="weights file (default: bundled weights)")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each process (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bare = ["-c", BARE, options.model, options.weights]
        command = ["-m", "wsol.explain", options.photo, "--model", options.model, "--device", "cpu", "--out", folder]
        command += ["--weights", options.weights] if options.weights else []
        sides = bare, command
        for side in sides:
            time_command(side)  # fills the caches of Numba and of the file system
        differences, ratios = [], []
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        print(f"{options.model}, {processors} processors")
        for i in range(options.rounds):
            bare_seconds, command_seconds = (time_command(side) for side in sides)
            differences.append(command_seconds - bare_seconds)
            ratios.append(command_seconds / bare_seconds)
            print(
                f"round {i + 1}: bare {bare_seconds:.2f} s, explain {command_seconds:.2f} s, "
                f"{differences[-1]:+.2f} s, {ratios[-1]:.2f} x"
            )
    median = statistics.median(differences)
    spread = f"{min(differences):.2f} to {max(differences):.2f}"
    print(f"median {median:+.2f} s (limit {LIMIT}), {spread}; ratio {statistics.median(ratios):.2f}")
    return int(median > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
