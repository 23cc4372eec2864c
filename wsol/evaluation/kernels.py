"""Kernels are compiled by processes of their own, while this one imports torch and loads the data set and the network.

Numba compiles under the interpreter lock and stores what it has compiled on disk, so a process that scores a few tiny
maps leaves the kernels there for all others. Each part of the kernels has its process, once per machine, version and
protocol, and remembers that by an empty file next to the compiled kernels.
"""

import atexit
import contextlib
import gc
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
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
from wsol.protocols import PROTOCOLS, Protocol, find_protocol
from wsol.protocols.base import ground_truth_of
from wsol.runtime.cost import Clock
from wsol.runtime.jit import cache_folder, processor_name
from wsol.runtime.progress import INTERVAL

SCORING = ("curves", "boxes")
"""Parts that the first batch needs."""
TABLES = ("tables",)
"""Parts that are needed after the last batch."""

_PACKAGE = Path(__file__).parent.parent
_PATIENCE = 2.0  # seconds until somebody at a terminal is told what this process waits for
_running: dict[tuple[str, str], subprocess.Popen[bytes]] = {}  # the compiling process of each protocol and part


def start_compiling(protocol: str) -> None:
    """Start to compile the kernels of a protocol, unless this machine has them; one process per machine does.

    Args:
        protocol: Name and settings, as for ``find_protocol``; whoever uses it reports what is wrong with it.
    """
    with contextlib.suppress(InputError):
        found = find_protocol(protocol)
        is_first = os.environ.get("LOCAL_RANK", "0") == "0"
        for part in (*SCORING, *TABLES):
            stamp = _find_stamp(found, part)
            if stamp is None or stamp.exists() or (protocol, part) in _running or not (is_first and sys.executable):
                continue
            with contextlib.suppress(OSError):  # then the first batch compiles
                nothing = subprocess.DEVNULL
                command = [sys.executable, "-m", __name__, protocol, part, str(os.getpid())]
                child = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
                atexit.register(child.kill)
                _running[protocol, part] = child


def wait_for_kernels(protocol: str, parts: Sequence[str]) -> None:
    """Wait until the processes that ``start_compiling`` has started for these parts, if it has, are finished."""
    patience = time.monotonic() + (_PATIENCE if sys.stderr.isatty() else INTERVAL)
    is_told = False
    for part in parts:
        child = _running.pop((protocol, part), None)
        if child is None:
            continue
        try:
            child.wait(None if is_told else max(0, patience - time.monotonic()))
        except subprocess.TimeoutExpired:
            print("wsol: compiling kernels (once per machine and version)", file=sys.stderr, flush=True)
            is_told = True
            child.wait()
        atexit.unregister(child.kill)


def compile_kernels(protocol: str, part: str) -> None:
    """Compile a part of the kernels of a protocol into Numba's cache.

    Args:
        protocol: Name and settings, as for ``find_protocol``.
        part: One of ``SCORING`` and ``TABLES``.
    """
    found = find_protocol(protocol)
    stamp = _find_stamp(found, part)
    compilers: dict[str, Callable[[Protocol, Sequence[Sample]], None]] = {
        "curves": _score_maps,
        "boxes": _draw_boxes,
        "tables": _tabulate,
    }
    compilers[part](found, [_tiny_sample(i) for i in range(4)])
    if stamp is not None:
        stamp.touch()


def _find_stamp(protocol: Protocol, part: str) -> Path | None:
    """Return the file that exists if the cache has a part of a protocol's kernels; None if no cache can have it."""
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
    return Path(folder) / f"wsol-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}-{part}.compiled"


def _tiny_sample(i: int) -> Sample:
    mask = Mask(np.eye(32, 48, dtype=bool), np.zeros((32, 48), bool))
    boxes = as_boxes([[4, 4, 20, 20], [1, 1, 30, 30]][: 1 + i % 2])
    return Sample(str(i), i % 2, boxes, "inclusive", size=(48, 32), mask=lambda: mask)


def _tiny_maps(protocol: Protocol, n: int) -> NDArray[np.float32]:
    crops = len(protocol.view.crop_positions)
    return np.random.default_rng(0).random((n, 1, *([crops] if crops > 1 else []), 7, 7), np.float32)


def _score_maps(protocol: Protocol, samples: Sequence[Sample]) -> None:
    """Score maps at all thresholds, as batches do."""
    truths = [ground_truth_of(protocol, replace(sample, mask=None), (48, 32)) for sample in samples]
    classes = np.zeros((len(samples), 1), np.int64)
    protocol.score_batch(protocol.view, _tiny_maps(protocol, len(samples)), truths, classes, None)


def _draw_boxes(protocol: Protocol, samples: Sequence[Sample]) -> None:
    """Prepare maps, count their pixels and draw their boxes at one threshold."""
    for sample, maps in zip(samples, _tiny_maps(protocol, len(samples)), strict=True):
        prepared = protocol.prepare_view(protocol.view, maps, (48, 32))
        protocol.boxes(prepared, protocol.taus[:1])
        ground_truth_of(protocol, sample, (48, 32)).count_pixels(protocol, prepared[0])


def _tabulate(protocol: Protocol, samples: Sequence[Sample]) -> None:
    """Score a baseline, and build its tables with the predictions of two more classes."""
    from wsol.evaluation.sources.baseline import score_baseline  # noqa: PLC0415  # slow to import, and only the
    from wsol.evaluation.tables import tabulate, tabulate_predictions  # noqa: PLC0415  # process of the tables needs it

    images = Dataset("tiny", "test", tuple(samples), ("a", "b"))
    with ThreadPoolExecutor(1) as pool:
        _, results = score_baseline("center-box", images, protocol, pool, Clock())
        classes = np.concatenate([results.classes, [[0, 1]] * len(images)], 1)
        boxes_at = results.boxes_at
        results = replace(
            results,
            classes=classes,
            scores=np.full(classes.shape, 0.5, np.float32),
            stats=replace(results.stats, ranks=ranks_of(classes)),
            boxes_at=lambda tau_index: np.repeat(boxes_at(tau_index), 3, 1),
        )
        tabulate(protocol, results, "oracle", tabulate_predictions(protocol, results, 0), None, pool)


def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that ends."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main(protocol: str, part: str, parent: int) -> None:
    """Compile as a child of the process ``parent``."""
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    gc.disable()  # it takes a fifth of the time to find nothing
    if part in TABLES:
        with contextlib.suppress(OSError, AttributeError):  # Windows has no such priority
            os.nice(10)  # what the first batch needs goes first
    compile_kernels(protocol, part)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
