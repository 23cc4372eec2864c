"""Files that appear whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

PART = ".part"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a path to write to; the file appears under ``path`` only once it is complete."""
    part = path.with_name(path.name + PART)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
