"""``python -m wsol.select``: evaluate the best of several weights files."""

import argparse
import sys
from collections.abc import Sequence

from wsol._cli import add_options, fast_imports, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, select, print the choice and the table of the chosen run."""
    arguments = vars(_make_parser().parse_args(argv))
    with fast_imports():
        from wsol.evaluation.folders import selection_folder  # noqa: PLC0415
        from wsol.evaluation.selection import format_selection, select  # noqa: PLC0415  # torch takes seconds
        from wsol.reports.terminal import format_run  # noqa: PLC0415
        from wsol.runtime.distributed import process_group  # noqa: PLC0415

    arguments["out"] = arguments["out"] or selection_folder(arguments)
    selection = select(**arguments)
    if process_group().is_main:
        print(format_selection(selection))
        print()
        print(format_run(selection.evaluation, selection.folder))


def _make_parser() -> argparse.ArgumentParser:
    from wsol.evaluation.config import options  # noqa: PLC0415  # as in add_options

    parser = argparse.ArgumentParser(
        "wsol.select",
        description="Evaluate several weights files on the validation split, and the best of them on the test split.",
    )
    parser.add_argument(
        "weights", nargs="+", metavar="WEIGHTS", help="weights file or name of published weights; give at least two"
    )
    parser.add_argument(
        "--by",
        default="gt_known_loc_acc",
        metavar="METRIC",
        help="metric that decides, at its best tau on the validation split; see python -m wsol.list metrics (default: "
        "gt_known_loc_acc)",
    )
    add_options(parser, {name for name, _, _ in options()} - {"weights", "split"})
    return parser


if __name__ == "__main__":
    sys.exit(main())
