"""Completion of ``wsol`` in a shell: commands, options, registered names, files and folders."""

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence

from wsol.errors import InputError

_SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
_REGISTRIES = {
    "dataset": "wsol.datasets:DATASETS",
    "model": "wsol.models.base:MODELS",
    "method": "wsol.methods:METHODS",
    "protocol": "wsol.protocols:PROTOCOLS",
    "baseline": "wsol.baselines:BASELINES",
}
_FOLDERS = ("DIR", "RUN")
_FILES = ("FILE", "PHOTO")


def print_completion(commands: Mapping[str, str], argv: Sequence[str] | None) -> None:
    """Print the script that completes ``wsol`` in a shell.

    Args:
        commands: The commands, each with its line of help.
        argv: The name of the shell.

    Raises:
        InputError: The package shtab is not installed, or its version does not know the shell.
    """
    parser = argparse.ArgumentParser("wsol --print-completion", description="Print a completion script for a shell.")
    parser.add_argument("shell", choices=_SHELLS)
    shell = parser.parse_args(argv).shell
    try:
        import shtab  # noqa: PLC0415  # optional
    except ModuleNotFoundError as error:
        raise InputError("completion needs the package shtab; run pip install 'wsol[completion]'") from error
    if shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"this version of shtab has no completion for {shell}; run pip install --upgrade shtab")
    sys.stdout.write(shtab.complete(_make_parser(commands), shell) + "\n")


def _make_parser(commands: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return a parser that has the commands as subcommands, with what ``shtab`` is to offer for their values."""
    import shtab  # noqa: PLC0415  # optional

    parser = argparse.ArgumentParser("wsol")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--print-completion", choices=_SHELLS, help="print a completion script for a shell")
    subparsers = parser.add_subparsers()
    names = {}
    for option, place in _REGISTRIES.items():
        module, registry = place.split(":")
        names[option] = getattr(importlib.import_module(module), registry).names()
    for command, text in commands.items():
        own = importlib.import_module(f"wsol.{command}")._make_parser()
        for action in own._actions:
            if action.dest in names and not action.choices:
                action.choices = names[action.dest]
            elif action.metavar in _FOLDERS or action.dest == "folders":
                action.complete = shtab.DIRECTORY
            elif action.metavar in _FILES:
                action.complete = shtab.FILE
        subparsers.add_parser(command, parents=[own], add_help=False, help=text)
    return parser
