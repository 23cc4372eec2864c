"""Trainings in processes of their own, which can be killed."""

import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from wsol.training import train

# Forked from a process that has imported everything and computed nothing, a child starts in milliseconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["wsol.training", "wsol.datasets.csv", "torchvision", "matplotlib.figure", "matplotlib.backends.backend_agg"]
)


def begin(
    out: Path, asked: Mapping[str, object], environment: Mapping[str, object] | None = None, **fate: int
) -> BaseProcess:
    """Starts a training; what it says is in files beside its folder.

    Args:
        out: Its folder.
        asked: Other arguments of ``train``.
        environment: Variables.
        fate: ``change``, the number of the change in the folder at which it dies; ``room``, bytes that a file may have.
    """
    texts = {key: str(value) for key, value in (environment or {}).items()}
    child = _context.Process(target=_train, args=(out, asked, texts, fate), daemon=True)
    child.start()
    return child


def begin_together(out: Path, asked: Mapping[str, object], n: int = 2) -> list[BaseProcess]:
    """Starts n processes of one training, as torchrun does."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    same = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [begin(out, asked, {**same, "RANK": i, "LOCAL_RANK": i}) for i in range(n)]


def said(out: Path) -> list[str]:
    """Returns what the processes of a folder said, each."""
    return [path.read_text() for path in out.parent.glob(f"{out.name}-*.txt")]


def _train(out: Path, asked: Mapping[str, object], environment: Mapping[str, str], fate: Mapping[str, int]) -> None:
    os.environ.update(environment)
    sys.stdout = sys.stderr = out.with_name(f"{out.name}-{os.getpid()}.txt").open("w", buffering=1)
    if "room" in fate:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fate["room"], resource.RLIM_INFINITY))
    if "change" in fate:
        sys.addaudithook(_Death(out, fate["change"]))
    train(out=out, **asked)  # type: ignore[arg-type]


class _Death:
    """Kills its process before its n-th renaming or removal of a file in a folder."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.left = f"{folder}/", n

    def __call__(self, event: str, arguments: Sequence[object]) -> None:
        if event in ("os.rename", "os.remove") and str(arguments[0]).startswith(self.folder):
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
