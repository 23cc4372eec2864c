"""``python -m wsol.compare``: compare runs on the same images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import run_command
from wsol.io.paths import file_name

_MAX_BYTES = 200  # of the name of the default folder


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse arguments, compare the runs and print the table."""
    options = _make_parser().parse_args(argv)
    from wsol.comparison.compare import compare  # noqa: PLC0415  # pandas takes a second that --help need not wait for
    from wsol.comparison.groups import parse_arguments  # noqa: PLC0415
    from wsol.comparison.terminal import format_comparison  # noqa: PLC0415

    runs = parse_arguments(options.runs)
    names = runs if isinstance(runs, dict) else [Path(run).resolve().name for run in runs]
    name = file_name("compare", *names)
    out = options.out or Path("results") / name.encode()[:_MAX_BYTES].decode(errors="ignore")
    comparison = compare(runs, out=out)
    print(
        format_comparison(
            comparison.signature,
            comparison.notes,
            comparison.runs,
            comparison.metrics,
            comparison.differences,
            comparison.images_found_only_by,
            out,
        )
    )


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.compare", description="Compare runs on the same images: metrics, paired differences and ranks."
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folder of wsol.eval or wsol.score; give at least two, or NAME=RUN,RUN,... for runs that differ in "
        "the seed of the training alone, which are averaged",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the comparison (default: results/compare-RUN-RUN...)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
