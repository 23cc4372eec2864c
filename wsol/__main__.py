"""The console script ``wsol``: each command as a subcommand."""

import difflib
import importlib
import sys
from functools import partial

import wsol
from wsol._cli import run_command
from wsol._completion import print_completion

_COMMANDS = {
    "eval": "evaluate how well a classifier's score maps localize objects",
    "score": "score maps or boxes without running a network",
    "select": "evaluate the best of several weights files, chosen on the validation split",
    "compare": "compare runs on the same images, with significance tests",
    "leaderboard": "collect runs into a leaderboard",
    "faithfulness": "measure how the class probability follows changes of the image that its map chooses",
    "explain": "draw the score maps of a classifier over photos",
    "train": "train a classifier on image labels alone",
    "search": "find the settings of training methods by random trials on the validation split",
    "list": "list the data sets, models, methods, protocols, metrics and baselines",
    "selfcheck": "check that this installation computes the right numbers",
}


def main() -> int:
    """Run ``wsol COMMAND ...`` as ``python -m wsol.COMMAND ...`` does."""
    command, *rest = sys.argv[1:] or [""]
    if command in _COMMANDS:
        return int(importlib.import_module(f"wsol.{command}").main(rest))
    if command == "--version":
        print(f"wsol {wsol.__version__}")
        return 0
    if command == "--print-completion":
        return run_command(partial(print_completion, _COMMANDS), rest)
    if command in ("-h", "--help"):
        print(_format_help())
        return 0
    if command:
        similar = difflib.get_close_matches(command, _COMMANDS, n=2)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"known: {', '.join(_COMMANDS)}"
        print(f"wsol: unknown command {command!r:.80}; {hint}", file=sys.stderr)
    else:
        print(_format_help(), file=sys.stderr)
    return 2


def _format_help() -> str:
    options = {
        "--version": "print the version",
        "--print-completion SHELL": "print a completion script: bash, zsh, fish, tcsh or powershell",
        "--help": "print this help",
    }
    width = max(map(len, [*_COMMANDS, *options]))
    lines = [f"  {name:<{width}}  {text}" for name, text in _COMMANDS.items()]
    usage = "usage: wsol COMMAND ...\n\nThe evaluation benchmark for weakly supervised object localization."
    more = "`wsol COMMAND --help` lists the options of a command, which `python -m wsol.COMMAND` runs as well."
    option_lines = [f"  {name:<{width}}  {text}" for name, text in options.items()]
    return "\n".join([usage, "", "commands:", *lines, "", "options:", *option_lines, "", more])


if __name__ == "__main__":
    sys.exit(main())
