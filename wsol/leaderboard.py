"""``python -m wsol.leaderboard``: collect runs into a leaderboard."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsol._cli import run_command
from wsol.errors import InputError

if TYPE_CHECKING:
    from wsol.leaderboards import Leaderboard


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, build the leaderboard and print it."""
    options = _make_parser().parse_args(argv)
    from wsol.leaderboards import leaderboard  # noqa: PLC0415  # torch takes seconds that --help need not wait for

    out = options.out or options.folders[0]
    board = leaderboard(
        *options.folders,
        out=out,
        validate=options.validate,
        published=options.with_published,
        all_published=options.all_published,
    )
    for sentence in (*board.left_out, *board.notes):
        print(f"wsol: {sentence}", file=sys.stderr)
    print(board.text)
    print(f"\n{board.summary}, written to {out / 'leaderboard.csv'}, .md and .tex")
    if options.validate:
        count = sum(row["kind"] == "measured" for row in board.rows)
        print(f"validated: all tables of {count} run{'s' * (count != 1)} were recomputed from the stored files")
    if options.export:
        kind, folder = options.export
        _export(board, kind, folder, options.hf_dataset)


def _export(board: "Leaderboard", kind: str, folder: str, dataset: str | None) -> None:
    """Write the files of an export and print where they belong."""
    if kind != "hf":
        raise InputError(f"unknown export {kind!r:.80}; known: hf")
    for sentence in board.export_hugging_face(folder, *filter(None, [dataset])):
        print(f"wsol: {sentence}", file=sys.stderr)
    if not dataset:
        print(
            "wsol: the exported files name the benchmark OWNER/NAME; give --hf-dataset to put its repository there",
            file=sys.stderr,
        )
    print(f"Evaluation results for the Hugging Face Hub, written to {folder}: benchmark/eval.yaml belongs into the")
    print("repository of the data set, models/MODEL/.eval_results/ into that of the model")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wsol.leaderboard", description="Collect runs into a leaderboard.")
    parser.add_argument(
        "folders",
        type=Path,
        nargs="*",
        default=[Path("results")],
        metavar="DIR",
        help="folders that contain runs, at any depth (default: results)",
    )
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
        help="add the published numbers with the images, protocol and normalization of a run: those that are bundled "
        "with the package, or those of a folder of your own tables",
    )
    parser.add_argument(
        "--all-published",
        action="store_true",
        help="also add published numbers on the same data set that differ from the runs, and say in what",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for leaderboard.csv, .md and .tex (default: the first DIR)"
    )
    parser.add_argument(
        "--export",
        nargs=2,
        metavar=("FORMAT", "DIR"),
        help="also write the rows in another format into a new folder; hf: evaluation results for the Hugging Face Hub",
    )
    parser.add_argument(
        "--hf-dataset",
        metavar="OWNER/NAME",
        help="data set repository on the Hub that holds the benchmark, for --export hf",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
