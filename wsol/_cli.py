"""Shared by all commands: exit codes, error messages, and the options that several of them take."""

import argparse
import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from wsol.errors import InputError


def is_first_process() -> bool:
    """Return whether this is the only process, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def run_command(run: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None, together: bool = True) -> int:
    """Run a command and return its exit code: 2 after an input error, which is one sentence on stderr.

    Args:
        run: The command.
        argv: Its arguments; None for those of the process.
        together: Whether the processes of torchrun fail alike, so that the first one speaks for all.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")  # a large photograph or odd EXIF is no fault
    try:
        run(argv)
        sys.stdout.flush()  # while a closed pipe can still be told from an error
    except InputError as error:
        return _print_error(str(error), 2, together)
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that cannot be written
        return _print_error(
            f"{error}; check that the path can be read and written and that the disk has room", 2, together
        )
    except KeyboardInterrupt:
        return _print_error("interrupted", 130, together)
    return 0


@contextlib.contextmanager
def fast_imports() -> Iterator[None]:
    """Import without the garbage collector, which takes a tenth of the time to find nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def add_options(
    parser: argparse.ArgumentParser, names: Collection[str] | None = None, defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Add options of ``wsol.evaluate`` to a parser, in their groups, and return the groups by title.

    Args:
        parser: The parser of a command.
        names: Names of the arguments of ``wsol.evaluate``; None for all.
        defaults: Defaults that differ from those of ``wsol.evaluate``, by name.
    """
    from wsol.evaluation.config import options  # noqa: PLC0415  # wsol.selfcheck must start without NumPy

    groups: dict[str, Any] = {}
    for name, default, option in options():
        if names is not None and name not in names:
            continue
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        value = (defaults or {}).get(name, default)
        more: dict[str, Any] = {"action": "store_true"} if option.is_flag else {"metavar": option.metavar}
        if option.sets is not None:
            more = {"action": "store_const", "const": option.sets, "default": value}
        if option.kinds is dict:
            more |= {"action": _AddPair, "default": {}}
        elif not option.is_flag:
            strings_only = option.kinds is str
            more |= {
                "type": option.parse,
                "choices": option.choices or None if strings_only else None,
                "default": value,
            }
        shown = "" if value is None or option.is_flag or option.kinds is dict else f" (default: {value})"
        flag = option.flag or f"--{name.replace('_', '-')}"
        groups[option.group].add_argument(flag, dest=name, help=option.help + shown, **more)
    return groups


class _AddPair(argparse.Action):
    """Adds ``KEY=VALUE`` to a dictionary."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        key, equals, value = values.partition("=")
        if not equals:
            raise InputError(f"{option_string} {values!r} should be KEY=VALUE")
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), key: value})


def _print_error(sentence: str, code: int, together: bool) -> int:
    if is_first_process() or not together:
        print(f"wsol: {sentence}", file=sys.stderr)
    return code
