"""``python -m wsol.eval``: evaluate a model on a data set."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wsol._cli import add_options, fast_imports, run_command
from wsol.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 if a run of a suite failed."""
    failed: list[str] = []
    return run_command(partial(_run, failed), argv) or int(bool(failed))


def _run(failed: list[str], argv: Sequence[str] | None) -> None:
    """Parse the arguments, evaluate, print the table."""
    parser = _make_parser()
    arguments = vars(parser.parse_args(argv))
    if arguments["suite"]:
        given = vars(parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(arguments))))  # without defaults
        _run_suite(failed, **{name: value for name, value in given.items() if value is not None})
        return
    del arguments["suite"]
    if arguments.pop("only"):
        raise InputError("--only selects runs of a suite; give --suite")
    with fast_imports():
        from wsol.evaluation.kernels import start_compiling  # noqa: PLC0415  # takes half a second

        start_compiling(arguments["protocol"])  # while torch is imported
        from wsol.evaluation.config import EvalConfig  # noqa: PLC0415
        from wsol.evaluation.evaluate import run  # noqa: PLC0415  # torch takes seconds that --help need not wait for
        from wsol.evaluation.folders import evaluation_folder  # noqa: PLC0415
        from wsol.reports.terminal import format_run  # noqa: PLC0415
        from wsol.runtime.distributed import process_group  # noqa: PLC0415

    arguments["out"] = arguments["out"] or evaluation_folder(arguments)
    evaluation = run(EvalConfig(**arguments), _print_start)
    if process_group().is_main:
        print(format_run(evaluation, arguments["out"]))


def _print_start(plan: Any) -> None:
    from wsol.evaluation.start import describe_start  # noqa: PLC0415

    for sentence in describe_start(plan):
        print(f"wsol: {sentence}", file=sys.stderr, flush=True)


def _run_suite(failed: list[str], *, suite: Path, only: str = "1/1", resume: bool = True, **others: object) -> None:
    """Run a suite and print its table; ``others`` are options that only a single run takes."""
    if others:
        raise InputError(f"with --suite, {' and '.join(others)} cannot be given; write it into {suite}")
    from wsol.evaluation.suite import format_suite, run_suite  # noqa: PLC0415
    from wsol.runtime.distributed import process_group  # noqa: PLC0415

    table = run_suite(suite, only)
    if process_group().is_main:  # if another process also exits with an error, torchrun might stop this one first
        print(format_suite(table))
        failed += [*table.loc[table["state"] == "failed", "folder"]]


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.eval", description="Evaluate how well a classifier's score maps localize objects."
    )
    add_options(parser)
    suite = parser.add_argument_group("several runs")
    suite.add_argument(
        "--suite", type=Path, metavar="FILE", help="evaluate the grid of runs in a TOML file, which holds all options"
    )
    suite.add_argument("--only", metavar="K/N", help="evaluate every N-th run of the suite from the K-th (K from 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
