"""Names that other people give to files: which of them stay below a folder."""

import os
from pathlib import PurePath


def is_relative_below(name: str) -> bool:
    """Return whether a name is a relative path that does not climb with ``..``."""
    climbs = ".." in name and ".." in PurePath(name).parts
    is_absolute = name.startswith((os.sep, os.altsep or os.sep)) or bool(os.path.splitdrive(name)[0])
    return bool(name) and not climbs and not is_absolute
