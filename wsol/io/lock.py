"""One process at a time writes to a folder."""

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from wsol.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "lock"


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder while the context lasts.

    The operating system lets go of the lock when the process ends, however it ends.

    Args:
        folder: Gets a file ``lock`` meanwhile, which says who holds it.

    Raises:
        InputError: A process that lives holds it.
    """
    path = folder / LOCK_FILE
    descriptor = _locked(path)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise InputError(
                f"{path.parent} is being written by {holder}; wait for it, or give another --out"
            ) from error
        except OSError as error:  # some network file systems know no locks
            reason = f"{path} cannot be locked ({error.strerror}): let no second process write there"
            warnings.warn(reason, stacklevel=3)
        with contextlib.suppress(FileNotFoundError):  # unless its holder removed it between the two calls
            if fcntl is None or path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
