"""``python -m wsol.train``: train a classifier on image labels alone."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol._cli import pair, run_command
from wsol.io.paths import file_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and returns its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse arguments, trains, prints where the weights are."""
    options = _parser().parse_args(argv)
    from wsol.runtime.distributed import process_group  # noqa: PLC0415  # torch takes seconds to import
    from wsol.training import Recipe, Stage, read_stages, train  # noqa: PLC0415

    given = vars(options)
    single = {name: given.pop(name) for name in ("epochs", "image_size", "batch_size")}
    file = given.pop("stages")
    stages = read_stages(file) if file else (Stage(**single),)
    names = ("learning_rate", "momentum", "weight_decay", "warm_up", "label_smoothing", "seed")
    recipe = Recipe(stages, **{name: given.pop(name) for name in names})
    given["dataset_args"] = dict(map(pair, given.pop("dataset_arg")))
    given["out"] = given["out"] or Path("results") / file_name("train", options.model, options.dataset)
    path = train(recipe=recipe, **given)
    same = ["--model", options.model] if ".py:" in options.model else []  # weights may not name code to be run
    same += ["--dataset", options.dataset]
    same += ["--data-root", str(options.data_root)] if options.data_root else []
    same += [word for key, value in given["dataset_args"].items() for word in ("--dataset-arg", f"{key}={value}")]
    if process_group().is_main:
        print("Evaluate it:", shlex.join(["python", "-m", "wsol.eval", "--weights", str(path), *same]))


def _parser() -> argparse.ArgumentParser:
    show = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(
        "wsol.train",
        description="Train a classifier on image labels alone. The same command again goes on where it was stopped.",
        formatter_class=show,
    )
    add = parser.add_argument
    add("--model", required=True, help="see python -m wsol.list models")
    add("--dataset", default="synthetic", help="see python -m wsol.list datasets")
    add("--data-root", type=Path, help="folder of the data set, datasets/NAME if not given")
    add("--dataset-arg", action="append", default=[], metavar="KEY=VALUE", help="an argument of the data set")
    add("--weights", help="start from this file or these published weights of the backbone; at random if not given")
    add("--freeze", choices=("features",), help="train the linear layer alone, on features computed once")
    add("--map-size", type=int, metavar="N", help="side of the last maps at 224 x 224; late strides and pools go")
    add("--stages", type=Path, metavar="FILE", help="a curriculum in TOML, in place of the next three")
    add("--epochs", type=int, default=10, metavar="N", help="passes over the training split")
    add("--image-size", type=int, default=224, metavar="N", help="side of the images")
    add("--batch-size", type=int, default=32, metavar="N", help="images in a step")
    add("--learning-rate", type=float, default=0.015, metavar="X", help="its peak, for batches of 32")
    add("--momentum", type=float, default=0.9, metavar="X", help="of the gradient")
    add("--weight-decay", type=float, default=5e-4, metavar="X", help="on weights, not biases and normalisation")
    add("--warm-up", type=float, default=0.05, metavar="X", help="share of the work in which the rate rises")
    add("--label-smoothing", type=float, default=0.0, metavar="X", help="probability spread over all classes")
    add("--seed", type=int, default=0, metavar="N", help="of initialisation, order and augmentation")
    add("--no-validation", action="store_false", dest="validation", help="do not classify val after each epoch")
    add("--device", default="auto", help="auto, cpu, cuda ...")
    add("--workers", type=int, metavar="N", help="threads that decode images; one a processor if not given")
    add("--half", action="store_true", help="write the weights in half precision")
    add("--out", type=Path, metavar="DIR", help="results/train-MODEL-DATASET if not given")
    return parser


if __name__ == "__main__":
    sys.exit(main())
