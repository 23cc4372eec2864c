"""Processes that are killed: a server imports everything once and forks them, so that each starts at once."""

import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_FORKS = multiprocessing.get_context("forkserver")


def start(work: Callable[..., None], *arguments: Any, processes: int = 1) -> list[BaseProcess]:
    """Starts processes as torchrun would, if there are several."""
    _serve()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(processes):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        environment = {key: str(value) for key, value in place.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.append(_FORKS.Process(target=_work, args=(environment, work, *arguments)))
        started[-1].start()
    return started


@cache
def _serve() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # else the server does not find it, and says nothing
        _FORKS.set_forkserver_preload(["killed_processes_ready"])
        forkserver.ensure_running()


def _work(environment: dict[str, str], work: Callable[..., None], *arguments: Any) -> None:
    os.environ.update(environment)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    work(*arguments)


def finish(started: Sequence[BaseProcess]) -> float:
    """Waits for processes and returns the seconds that it took."""
    begin = time.perf_counter()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * len(started)
    return time.perf_counter() - begin


def kill(started: Sequence[BaseProcess], seconds: float, rng: random.Random) -> bool:
    """Kills one process after some seconds, then the others, as torchrun does; says whether it was still at work."""
    first = rng.choice(started)
    first.join(seconds)
    alive = first.exitcode is None
    for process in (first, *started):
        process.kill()
    for process in started:
        process.join()
    return alive and first.exitcode == -9


def survive(
    begin: Callable[[Path], list[BaseProcess]],
    folder: Path,
    kills: int,
    same: Callable[[Path], bool],
    duration: float,
    seed: int,
) -> int:
    """Kills work at up to three random moments, lets it end, looks at its files, and begins anew.

    Args:
        begin: Starts processes that begin or go on with the work in a folder.
        folder: The folder.
        kills: How often they are to be killed.
        same: Whether the files of work that ended are those of work that was never stopped.
        duration: Seconds of that.
        seed: Of the moments.

    Returns:
        How often it ended after it was killed.
    """
    rng, killed, ended = random.Random(seed), 0, 0
    while killed < kills:
        before = killed
        for _ in range(3):
            killed += kill(begin(folder), duration * rng.random(), rng)
        finish(begin(folder))
        assert same(folder)
        ended += killed > before
        shutil.rmtree(folder)
    return ended


def content(folder: Path) -> dict[str, str]:
    """Returns the hash of every file below a folder, times in run.json and on the page aside."""
    return {path.relative_to(folder).as_posix(): _hash(path) for path in folder.rglob("*") if path.is_file()}


def _hash(path: Path) -> str:
    raw = path.read_bytes()
    if path.name == "run.json":
        run = json.loads(raw)
        for entry in ("seconds", "checksum"):
            del run[entry]
        for entry in ("ms_per_image", "peak_memory_mib"):
            del run["cost"][entry]
        run["checksums"].pop("val/run.json", None)
        raw = json.dumps(run).encode()
    if path.name == "report.html":
        raw = re.sub(rb"<dd>[\d.]+ ms and", b"", raw)
    return hashlib.sha256(raw).hexdigest()


def evaluate(data: Path, out: Path, threads: int = 1, forks: bool = False, **options: Any) -> Any:
    """Evaluates a tiny network whose weights depend on nothing but ``tiny``; with ``forks``, processes decode."""
    import torch  # noqa: PLC0415

    import wsol  # noqa: PLC0415
    from wsol.datasets import _images  # noqa: PLC0415

    torch.set_num_threads(threads)
    _images._MIN_FOR_PROCESSES = 0 if forks else 1000
    options = {"dataset": "csv", "data_root": data, "device": "cpu", "tau": "val", "batch_size": 1, **options}
    options.setdefault("protocol", "wsolevaluation:step=0.05")  # fewer levels, quicker metrics
    return wsol.evaluate(tiny(), out=out, **options)


def tiny(classes: int = 7) -> Any:
    """Returns two convolutions, global average pooling and a linear layer, as the stations take them."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    from wsol.models import (  # noqa: PLC0415
        Model,
        Preprocessing,
        find_gap,
    )

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 8, 8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )
    return Model("tiny", find_gap(network.eval(), "tiny"), Preprocessing(), "random", "0" * 64, classes)


def warm() -> None:
    """Loads what Numba has compiled; no library has started a thread by then, so that forking is safe."""
    from wsol.protocols import find_protocol  # noqa: PLC0415

    protocol = find_protocol("wsolevaluation")
    prepared = protocol.prepare(np.random.default_rng(0).random((1, 14, 14), np.float32), (60, 40))
    protocol.score_map_stats(prepared[0], np.array([[3.0, 4, 50, 60]]))
