"""``python -m wsol.leaderboard``: collect runs into a leaderboard."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, build the leaderboard and print it."""
    options = _make_parser().parse_args(argv)
    from wsol.leaderboards import leaderboard  # noqa: PLC0415  # torch takes seconds that --help need not wait for

    out = options.out or options.folders[0]
    board = leaderboard(*options.folders, out=out, validate=options.validate, published=options.with_published)
    for sentence in board.left_out:
        print(f"wsol: {sentence}", file=sys.stderr)
    print(board.text)
    print(f"\n{board.summary}, written to {out / 'leaderboard.csv'}, .md and .tex")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wsol.leaderboard", description="Collect runs into a leaderboard.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folders that contain runs, at any depth")
    parser.add_argument(
        "--validate",
        action="store_true",
        help="recompute every row from the stored files of the runs; write nothing if anything does not reproduce",
    )
    parser.add_argument(
        "--with-published",
        type=Path,
        nargs="?",
        default=False,
        const=True,
        metavar="TABLES",
        help="add the published numbers that are bundled with the package, or those of a folder of your own tables",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for leaderboard.csv, .md and .tex (default: the first DIR)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
