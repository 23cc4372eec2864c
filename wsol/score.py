"""``python -m wsol.score``: score what a run stored, what was made elsewhere, or a baseline."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import pair, run_command, tau


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and returns its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse arguments, scores, prints the table."""
    options = _parser().parse_args(argv)
    from wsol.evaluation.score import score  # noqa: PLC0415
    from wsol.reports.terminal import format_run  # noqa: PLC0415  # pandas takes a second that --help need not wait for

    given = vars(options)
    given["dataset_args"] = dict(map(pair, given.pop("dataset_arg")))
    source = Path(str(options.run or options.maps or options.boxes or options.baseline or "run")).stem
    given["out"] = given["out"] or Path("results") / f"score-{source}-{options.protocol.replace(':', '-')}"
    evaluation = score(**given)
    print(format_run(evaluation.run, evaluation.metrics, evaluation.baselines, given["out"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wsol.score", description="Score maps or boxes without running a network.")
    what = parser.add_argument_group("what is scored (one of these)")
    what.add_argument("--run", type=Path, metavar="RUN", help="folder that wsol.eval wrote; needs no data set")
    what.add_argument(
        "--maps", type=Path, metavar="DIR", help="folder of IMAGE_ID.npy, 224 x 224 in [0, 1]; or an .npz"
    )
    what.add_argument("--boxes", type=Path, metavar="FILE", help="CSV (image_id,x0,y0,x1,y1) or COCO's results as JSON")
    what.add_argument("--baseline", metavar="B", help="see python -m wsol.list baselines")
    images = parser.add_argument_group("against what")
    images.add_argument("--dataset", help="see python -m wsol.list datasets")
    images.add_argument("--metadata", type=Path, metavar="DIR", help="folder of lists in the format of Choe et al.")
    images.add_argument("--data-root", type=Path, help="folder of the data set (default: datasets/NAME)")
    images.add_argument(
        "--dataset-arg", action="append", default=[], metavar="KEY=VALUE", help="an argument of the data set"
    )
    images.add_argument(
        "--split", choices=("test", "val"), help="(default: test, or what the metadata folder is named)"
    )
    images.add_argument("--limit", type=int, metavar="N", help="at most N images, evenly spaced")
    how = parser.add_argument_group("how")
    how.add_argument("--protocol", default="wsolevaluation", help="NAME or NAME:KEY=VALUE,... (default: %(default)s)")
    how.add_argument("--tau", type=tau, default=0.2, help="a number, val or oracle (default: %(default)s)")
    how.add_argument("--val-maps", type=Path, metavar="DIR", help="maps of the split val, for --tau val")
    how.add_argument("--raw", action="store_true", help="maps are a network's own: the protocol upsamples them")
    how.add_argument(
        "--corners",
        choices=("edges", "inclusive", "one-based"),
        help="what the numbers of a CSV file mean (default: what those of the data set mean)",
    )
    how.add_argument("--skip-bad", action="store_true", help="name bad entries, leave their images out and go on")
    how.add_argument("--workers", type=int, metavar="N", help="threads (default: one a processor)")
    how.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: results/score-WHAT-PROTOCOL)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
