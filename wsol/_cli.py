"""What all commands share: an input error is one sentence on stderr and exit code 2."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from wsol.errors import InputError


def run_command(run: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None) -> int:
    """Run a command and returns its exit code."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # a large photograph or odd EXIF is no fault
    try:
        run(argv)
        sys.stdout.flush()  # while a closed pipe can still be told from an error
    except InputError as error:
        return _said(str(error), 2)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that cannot be written
        return _said(f"{error}; check that the path can be read and written and that the disk has room", 2)
    except KeyboardInterrupt:
        return _said("interrupted", 130)
    return 0


def _said(sentence: str, code: int) -> int:
    if os.environ.get("RANK", "0") == "0":  # of several processes all fail alike, and one says so
        print(f"wsol: {sentence}", file=sys.stderr)
    return code


def pair(text: str) -> tuple[str, str]:
    """Split KEY=VALUE.

    Raises:
        InputError: There is no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--dataset-arg {text!r} should be KEY=VALUE")
    return key, value


def tau(text: str) -> float | str:
    """Read a threshold: a number, ``val`` or ``oracle``."""
    try:
        return text if text in ("val", "oracle") else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is none of: a number, val, oracle") from error
