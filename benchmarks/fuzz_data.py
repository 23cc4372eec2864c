"""Fuzz every reader of images, lists and annotations.

    python benchmarks/fuzz_data.py --minutes 5 [--seed 0] [--case NUMBER]

Each case writes a small data set, damages one of its files
(bytes, lengths, fields, or a link or pipe in its place), and reads the data set with images and masks. A reader may
succeed or raise ``wsol.errors.InputError`` with one line; everything else is a finding: another exception, more than
five seconds of CPU time or twenty of waiting, 4 GiB of memory, a signal, output on stderr, or a file outside the data
set that is read or changed. A case is a function of seed and number; ``--case NUMBER`` repeats it.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from _fuzz_damage import damage
from _fuzz_seeds import SEEDS
from PIL import Image

from wsol.datasets import count_clipped, load_dataset, read_image
from wsol.errors import InputError

_SECONDS, _WAIT, _MEMORY = 5, 20, 4 * 2**30


def main() -> int:
    """Run cases until the time is over and print the findings; return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1, help="duration (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the cases (default: %(default)s)")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="repeat this case and print its traceback")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        write_canary(home / "canary")
        if options.case is not None:
            print(*run_case(home, options.seed, options.case, verbose=True))
            return 0
        for reader in SEEDS:  # undamaged
            write_seed(reader, home / "case")
            read(reader, home / "case")
        counts: Counter[str] = Counter()
        findings: list[str] = []
        for number, reader, outcome, detail in outcomes(home, options.seed, 60 * options.minutes):
            counts[
                f"{reader:16} {'ok' if outcome == 'ok' else 'sentence' if outcome == 'sentence' else 'FINDING'}"
            ] += 1
            if outcome not in ("ok", "sentence"):
                findings.append(f"case {number} ({reader}): {outcome}: {detail}")
                print(findings[-1], flush=True)
    print(*(f"{count:7} {name}" for name, count in sorted(counts.items())), sep="\n")
    print(f"{sum(counts.values())} cases of seed {options.seed}, {options.minutes:g} minutes, {len(findings)} findings")
    return bool(findings)


def outcomes(home: Path, seed: int, seconds: float) -> Iterator[tuple[int, str, str, str]]:
    """Yield number, reader, outcome and detail of each case; a child process that dies is a finding."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            try:
                run_cases(home, seed, number, end, writing)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading) as lines:
            for line in lines:
                report = json.loads(line)
                if len(report) == 1:
                    number = report[0]
                else:
                    yield number, *report
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            yield number, reader_of(number), "hang" if name in ("SIGALRM", "SIGPROF") else "signal", name
        number += 1


def run_cases(home: Path, seed: int, first: int, end: float, pipe: int) -> None:
    """Run cases in a child process and report each before and after it."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    warnings.filterwarnings("ignore", module=r"PIL\.")  # as in the commands
    noise = os.open(home / "stderr", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(noise, 2)
    number = first
    while time.monotonic() < end:
        os.write(pipe, f"[{number}]\n".encode())
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)  # of CPU time, independent of the machine's load
        signal.setitimer(signal.ITIMER_REAL, _WAIT)  # of waiting
        outcome = run_case(home, seed, number)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if os.fstat(noise).st_size:
            if outcome[1] in ("ok", "sentence") and " tif " not in outcome[0]:  # libtiff cannot be silenced
                outcome = outcome[0], "stderr", (home / "stderr").read_text(errors="replace").strip()[:300]
            os.ftruncate(noise, 0)
        os.write(pipe, (json.dumps(outcome) + "\n").encode())
        number += 1


def reader_of(number: int) -> str:
    """Return the reader of a case."""
    return [*SEEDS][number % len(SEEDS)]


def run_case(home: Path, seed: int, number: int, verbose: bool = False) -> tuple[str, str, str]:
    """Run one case.

    Returns:
        Reader, outcome and detail.
    """
    reader = reader_of(number)
    root = home / "case"
    write_seed(reader, root)
    damage(root, [*SEEDS[reader][2]], home / "canary", random.Random(f"{seed} {number}"))
    before = snapshot(home)
    try:
        outcome, detail = "ok", read(reader, root)
    except InputError as error:
        outcome, detail = "sentence", str(error)
        if len(detail.splitlines()) != 1 or len(detail) > 4000:
            outcome = "no sentence"
        if verbose:
            traceback.print_exc()
    except BaseException as error:
        outcome, detail = type(error).__name__, "".join(traceback.format_exception(error)[-2:]).strip()[-600:]
        if verbose:
            traceback.print_exc()
    if detail.startswith("outside"):
        outcome = "outside"
    if snapshot(home) != before:
        outcome = "changed files"
    return reader, outcome, detail


def write_seed(reader: str, root: Path) -> None:
    """Write the undamaged data set of a reader."""
    shutil.rmtree(root, ignore_errors=True)
    for path, content in SEEDS[reader][2].items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def read(reader: str, root: Path) -> str:
    """Read all images and masks of a data set; return the path of an image outside of it, if there is one."""
    name, arguments, _ = SEEDS[reader]
    place = next(root.glob("*.zip"), root)
    data = load_dataset(name, place, dataset_args={key: value.format(root) for key, value in arguments.items()})
    _ = data.signature
    for sample in data:
        if sample.path and not Path(os.path.realpath(sample.path)).is_relative_to(root):
            return f"outside: {sample.path}"
        if sample.path:
            image, size = read_image(sample)
            image.resize((8, 8))
            count_clipped(sample, size)
        if sample.mask:
            sample.mask()
    return ""


def write_canary(folder: Path) -> None:
    """Write files that no reader may open or change."""
    (folder / "deep").mkdir(parents=True)
    Image.new("RGB", (60, 40), "magenta").save(folder / "secret.png")
    (folder / "deep" / "secret.xml").write_text("<annotation/>")


def snapshot(home: Path) -> list[tuple[str, int, int, int]]:
    """Return path, mode, size and time of everything but the captured stderr."""
    states = []
    for folder, _, names in os.walk(home):
        for name in ("", *names):
            path = os.path.join(folder, name)  # noqa: PTH118  # faster
            if name != "stderr" and folder + name != str(home):
                state = os.lstat(path)
                states.append((path, state.st_mode, state.st_size, state.st_mtime_ns))
    return sorted(states)


if __name__ == "__main__":
    sys.exit(main())
