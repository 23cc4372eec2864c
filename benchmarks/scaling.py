"""Compare the images per second of one process with two threads with those of two processes with one thread each.

    python benchmarks/scaling.py [--model vgg16-gap] [--images 48 240] [--rounds 3] [-- OPTIONS OF wsol.eval]

Whole commands are timed, ``python -m wsol.eval`` and ``torchrun --nproc-per-node 2 -m wsol.eval``, alternately for few
and for many images; the difference leaves out what each costs once: imports, loading, and the start of the process
group.
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


def time_command(command: Sequence[str], threads: int, options: Sequence[str], limit: int) -> float:
    """Return the seconds that a command takes for ``limit`` images."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, *command, *options, "--limit", str(limit), "--out", f"{folder}/run"]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        start = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - start


def main() -> int:
    """Print the images per second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg16-gap", help="registered name (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, nargs=2, default=[48, 240], help="numbers of images, few and many (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each command (default: %(default)s)")
    parser.add_argument("extra", nargs="*", help="options of wsol.eval, after --")
    options = parser.parse_args()
    few, many = options.images
    arguments = ["--model", options.model, "--batch-size", "8", *options.extra]
    rates: dict[str, list[float]] = {"one": [], "two": []}
    for i in range(options.rounds):
        for name, command, threads in (("one", _ONE, 2), ("two", _TWO, 1)):
            seconds_many, seconds_few = (time_command(command, threads, arguments, n) for n in (many, few))
            rates[name].append((many - few) / (seconds_many - seconds_few))
        print(f"round {i + 1}: {rates['one'][-1]:.2f} and {rates['two'][-1]:.2f} images per second", flush=True)
    one, two = (statistics.median(rates[name]) for name in ("one", "two"))
    print(f"{options.model}: one process {one:.2f}, two {two:.2f} images per second, ratio {two / one:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
