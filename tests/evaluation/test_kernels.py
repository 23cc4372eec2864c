"""Kernels are compiled ahead, once per machine, by processes of their own, and only where a cache keeps them."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wsol.evaluation import kernels
from wsol.protocols import find_protocol

PROTOCOL = "wsolevaluation"


class Child:
    """Stands in for the compiling process."""

    started: list[list[str]]
    is_slow: bool

    def __init__(self, command: list[str], **_: Any) -> None:
        self.waited = 0
        Child.started.append(command)

    def wait(self, timeout: float | None = None) -> None:
        self.waited += 1
        if timeout is not None and Child.is_slow:
            raise subprocess.TimeoutExpired("compiling", timeout)

    def kill(self) -> None: ...


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and processes that only count as started."""
    Child.started, Child.is_slow = [], False
    monkeypatch.setattr(subprocess, "Popen", Child)
    monkeypatch.setattr(kernels, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(kernels, "_running", {})
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return tmp_path


def stamp(protocol: str, part: str = "curves") -> Path:
    found = kernels._find_stamp(find_protocol(protocol), part)
    assert found is not None
    return found


def test_a_cold_cache_is_filled_by_processes_that_are_waited_for(cold: Path) -> None:
    for _ in range(2):
        kernels.start_compiling(PROTOCOL)
    command, parts = [sys.executable, "-m", "wsol.evaluation.kernels", PROTOCOL], ("curves", "boxes", "tables")
    assert Child.started == [[*command, part, str(os.getpid())] for part in parts]
    children: dict[str, Any] = {part: kernels._running[PROTOCOL, part] for part in parts}
    for _ in range(2):
        kernels.wait_for_kernels(PROTOCOL, kernels.SCORING)
    assert [children[part].waited for part in parts] == [1, 1, 0]  # the device need not wait for those of the tables
    kernels.wait_for_kernels(PROTOCOL, kernels.TABLES)
    assert children["tables"].waited == 1


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_long_wait_says_what_for(cold: Path, capsys: pytest.CaptureFixture[str], is_slow: bool) -> None:
    Child.is_slow = is_slow
    kernels.start_compiling(PROTOCOL)
    kernels.wait_for_kernels(PROTOCOL, kernels.SCORING)
    lines = ["wsol: compiling kernels (once per machine and version)"]
    assert capsys.readouterr().err.splitlines() == (lines if is_slow else [])  # once, not for each process


def test_a_warm_cache_needs_no_process(cold: Path) -> None:
    for part in ("curves", "boxes", "tables"):
        stamp(PROTOCOL, part).touch()
    kernels.start_compiling(PROTOCOL)
    kernels.start_compiling(f"{PROTOCOL}:step=0.25")  # another grid has the same kernels
    kernels.wait_for_kernels(PROTOCOL, (*kernels.SCORING, *kernels.TABLES))
    assert Child.started == []
    kernels.start_compiling("exact")
    kernels.start_compiling("zhou2016:box=script")
    assert len(Child.started) == 6


@pytest.mark.parametrize("change", ["processor_name", "numba", "source"])
def test_what_was_compiled_for_something_else_does_not_count(
    cold: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before = stamp(PROTOCOL)
    if change == "processor_name":
        monkeypatch.setattr(kernels, "processor_name", lambda: "another")
    elif change == "numba":
        monkeypatch.setattr(kernels.numba, "__version__", "0.0")
    else:
        package = cold / "package"
        (package / "boxes").mkdir(parents=True)
        (package / "boxes" / "components.py").touch()
        monkeypatch.setattr(kernels, "_PACKAGE", package)
    assert stamp(PROTOCOL) != before


def test_no_process_where_it_is_of_no_use(cold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.start_compiling("no such protocol")  # whoever uses it says so
    with monkeypatch.context() as patch:
        patch.setattr(kernels.PROTOCOLS, "is_own", lambda _: False)  # of a notebook: no other process has it
        kernels.start_compiling(PROTOCOL)
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "cache_folder", lambda: None)
        kernels.start_compiling(PROTOCOL)
    monkeypatch.setenv("LOCAL_RANK", "1")  # torchrun's first process on a machine compiles for all
    kernels.start_compiling(PROTOCOL)
    assert Child.started == []


def test_a_process_that_cannot_be_started_is_done_without(cold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr(subprocess, "Popen", fail)
    kernels.start_compiling(PROTOCOL)
    kernels.wait_for_kernels(PROTOCOL, kernels.SCORING)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_ends_with_its_parent() -> None:
    child = "import sys, time; from wsol.evaluation import kernels; kernels._end_with(int(sys.argv[1]))"
    parent = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}, str(os.getpid())], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    pid = int(subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=False).stdout)
    deadline = time.monotonic() + 30
    while _is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # not yet waited for
    except FileNotFoundError:
        return False


RUN = """
import sys
from dataclasses import replace
import numpy as np
import torch
from PIL import Image
from wsol.datasets import Mask, load_dataset
from wsol.evaluation import kernels
from wsol.evaluation.evaluate import evaluate
kernels.start_compiling = lambda _: None
with open("boxes.csv", "w") as file:
    file.write("image_id,label,x0,y0,x1,y1,width,height\\n")
    for i in range(3):  # arrays of one row are contiguous in both orders
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (40, 60, 3), np.uint8)).save(f"{i}.png")
        file.write(f"{i}.png,{i % 2},1,2,30,20,60,40\\n")
sys.path.insert(0, sys.argv[2])
from tiny_net import TinyNet
from wsol.models import Model, Preprocessing, find_gap
model = Model("tiny", find_gap(TinyNet().eval(), "tiny"), Preprocessing(), "random", "0" * 64, 7)
images = load_dataset("csv", ".")
mask = Mask(np.eye(40, 60, dtype=bool), np.zeros((40, 60), bool))
with_masks = replace(images, samples=tuple(replace(each, mask=lambda: mask) for each in images.samples))
for dataset, tau in ((images, 0.2), (with_masks, "oracle")):
    evaluate(model, dataset=dataset, protocol=sys.argv[1], tau=tau, assume_class_order=True)
"""
COMPILE = """
import sys
from wsol.evaluation.kernels import SCORING, TABLES, compile_kernels
for part in (*SCORING, *TABLES):
    compile_kernels(sys.argv[1], part)
assert "torch" not in sys.modules  # it takes longer to import than most kernels to compile
"""
PRINT = """
import gc
from numba.core.registry import CPUDispatcher
for each in gc.get_objects():
    if type(each) is CPUDispatcher and each.__module__.startswith("wsol"):
        for signature in each.signatures:
            print(each.__module__, each.__name__, signature)
"""


@pytest.mark.sample(3)
@pytest.mark.parametrize("protocol", [PROTOCOL, "exact", "zhou2016"])
def test_a_run_needs_no_kernel_that_is_not_compiled_ahead(tmp_path: Path, protocol: str) -> None:
    """That a later run finds in the cache what the processes have stored there, ``test_wheel.py`` shows."""
    kernels_of = {}
    for script in (COMPILE, RUN):
        command = [sys.executable, "-c", script + PRINT, protocol, str(Path(__file__).parents[1])]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        kernels_of[script] = {*done.stdout.splitlines()}
    assert len(kernels_of[RUN]) > 5
    assert kernels_of[RUN] - kernels_of[COMPILE] == set()
