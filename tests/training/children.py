"""Trainings in child processes, which can be killed."""

import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from wsol.training import config, train

# Forked from a process that has imported everything and computed nothing, a child starts in milliseconds. Optimizers
# import torch._dynamo, which takes six times as long as the whole training.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "wsol.training",
        "wsol.datasets.csv",
        "torch._dynamo",
        "torchvision",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
    ]
)


def begin(
    out: Path, asked: Mapping[str, object], environment: Mapping[str, object] | None = None, **fate: int
) -> BaseProcess:
    """Start a training in a child process; its output goes to a text file next to its folder.

    Args:
        out: Folder of the training.
        asked: Other arguments of ``train``.
        environment: Environment variables.
        fate: ``change``, the index of the file change at which the process is killed; ``room``, the maximum size of a
            file in bytes.
    """
    texts = {key: str(value) for key, value in (environment or {}).items()}
    child = _context.Process(target=_train, args=(out, asked, texts, fate), daemon=True)
    child.start()
    return child


def begin_together(out: Path, asked: Mapping[str, object], n: int = 2) -> list[BaseProcess]:
    """Start a training of n processes, as torchrun does."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    same = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [begin(out, asked, {**same, "RANK": i, "LOCAL_RANK": i}) for i in range(n)]


def read_outputs(out: Path) -> list[str]:
    """Return the output of each process that trained in a folder."""
    return [path.read_text() for path in out.parent.glob(f"{out.name}-*.txt")]


def _train(out: Path, asked: Mapping[str, object], environment: Mapping[str, str], fate: Mapping[str, int]) -> None:
    os.environ.update(environment)
    sys.stdout = sys.stderr = out.with_name(f"{out.name}-{os.getpid()}.txt").open("w", buffering=1)
    if "room" in fate:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fate["room"], resource.RLIM_INFINITY))
    if "change" in fate:
        sys.addaudithook(_Death(out, fate["change"]))
    config.has_bf16 = compute_in_float32
    train(out=out, **asked)  # type: ignore[arg-type]


def compute_in_float32(device: torch.device) -> bool:
    """Replace ``has_bf16``: in bfloat16 two processes agree with one process to three digits only."""
    return False


class _Death:
    """Kill the process before its n-th renaming or removal of a file in a folder."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.left = f"{folder}/", n

    def __call__(self, event: str, arguments: Sequence[object]) -> None:
        if event in ("os.rename", "os.remove") and str(arguments[0]).startswith(self.folder):
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
