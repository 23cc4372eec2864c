"""Worker processes: what they compute, how they fail, and that none outlives its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from wsol.errors import ImageError, InputError
from wsol.io.lock import lock_folder
from wsol.runtime.workers import shared_array, start_workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


def test_any_function_runs_in_other_processes() -> None:
    factor = 3
    with start_workers(lambda i: (factor * i, os.getpid()), 2, processes=True) as submit:
        results = [future.result() for future in [submit(i) for i in range(20)]]
    assert [number for number, _ in results] == [3 * i for i in range(20)]
    assert os.getpid() not in {pid for _, pid in results}


def test_few_items_run_in_threads() -> None:
    with start_workers(os.getpid, 2, processes=False) as submit:
        assert submit().result() == os.getpid()


def test_only_the_main_thread_forks() -> None:
    def run() -> int:
        with start_workers(os.getpid, 2, processes=True) as submit:
            return int(submit().result())

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run).result() == os.getpid()
    assert run() != os.getpid()


def test_a_shared_array_is_written_by_workers() -> None:
    array = shared_array((2, 3), np.uint8)

    def write(i: int) -> None:
        array[i] = i + 5

    with start_workers(write, 2, processes=True) as submit:
        for future in [submit(0), submit(1)]:
            future.result()
    assert array.tolist() == [[5, 5, 5], [6, 6, 6]]


def test_errors_arrive() -> None:
    def fail() -> None:
        raise ImageError("x.jpg is not an image")

    with (
        pytest.raises(ImageError, match=r"x\.jpg is not an image"),
        start_workers(fail, 1, processes=True) as submit,
    ):
        submit().result()


def test_a_worker_that_dies_is_an_error() -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with (
        pytest.raises(InputError, match=r"a worker process was stopped .* give fewer --workers"),
        start_workers(die, 2, processes=True) as submit,
    ):
        submit().result()


@pytest.mark.slow
def test_workers_end_with_their_parent_and_do_not_hold_its_lock(tmp_path: Path) -> None:
    script = f"""
        import os, time
        from pathlib import Path
        from wsol.io.lock import lock_folder
        from wsol.runtime.workers import start_workers
        with lock_folder(Path({str(tmp_path)!r})), start_workers(lambda: os.getpid(), 2, True) as submit:
            print(*{{submit().result() for _ in range(20)}}, flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert workers
    process.kill()
    process.wait()
    with lock_folder(tmp_path):  # free at once
        pass
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.02)
    process.stdout.close()
