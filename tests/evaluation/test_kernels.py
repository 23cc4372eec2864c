"""Kernels are compiled ahead, once per machine, by one process, and only where a cache keeps them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wsol.evaluation import kernels
from wsol.protocols import find_protocol

PROTOCOL = "wsolevaluation"


class Child:
    """Stands in for the compiling process."""

    started: list[list[str]]

    def __init__(self, command: list[str], **_: Any) -> None:
        self.waited = 0
        Child.started.append(command)

    def wait(self) -> None:
        self.waited += 1

    def kill(self) -> None: ...


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and processes that only count as started."""
    Child.started = []
    monkeypatch.setattr(subprocess, "Popen", Child)
    monkeypatch.setattr(kernels, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(kernels, "_running", {})
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return tmp_path


def stamp(protocol: str) -> Path:
    found = kernels._find_stamp(find_protocol(protocol))
    assert found is not None
    return found


def test_a_cold_cache_is_filled_by_one_process_that_is_waited_for(cold: Path) -> None:
    for _ in range(2):
        kernels.start_compiling(PROTOCOL)
    assert Child.started == [[sys.executable, "-m", "wsol.evaluation.kernels", PROTOCOL]]
    child: Any = kernels._running[PROTOCOL]
    for _ in range(2):
        kernels.wait_for_kernels(PROTOCOL)
    assert child.waited == 1


def test_a_warm_cache_needs_no_process(cold: Path) -> None:
    stamp(PROTOCOL).touch()
    kernels.start_compiling(PROTOCOL)
    kernels.start_compiling(f"{PROTOCOL}:step=0.25")  # another grid has the same kernels
    kernels.wait_for_kernels(PROTOCOL)
    assert Child.started == []
    kernels.start_compiling("exact")
    kernels.start_compiling("zhou2016:box=script")
    assert len(Child.started) == 2


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
    kernels.wait_for_kernels(PROTOCOL)


RUN = """
import gc, sys
import numba.core.dispatcher
import numpy as np
import torch
from PIL import Image
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
evaluate(model, dataset="csv", data_root=".", protocol=sys.argv[1], assume_class_order=True)
for each in gc.get_objects():
    if type(each) is numba.core.registry.CPUDispatcher and each.__module__.startswith("wsol"):
        if each.stats.cache_misses:
            print(each.__module__, each.__name__, dict(each.stats.cache_misses))
"""


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [PROTOCOL, "exact", "zhou2016"])
def test_a_run_finds_every_kernel_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    subprocess.run([sys.executable, "-m", "wsol.evaluation.kernels", protocol], check=True)
    assert len([*(tmp_path / "cache").glob("*/wsol-*.compiled")]) == 1
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", RUN, protocol, tests], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == ""


@pytest.mark.slow
def test_the_compiling_process_needs_no_torch() -> None:
    script = "import sys; from wsol.evaluation.kernels import compile_kernels; compile_kernels('exact')"
    subprocess.run([sys.executable, "-c", f"{script}; assert 'torch' not in sys.modules"], check=True)
