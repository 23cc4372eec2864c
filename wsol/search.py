"""``python -m wsol.search``: find the settings of training methods by random trials, and evaluate the best ones."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import is_first_process, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv, together=False)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, search, and print the tables."""
    options = _make_parser().parse_args(argv)
    from wsol.searches.search import search  # noqa: PLC0415  # torch takes seconds to import
    from wsol.searches.terminal import format_search  # noqa: PLC0415

    found = search(options.file, out=options.out)
    if is_first_process():
        print(format_search(found))


_EXAMPLE = """example of FILE; docs/search.md and python -m pydoc wsol.searches.search describe all keys:

  dataset = "cub"
  data_root = "/data/CUB_200_2011"
  trials = 30                                         # of each network and method
  seeds = 3                                           # trainings with the best settings, evaluated on test
  models = ["resnet50-gap", "vgg16-gap"]

  [training]                                          # options of wsol.train; a table is a range
  weights = "IMAGENET1K_V1"
  learning_rate = { log-uniform = [1e-5, 1] }

  [train_methods.cam]                                 # no settings

  [train_methods.has]
  grid = { choice = [4, 7, 14] }
  rate = { uniform = [0, 1] }"""


class _Formatter(argparse.HelpFormatter):
    """Wraps all text but the example."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text is _EXAMPLE else super()._fill_text(text, width, indent)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.search",
        description="Find the settings of training methods by random trials that are chosen on the validation split, "
        "and evaluate the best ones with several seeds on the test split. The same command again, or in several "
        "processes at once, does what remains.",
        epilog=_EXAMPLE,
        formatter_class=_Formatter,
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="TOML file with networks, training methods and the ranges to draw from"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the search (default: the one that FILE names, or results/FILE)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
