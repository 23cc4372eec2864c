"""``python -m wsol.score``: score stored runs, external score maps or boxes, or a baseline."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import add_options, run_command
from wsol.evaluation.config import IMAGES, RUN


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, score, print the table."""
    arguments = vars(_make_parser().parse_args(argv))
    from wsol.evaluation.folders import scoring_folder  # noqa: PLC0415
    from wsol.evaluation.score import score  # noqa: PLC0415  # pandas takes a second that --help need not wait for
    from wsol.reports.terminal import format_run  # noqa: PLC0415

    arguments["out"] = arguments["out"] or scoring_folder(arguments)
    print(format_run(score(**arguments), arguments["out"]))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wsol.score", description="Score maps or boxes without running a network.")
    source = parser.add_argument_group("what is scored (exactly one of these)")
    source.add_argument("--run", type=Path, metavar="RUN", help="folder that wsol.eval wrote; needs no data set")
    source.add_argument(
        "--maps",
        type=Path,
        metavar="DIR",
        help="folder of IMAGE_ID.npy, 224 x 224 in [0, 1]; or an .npz file, or one "
        "per image with the arrays maps and classes",
    )
    source.add_argument(
        "--boxes", type=Path, metavar="FILE", help="CSV file (image_id,x0,y0,x1,y1), or results in COCO's JSON format"
    )
    source.add_argument("--baseline", metavar="NAME", help="registered name; see python -m wsol.list baselines")
    files = parser.add_argument_group("how files are read")
    files.add_argument("--val-maps", type=Path, metavar="DIR", help="score maps of the split val, for --tau val")
    files.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="CSV or Parquet file (image_id,rank,class) of the classes that another classifier predicts",
    )
    files.add_argument("--val-predictions", type=Path, metavar="FILE", help="the same for --val-maps")
    files.add_argument(
        "--raw", action="store_true", help="the maps are a network's own output, for the protocol to upsample"
    )
    files.add_argument(
        "--corners",
        choices=("edges", "inclusive", "one-based"),
        help="corner convention of a CSV file (default: that of the data set)",
    )
    files.add_argument(
        "--skip-bad", action="store_true", help="list unusable entries and leave their images out instead of stopping"
    )
    shared = (
        "dataset",
        "data_root",
        "dataset_args",
        "limit",
        "exact_images",
        "protocol",
        "tau",
        "bootstrap",
        "workers",
        "attribution",
        "val_boxes",
    )
    groups = add_options(parser, shared, {"dataset": None})
    groups[IMAGES].add_argument(
        "--split",
        choices=("test", "val"),
        help="split of the data set (default: test, or the split that the metadata folder is named after)",
    )
    groups[IMAGES].add_argument(
        "--metadata", type=Path, metavar="DIR", help="folder of lists in the format of Choe et al."
    )
    parser.add_argument_group(RUN).add_argument(
        "--out", type=Path, metavar="DIR", help="run folder (default: results/ and a name from the options)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
