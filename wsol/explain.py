"""``python -m wsol.explain``: draw photos with the class activation map and box of each top class."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import add_options, run_command
from wsol.errors import InputError
from wsol.visualization.explain import explain


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse arguments, write the figures and print one line per photo."""
    options = vars(_make_parser().parse_args(argv))
    model, weights, several_models = options.pop("model"), options.pop("weights"), options.pop("compare_models")
    if several_models and (model or weights):
        raise InputError("--compare-models excludes --model and --weights; give weights as NAME=WEIGHTS")
    options["networks"] = parse_networks(several_models) if several_models else [(model, weights)]
    method, several_methods = options.pop("method"), options.pop("compare_methods")
    options["methods"] = parse_methods(several_methods) if several_methods else [method]
    options["dataset_args"] = dict(options["dataset_args"])
    encoding = sys.stdout.encoding or "utf-8"
    for line in explain(**options):
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def parse_networks(text: str) -> list[tuple[str | None, str | None]]:
    """Parse names and weights separated by commas: ``NAME``, ``NAME=WEIGHTS`` or ``=WEIGHTS``."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return [(name or None, weights or None) for name, _, weights in pairs]


def parse_methods(text: str) -> list[str]:
    """Parse methods separated by commas; ``KEY=VALUE`` after a comma is a setting of the method before it."""
    methods: list[str] = []
    for part in text.split(","):
        if methods and (("=" in part and ":" not in part) or part.startswith("target=")):
            methods[-1] += f",{part}"
        elif part:
            methods.append(part)
    return methods


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.explain", description="Draw the score maps of a classifier over photos, one map per predicted class."
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a photo, a folder, or an image id of the data set")
    network = ("model", "weights", "layer", "output", "map_size", "method", "device", "memory")
    add_options(parser, (*network, "class_names", "templates"))
    rows = parser.add_argument_group("several networks or methods")
    rows.add_argument("--compare-models", metavar="NAME[=WEIGHTS],...", help="one row per model, in place of --model")
    rows.add_argument("--compare-methods", metavar="NAME,...", help="one row per method, in place of --method")
    names = ("dataset", "data_root", "dataset_args", "split", "skip_bad_images")
    add_options(parser, (*names, "protocol"), {"dataset": None})
    figure = parser.add_argument_group("figure")
    figure.add_argument("--tau", type=float, default=0.2, help="threshold of the boxes (default: %(default)s)")
    classes = figure.add_mutually_exclusive_group()
    classes.add_argument("--top", type=int, default=5, metavar="K", help="classes per row (default: %(default)s)")
    classes.add_argument(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME_OR_NUMBER",
        help="draw the map of this class instead of the top classes; may be repeated",
    )
    figure.add_argument("--cmap", default="inferno", help="Matplotlib colormap of the maps (default: %(default)s)")
    figure.add_argument(
        "--alpha", type=float, default=0.6, help="opacity of the map over the photo, 0 to 1 (default: %(default)s)"
    )
    figure.add_argument(
        "--save-maps", action="store_true", help="write raw maps, classes and boxes next to the figure (.npz)"
    )
    figure.add_argument(
        "--out", type=Path, default=Path("results/explain"), metavar="DIR", help="folder (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
