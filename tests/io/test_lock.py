"""One process at a time in a folder, on file systems with and without locks."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from wsol.errors import InputError
from wsol.io import lock
from wsol.io.lock import lock_folder

HOLD = """
import sys, time
from pathlib import Path
from wsol.io.lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with holder:
        try:
            assert holder.stdout.readline() == "locked\n"
            for _ in range(3):  # who is refused leaves the name of the holder as it is
                match = rf"is being written by process {holder.pid} on .+; wait for it, or give another --out"
                with pytest.raises(InputError, match=match), lock_folder(tmp_path):
                    pass
        finally:
            holder.kill()
    assert (tmp_path / "lock").exists()
    with lock_folder(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(descriptor: int, *, blocking: bool) -> bool:
        assert not blocking
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock, "lock_descriptor", fail)
    match = rf"lock cannot be locked \({os.strerror(number)}\): let no second process write there"
    with pytest.warns(UserWarning, match=match), lock_folder(tmp_path):
        assert (tmp_path / "lock").exists()
    assert not [*tmp_path.iterdir()]


def test_a_lock_file_that_is_removed_meanwhile_is_locked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def remove_once(descriptor: int, *, blocking: bool) -> bool:
        attempts.append(descriptor)
        if len(attempts) == 1:
            (tmp_path / "lock").unlink()  # as the holder does, between opening and locking
        return real(descriptor, blocking=blocking)

    real = lock.lock_descriptor
    monkeypatch.setattr(lock, "lock_descriptor", remove_once)
    with warnings.catch_warnings(action="error"), lock_folder(tmp_path):
        assert (tmp_path / "lock").read_text().startswith("process ")
    assert len(attempts) == 2
