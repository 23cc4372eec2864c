"""``python -m wsol.eval``: evaluate a model on a data set."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from wsol._cli import pair, run_command, tau
from wsol.errors import InputError
from wsol.io.paths import file_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and returns its exit code: 1 where a run of a suite failed."""
    failed: list[str] = []
    return run_command(partial(_run, failed), argv) or int(bool(failed))


def _run(failed: list[str], argv: Sequence[str] | None) -> None:
    """Parse arguments, evaluates, prints the table."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.suite:
        given = vars(parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(options)))))  # without defaults
        _run_suite(failed, **{name: value for name, value in given.items() if value is not None})
        return
    from wsol.evaluation.evaluate import evaluate  # noqa: PLC0415  # torch takes seconds that --help need not wait for
    from wsol.reports.terminal import format_run  # noqa: PLC0415
    from wsol.runtime.distributed import process_group  # noqa: PLC0415

    given = vars(options)
    del given["suite"]
    if given.pop("only"):
        raise InputError("--only takes a part of a suite; give --suite")
    given["dataset_args"] = dict(map(pair, options.dataset_args))
    network = options.model or Path(options.weights or "model").stem
    given["out"] = given["out"] or Path("results") / file_name(options.dataset, options.split, network, options.method)
    evaluation = evaluate(**given)
    if process_group().is_main:
        print(format_run(evaluation.run, evaluation.metrics, evaluation.baselines, given["out"]))


def _run_suite(failed: list[str], *, suite: Path, only: str = "1/1", resume: bool = True, **others: object) -> None:
    """Run a suite, prints its table; ``others`` were given beside it."""
    if others:
        raise InputError(f"beside --suite, {' and '.join(others)} cannot be given; write it into {suite}")
    from wsol.evaluation.suite import run_suite, suite_report  # noqa: PLC0415
    from wsol.runtime.distributed import process_group  # noqa: PLC0415

    table = run_suite(suite, only)
    if process_group().is_main:  # if another ended with an error too, torchrun might stop this one before it has spoken
        print(suite_report(table))
        failed += [*table.loc[table["state"] == "failed", "folder"]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wsol.eval", description="Evaluate how well a classifier localizes objects.")
    parser.add_argument("--model", help="see python -m wsol.list models (default: what the weights file names)")
    parser.add_argument(
        "--weights", help=".safetensors, .pth or .caffemodel file, or a published name (default: those that come along)"
    )
    parser.add_argument(
        "--dataset", default="synthetic", help="see python -m wsol.list datasets (default: %(default)s)"
    )
    parser.add_argument("--data-root", type=Path, help="folder of the data set (default: datasets/NAME)")
    parser.add_argument(
        "--dataset-arg",
        dest="dataset_args",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the data set",
    )
    parser.add_argument("--download", action="store_true", help="fetch the data set first, where its host allows it")
    parser.add_argument("--split", default="test", choices=("test", "val"), help="(default: %(default)s)")
    parser.add_argument(
        "--method",
        default="cam",
        help="NAME or NAME:KEY=VALUE,..., see python -m wsol.list methods (default: %(default)s)",
    )
    parser.add_argument("--layer", help="target layer by its dotted name (default: found)")
    parser.add_argument(
        "--map-size", type=int, metavar="SIDE", help="side of the maps at 224 (default: the model's own)"
    )
    parser.add_argument(
        "--protocol", default="wsolevaluation", help="NAME or NAME:KEY=VALUE,... (default: %(default)s)"
    )
    parser.add_argument("--tau", type=tau, default=0.2, help="a number, val or oracle (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N images, evenly spaced")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="images in a batch (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads for images and boxes (default: one a processor)"
    )
    parser.add_argument(
        "--memory", type=float, default=2.0, metavar="GIB", help="what the method may use (default: %(default)s)"
    )
    parser.add_argument(
        "--precision", default="float32", choices=("float32", "bfloat16"), help="(default: %(default)s)"
    )
    parser.add_argument("--channels-last", action="store_true", help="lay out convolutions for channels last")
    parser.add_argument("--compile", dest="compiled", action="store_true", help="compile the network first")
    parser.add_argument("--skip-bad-images", action="store_true", help="count and list unreadable images and go on")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder (default: results/DATASET-SPLIT-MODEL-METHOD)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished run in the run folder")
    parser.add_argument(
        "--suite", type=Path, metavar="FILE", help="evaluate a grid of runs, a TOML file that holds all other options"
    )
    parser.add_argument("--only", metavar="K/N", help="every N-th run of the suite from the K-th, K from 1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
