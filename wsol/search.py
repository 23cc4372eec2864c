"""``python -m wsol.search``: find the settings of training methods by random trials, and evaluate the best ones."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import is_first_process, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv, together=False)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, search, and print the tables."""
    options = _make_parser().parse_args(argv)
    from wsol.searches.search import search  # noqa: PLC0415  # torch takes seconds to import
    from wsol.searches.terminal import format_search  # noqa: PLC0415

    found = search(options.file, out=options.out)
    if is_first_process():
        print(format_search(found))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.search",
        description="Find the settings of training methods by random trials that are chosen on the validation split, "
        "and evaluate the best ones with several seeds on the test split. The same command again, or in several "
        "processes at once, does what remains.",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="TOML file with networks, training methods and the ranges to draw from"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the search (default: the one that FILE names, or results/FILE)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
