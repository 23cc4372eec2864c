"""Images a second of one process with two threads, and of two processes with one each.

    python benchmarks/scaling.py [--model vgg16-gap] [--images 48 240] [--rounds 3] [-- OPTIONS OF wsol.eval]

Whole commands are timed, ``python -m wsol.eval`` and ``torchrun --nproc-per-node 2 -m wsol.eval``, for few images and
for many, in turn; the difference leaves out what each costs once: imports, loading, and the meeting of processes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

_ONE = ["-m", "wsol.eval"]
_TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "wsol.eval"]


def seconds(command: Sequence[str], threads: int, options: Sequence[str], limit: int) -> float:
    """Return how long a command takes over some images."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, *command, *options, "--limit", str(limit), "--out", f"{folder}/run"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        begin = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True, env=environment)
        return time.perf_counter() - begin


def main() -> int:
    """Print images a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg16-gap")
    parser.add_argument("--images", type=int, nargs=2, default=[48, 240])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("others", nargs="*")
    options = parser.parse_args()
    few, many = options.images
    chosen = ["--model", options.model, "--batch-size", "8", *options.others]
    rates: dict[str, list[float]] = {"one": [], "two": []}
    for i in range(options.rounds):
        for name, command, threads in (("one", _ONE, 2), ("two", _TWO, 1)):
            more, once = (seconds(command, threads, chosen, n) for n in (many, few))
            rates[name].append((many - few) / (more - once))
        print(f"round {i + 1}: {rates['one'][-1]:.2f} and {rates['two'][-1]:.2f} images a second", flush=True)
    one, two = (statistics.median(rates[name]) for name in ("one", "two"))
    print(f"{options.model}: one process {one:.2f}, two {two:.2f} images a second, ratio {two / one:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
