"""A user's own Python file, which ``FILE.py:NAME`` refers to. It is run, so no stored file may name it."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from wsol.errors import InputError, first_line


def run_file(path: Path, option: str) -> tuple[ModuleType, str]:
    """Run a Python file.

    Args:
        path: The file; it may import the files next to it.
        option: What the option takes, for messages: ``--model takes FILE.py:FUNCTION``.

    Returns:
        The module, and the SHA-256 (hex) of the file.

    Raises:
        InputError: There is no such file, or it raises.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}; {option}")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    module = ModuleType(f"{path.stem}_{digest[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for the names in their annotations
    sys.path.insert(0, str(path.parent))
    try:
        exec(compile(content, path, "exec"), vars(module))  # the bytes of the digest, not a cached compilation
    except (Exception, SystemExit) as error:  # a user's own code may raise anything
        raise InputError(f"{path} raises {type(error).__name__}: {first_line(error)}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module, digest
