"""``python -m wsol.explain``: the photo, and the map and box of each of the first classes laid over it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import pair, run_command
from wsol.errors import InputError
from wsol.visualization.explain import explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and returns its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse arguments, writes pictures, prints a line for each."""
    given = vars(_parser().parse_args(argv))
    model, weights, compared = given.pop("model"), given.pop("weights"), given.pop("compare_models")
    if compared and (model or weights):
        raise InputError("give --model or --compare-models; the latter has weights as NAME=WEIGHTS")
    given["networks"] = networks(compared) if compared else [(model, weights)]
    method, several = given.pop("method"), given.pop("compare_methods")
    given["methods"] = methods(several) if several else [method]
    given["dataset_args"] = dict(map(pair, given.pop("dataset_arg")))
    encoding = sys.stdout.encoding or "utf-8"
    for line in explain(**given):
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def networks(text: str) -> list[tuple[str | None, str | None]]:
    """Read names and weights: ``NAME``, ``NAME=WEIGHTS`` or ``=WEIGHTS``, with commas between."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return [(name or None, weights or None) for name, _, weights in pairs]


def methods(text: str) -> list[str]:
    """Read methods with commas between; ``KEY=VALUE`` behind a comma is a setting of the method before."""
    found: list[str] = []
    for part in text.split(","):
        if found and "=" in part and ":" not in part:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wsol.explain", description="Show what a classifier looks at in a photo.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a photo, a folder, or an image id of the data set")
    model = parser.add_argument_group("what looks")
    model.add_argument("--model", help="see python -m wsol.list models (default: what the weights file names)")
    model.add_argument(
        "--weights", help=".safetensors, .pth or .caffemodel file, or a published name (default: those that come along)"
    )
    model.add_argument("--layer", help="target layer by its dotted name (default: found)")
    model.add_argument(
        "--map-size", type=int, metavar="SIDE", help="side of the maps at 224 (default: the model's own)"
    )
    model.add_argument(
        "--method",
        default="cam",
        help="NAME or NAME:KEY=VALUE,..., see python -m wsol.list methods (default: %(default)s)",
    )
    model.add_argument("--compare-models", metavar="NAME[=WEIGHTS],...", help="one row a model, instead of --model")
    model.add_argument("--compare-methods", metavar="NAME,...", help="one row a method, instead of --method")
    model.add_argument("--device", default="auto", help="auto, cpu, cuda ... (default: %(default)s)")
    model.add_argument(
        "--memory", type=float, default=2.0, metavar="GIB", help="what the method may use (default: %(default)s)"
    )
    images = parser.add_argument_group("where class names and true boxes come from")
    images.add_argument("--dataset", help="see python -m wsol.list datasets")
    images.add_argument("--data-root", type=Path, help="folder of the data set (default: datasets/NAME)")
    images.add_argument(
        "--dataset-arg", action="append", default=[], metavar="KEY=VALUE", help="an argument of the data set"
    )
    images.add_argument("--split", default="test", choices=("test", "val"), help="(default: %(default)s)")
    images.add_argument("--skip-bad-images", action="store_true", help="name unreadable images and go on")
    picture = parser.add_argument_group("the picture")
    picture.add_argument("--top", type=int, default=5, metavar="K", help="classes in a row (default: %(default)s)")
    picture.add_argument(
        "--protocol", default="wsolevaluation", help="NAME or NAME:KEY=VALUE,... (default: %(default)s)"
    )
    picture.add_argument("--tau", type=float, default=0.2, help="threshold of the boxes (default: %(default)s)")
    picture.add_argument("--cmap", default="inferno", help="colour map of Matplotlib (default: %(default)s)")
    picture.add_argument(
        "--alpha", type=float, default=0.6, help="what the map has of an overlay, 0 to 1 (default: %(default)s)"
    )
    picture.add_argument("--save-maps", action="store_true", help="write raw maps, classes and boxes beside it (.npz)")
    picture.add_argument(
        "--out", type=Path, default=Path("results/explain"), metavar="DIR", help="folder (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
