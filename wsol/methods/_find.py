"""Methods by name, or from a user's own Python file."""

import inspect
import re
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.io.python_file import run_file
from wsol.methods._refined import refine
from wsol.methods.base import METHODS, Method

_OPTION = "--method takes a registered name or FILE.py:CLASS"
_REGISTERED = re.compile(r"[\w.+-]+(:\w+=.*)?$", re.S)  # a setting may name a file too


def find_method(text: str) -> Method:
    """Find a method by its name or in a file, with settings in place of its defaults: ``rise:masks=1000``.

    Args:
        text: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``, the form of its signature; the settings are those of the method
            and the refinements. A name ``FILE.py:CLASS`` is a subclass of ``Method`` in a Python file, which is run;
            its signature covers the file's content.

    Raises:
        InputError: The name or a setting is unknown, or a value does not have the type of its setting.
    """
    path, in_file, rest = text.partition(".py:")
    if not in_file or _REGISTERED.match(text):
        name, _, settings = text.partition(":")
        return refine(f"method {name}", METHODS.get(name), settings)
    name, _, settings = rest.partition(":")
    file = Path(f"{path}.py")
    return refine(f"method {file.name}:{name}", _load_method(file, name), settings)


def _load_method(path: Path, name: str) -> Method:
    """Return the method of a class in a file, with its defaults."""
    module, digest = _run_once(path, path.stat().st_mtime_ns if path.is_file() else 0)
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        raise InputError(f"{path} has no class {name!r}; {_OPTION}")
    if not issubclass(kind, Method):
        raise InputError(f"{path}: the class {name} is no method; derive it from wsol.methods.Method")
    if missing := [*sorted(kind.__abstractmethods__), *(["needs"] if not hasattr(kind, "needs") else [])]:
        raise InputError(f"{path}: the class {name} has no {' and no '.join(missing)}; define it")
    if not is_dataclass(kind):
        raise InputError(f"{path}: the class {name} is no dataclass; decorate it with @dataclass(frozen=True)")
    shown = f"{printable(path.name).replace('|', '_')}:{name}@{digest[:8]}"
    named = type(name, (kind,), {"name": shown, "__doc__": inspect.getdoc(kind), "__module__": kind.__module__})
    try:
        method: Method = named()
    except Exception as error:  # a setting without a default, or whatever __post_init__ raises
        raise InputError(f"{path}: {name}() raises {type(error).__name__}: {first_line(error)}") from error
    return method


@cache  # a file that also registers its classes would do it again, with a warning
def _run_once(path: Path, _version: int) -> tuple[ModuleType, str]:
    return run_file(path, _OPTION)
