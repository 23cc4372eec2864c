"""Methods by name, or from a user's own Python file."""

import inspect
import re
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.io.python_file import run_file
from wsol.methods._own_target import RESERVED, OwnTarget, name_target
from wsol.methods._refined import RefinedMethod, Refinements, refine
from wsol.methods._target import Target, class_score
from wsol.methods.base import METHODS, Method
from wsol.registry import with_settings

_OPTION = "--method takes a registered name or FILE.py:CLASS"
_TARGET_OPTION = "a target is class-score, finer or FILE.py:FUNCTION"
_REGISTERED = re.compile(r"[\w.+-]+(:\w+=.*)?$", re.S)  # a setting may name a file too


def find_method(method: str | Method) -> Method:
    """Find a method by its name or in a file, with settings in place of its defaults: ``rise:masks=1000``.

    Args:
        method: ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``, the form of its signature; the settings are those of the
            method and the refinements. A name ``FILE.py:CLASS`` is a subclass of ``Method`` in a Python file, which is
            run; its signature covers the file's content. A ``Method`` is returned as it is.

    Raises:
        InputError: The name or a setting is unknown, a value does not have the type of its setting, or the method does
            not take a refinement.
    """
    if isinstance(method, Method):
        return method
    path, in_file, rest = method.partition(".py:")
    if not in_file or _REGISTERED.match(method):
        name, _, settings = method.partition(":")
        return _with_settings(f"method {name}", METHODS.get(name), settings)
    name, _, settings = rest.partition(":")
    file = Path(f"{path}.py")
    return _with_settings(f"method {file.name}:{name}", _load_method(file, name), settings)


def with_target(method: str | Method, target: Target, name: str | None = None) -> Method:
    """Return a method whose maps explain a function of the class scores, in place of the class score.

    Args:
        method: As for ``find_method``, without another target.
        target: Differentiable function from class scores, float ``(n, classes)``, and classes of interest, int64
            ``(n, k)``, to numbers ``(n, k)``. Each row depends on the same row of the scores alone. The scores may be
            those of changed copies of an image, in any number.
        name: Name in the signature, which then stands for all that the function does. None for its own name with the
            hash of its source, which does not cover what it reads outside of it.

    Raises:
        InputError: The method is unknown, takes no target or has one, or the target has no name that tells what it
            does.
    """
    found, name = find_method(method), name_target(target, name)
    if target is class_score:
        return found
    plain, refinements = found, Refinements()
    if isinstance(found, RefinedMethod):
        plain, refinements = found.method, found.refinements
    if refinements.target != Refinements.target:
        raise InputError(f"{found.name} has the target {refinements.target} already; leave out one of the two")
    return refine(plain, replace(refinements, target=name), OwnTarget(name, target))


def _with_settings(title: str, method: Method, settings: str) -> Method:
    """Return a method with settings of its own, which hide refinements of the same name, and with refinements."""
    own = [each.name for each in fields(method)]  # type: ignore[arg-type]  # all methods are dataclasses
    general = [each.name for each in fields(Refinements) if each.name not in own]
    pairs = settings.split(",") if settings else []
    chosen = [pair for pair in pairs if pair.partition("=")[0] in general]
    if unknown := [pair for pair in pairs if pair.partition("=")[0] not in [*own, *general]]:
        raise InputError(f"{title}: unknown setting {unknown[0]!r:.80}; it takes {', '.join([*own, *general])}")
    method = with_settings(title, method, ",".join(pair for pair in pairs if pair not in chosen))
    refinements = with_settings(title, Refinements(), ",".join(chosen))
    if refinements.target in RESERVED:
        return refine(method, refinements)
    target = _load_target(refinements.target)
    return refine(method, replace(refinements, target=target.name), target)


def _load_target(text: str) -> OwnTarget:
    """Return the target ``FILE.py:FUNCTION``."""
    path, in_file, name = text.partition(".py:")
    if not in_file:
        raise InputError(f"unknown target {text!r:.80}; known: {', '.join(RESERVED)}, FILE.py:FUNCTION")
    file = Path(f"{path}.py")
    module, digest = _run_once(file, _version_of(file), _TARGET_OPTION)
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        raise InputError(f"{file} has no function {name!r}; {_TARGET_OPTION}")
    return OwnTarget(f"{_show(file)}:{name}@{digest[:8]}", function)


def _load_method(path: Path, name: str) -> Method:
    """Return the method of a class in a file, with its defaults."""
    module, digest = _run_once(path, _version_of(path), _OPTION)
    kind = getattr(module, name, None)
    if not isinstance(kind, type):
        raise InputError(f"{path} has no class {name!r}; {_OPTION}")
    if not issubclass(kind, Method):
        raise InputError(f"{path}: the class {name} is no method; derive it from wsol.methods.Method")
    if missing := [*sorted(kind.__abstractmethods__), *(["needs"] if not hasattr(kind, "needs") else [])]:
        raise InputError(f"{path}: the class {name} has no {' and no '.join(missing)}; define it")
    if not is_dataclass(kind):
        raise InputError(f"{path}: the class {name} is no dataclass; decorate it with @dataclass(frozen=True)")
    shown = f"{_show(path)}:{name}@{digest[:8]}"
    named = type(name, (kind,), {"name": shown, "__doc__": inspect.getdoc(kind), "__module__": kind.__module__})
    try:
        method: Method = named()
    except Exception as error:  # a setting without a default, or whatever __post_init__ raises
        raise InputError(f"{path}: {name}() raises {type(error).__name__}: {first_line(error)}") from error
    return method


def _show(path: Path) -> str:
    """Return a file's name without what has a meaning in a signature."""
    return re.sub(r"[|,]", "_", printable(path.name))


def _version_of(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@cache  # a file that also registers its classes would do it again, with a warning
def _run_once(path: Path, _version: int, option: str) -> tuple[ModuleType, str]:
    return run_file(path, option)
