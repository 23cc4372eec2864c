"""``python -m wsol.faithfulness``: measure how the class probability follows changes of the image."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import add_options, run_command
from wsol.evaluation.config import RUN
from wsol.perturbation.settings import OPTIONS, PARTS, TARGETS, Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, measure, print the table."""
    arguments = vars(_make_parser().parse_args(argv))
    own = {name: arguments.pop(name) for name in ("parts", "target", "steps", "seed", "run")}
    run = own.pop("run")
    settings = Settings(**own)
    from wsol.evaluation.config import EvalConfig  # noqa: PLC0415
    from wsol.perturbation.folder import measurement_folder  # noqa: PLC0415
    from wsol.perturbation.measure import measure_faithfulness  # noqa: PLC0415  # torch takes seconds

    arguments["out"] = arguments["out"] or measurement_folder(arguments, settings, run)
    result = measure_faithfulness(EvalConfig(**arguments), settings, run)
    print(f"{result.format()}, written to {arguments['out']}")


def _parse_parts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.faithfulness",
        description="Measure how the probability of a class follows changes of the image that its score map chooses.",
    )
    add_options(parser, OPTIONS)
    measured = parser.add_argument_group("what is measured")
    measured.add_argument(
        "--run",
        type=Path,
        metavar="RUN",
        help="use the maps that wsol.eval stored there, with the same options for network and images (default: "
        "compute them)",
    )
    measured.add_argument(
        "--parts",
        type=_parse_parts,
        default=PARTS,
        metavar="NAME,...",
        help=f"some of {', '.join(PARTS)}; drop gives average drop and increase (default: all)",
    )
    measured.add_argument(
        "--class",
        dest="target",
        choices=TARGETS,
        default="predicted",
        help="class whose map and probability are measured (default: %(default)s)",
    )
    measured.add_argument(
        "--steps",
        type=int,
        default=Settings.steps,
        metavar="N",
        help="steps of deletion and insertion, each a forward pass per image (default: %(default)s)",
    )
    measured.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the noise of ROAD (default: %(default)s)"
    )
    parser.add_argument_group(RUN).add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the tables (default: results/faithfulness- and a name from the options)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
