"""One process at a time writes to a folder."""

import contextlib
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

from wsol.errors import InputError

LOCK_FILE = "lock"


class FolderLockedError(InputError):
    """Another process is writing to a folder."""


_held: set[int] = set()  # descriptors of this process's locks


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a folder while the context lasts.

    The operating system releases the lock when the process ends, however it ends.

    Args:
        folder: While it is locked, it has a file ``lock`` that names the process that holds the lock.

    Raises:
        FolderLockedError: Another process holds the lock.
        OSError: ``lock`` cannot be opened; a symbolic link is not followed.
    """
    path = folder / LOCK_FILE
    descriptor = _open_locked(path)
    _held.add(descriptor)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        _held.remove(descriptor)
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    """Return the descriptor of a file, which is locked while the descriptor is open."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            # Not FileLock: it hides its descriptor, to which the holder's name is written, and leaves the file behind.
            is_locked = lock_descriptor(descriptor, blocking=False)
        except OSError as error:  # some network file systems have no locks
            message = f"{path} cannot be locked ({error.strerror}): let no second process write there"
            warnings.warn(message, stacklevel=3)
            is_locked = True
        if not is_locked:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            raise FolderLockedError(f"{path.parent} is being written by {holder}; wait for it, or give another --out")
        with contextlib.suppress(FileNotFoundError):  # the holder may have removed the file between the two calls
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _read_holder(descriptor: int) -> str:
    with contextlib.suppress(OSError):  # Windows does not read a locked file
        return os.read(descriptor, 200).decode(errors="replace") or "another process"
    return "another process"


def _close_inherited() -> None:
    """Close the locks that a forked process inherited, so that they end with the process that holds them."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)
