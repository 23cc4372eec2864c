"""Kernels are compiled by a process of their own, while this one imports torch and loads the data set and the network.

Numba compiles under the interpreter lock and stores what it has compiled on disk, so a process that scores a few tiny
maps leaves the kernels there for all others. It runs once per machine, version and protocol, and remembers that by an
empty file next to the compiled kernels.
"""

import atexit
import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset, Mask, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.metrics.classification import ranks_of
from wsol.metrics.image_stats import StatsAccumulator
from wsol.protocols import PROTOCOLS, Protocol, find_protocol
from wsol.protocols.base import ground_truth_of
from wsol.runtime.cost import Clock
from wsol.runtime.jit import cache_folder, processor_name

_PACKAGE = Path(__file__).parent.parent
_running: dict[str, subprocess.Popen[bytes]] = {}  # the compiling process of each protocol


def start_compiling(protocol: str) -> None:
    """Start to compile the kernels of a protocol, unless this machine has them; one process per machine does.

    Args:
        protocol: Name and settings, as for ``find_protocol``; whoever uses it reports what is wrong with it.
    """
    with contextlib.suppress(InputError):
        stamp = _find_stamp(find_protocol(protocol))
        is_first = os.environ.get("LOCAL_RANK", "0") == "0"
        if stamp is None or stamp.exists() or protocol in _running or not (is_first and sys.executable):
            return
        with contextlib.suppress(OSError):  # then the first batch compiles
            nothing = subprocess.DEVNULL
            child = subprocess.Popen(
                [sys.executable, "-m", __name__, protocol], stdin=nothing, stdout=nothing, stderr=nothing
            )
            atexit.register(child.kill)
            _running[protocol] = child


def wait_for_kernels(protocol: str) -> None:
    """Wait until the process that ``start_compiling`` has started, if it has, is finished."""
    if protocol in _running:
        child = _running.pop(protocol)
        child.wait()
        atexit.unregister(child.kill)


def compile_kernels(protocol: str) -> None:
    """Compile all kernels of a protocol, from raw maps to the tables of a run, into Numba's cache."""
    found = find_protocol(protocol)
    stamp = _find_stamp(found)
    samples = tuple(_tiny_sample(i) for i in range(4))
    rows = _score_maps(found, samples)
    _tabulate(found, Dataset("tiny", "test", samples, ("a", "b")), rows)
    if stamp is not None:
        stamp.touch()


def _find_stamp(protocol: Protocol) -> Path | None:
    """Return the file that exists if the kernels of a protocol are in the cache; None if no cache can have them."""
    folder = cache_folder()
    if folder is None or not PROTOCOLS.is_own(protocol.name):
        return None
    settings = {each.name: getattr(protocol, each.name) for each in fields(protocol)}
    names = {name: value for name, value in settings.items() if isinstance(value, str | bool)}  # numbers change no type
    facts: list[Any] = [protocol.name, names, processor_name(), sys.version, numba.__version__, np.__version__]
    for layer in ("boxes", "metrics", "protocols", "runtime"):
        for path in sorted((_PACKAGE / layer).glob("*.py")):
            status = path.stat()
            facts.append((os.fspath(path), status.st_mtime_ns, status.st_size))
    return Path(folder) / f"wsol-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}.compiled"


def _tiny_sample(i: int) -> Sample:
    mask = Mask(np.eye(32, 48, dtype=bool), np.zeros((32, 48), bool))
    boxes = as_boxes([[4, 4, 20, 20], [1, 1, 30, 30]][: 1 + i % 2])
    return Sample(str(i), i % 2, boxes, "inclusive", size=(48, 32), mask=lambda: mask)


def _score_maps(protocol: Protocol, samples: Sequence[Sample]) -> dict[str, NDArray[Any]]:
    """Score maps without and with masks, without and with boxes, as batches do; return the last statistics."""
    crops = len(protocol.view.crop_positions)
    shape = (len(samples), 2, *([crops] if crops > 1 else []), 7, 7)
    maps = np.random.default_rng(0).random(shape, np.float32)
    classes = np.array([[0, 1]] * len(samples))
    rows: dict[str, NDArray[Any]] = {}
    for each in ([replace(sample, mask=None) for sample in samples], samples):
        truths = [ground_truth_of(protocol, sample, (48, 32)) for sample in each]
        for tau_index in (None, 0):
            rows, _ = protocol.score_batch(protocol.view, maps, truths, classes, tau_index)
    return rows


def _tabulate(protocol: Protocol, images: Dataset, rows: dict[str, NDArray[Any]]) -> None:
    from wsol.evaluation.sources.baseline import score_baseline  # noqa: PLC0415  # slow to import, and only the
    from wsol.evaluation.tables import tabulate  # noqa: PLC0415  # compiling process needs it

    with ThreadPoolExecutor(1) as pool:
        _, results = score_baseline("center-box", images, protocol, pool, Clock())
        classes = np.concatenate([results.classes, [[0, 1]] * len(images)], 1)
        boxes_at = results.boxes_at
        accumulator = StatsAccumulator(len(images), max(1, len(protocol.taus)))
        accumulator.add(rows)
        stats = accumulator.stats(protocol.delta, classes[:, 0], ranks_of(classes), protocol.off_grid)
        if stats.peaks is not None:
            stats.peaks.flags.writeable = False  # as in a run, which reads it from a file
        results = replace(
            results,
            classes=classes,
            scores=np.full(classes.shape, 0.5, np.float32),
            stats=stats,
            boxes_at=lambda tau_index: np.repeat(boxes_at(tau_index), 3, 1),
        )
        tabulate(protocol, results, "oracle", 0, None, pool)


if __name__ == "__main__":
    compile_kernels(sys.argv[1])
