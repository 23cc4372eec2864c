"""``python -m wsol.compare``: hold runs against each other."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import run_command
from wsol.io.paths import file_name

_LONGEST = 200  # bytes of a folder's name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and returns its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse arguments, compares, prints the table."""
    options = _parser().parse_args(argv)
    from wsol.comparison.compare import compare  # noqa: PLC0415  # pandas takes a second that --help need not wait for
    from wsol.comparison.terminal import format_comparison  # noqa: PLC0415

    name = file_name("compare", *(run.resolve().name for run in options.runs))
    out = options.out or Path("results") / name.encode()[:_LONGEST].decode(errors="ignore")
    found = compare(options.runs, out=out)
    tables = found.runs, found.metrics, found.differences
    print(format_comparison(found.signature, found.notes, *tables, found.found, out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wsol.compare", description="Hold runs on the same images against each other.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder that wsol.eval or wsol.score wrote")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: results/compare-RUN-RUN...)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
