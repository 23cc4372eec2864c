"""``python -m wsol.train``: train a classifier on image labels alone."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from wsol._cli import add_options, run_command
from wsol.io.paths import file_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(_run, argv)


def _run(argv: Sequence[str] | None) -> None:
    """Parse the arguments, train, and print the command that evaluates the weights."""
    options = _make_parser().parse_args(argv)
    from wsol.runtime.distributed import process_group  # noqa: PLC0415  # torch takes seconds to import
    from wsol.training import Recipe, Stage, read_stages, train  # noqa: PLC0415
    from wsol.training.map_method import choose_map_method  # noqa: PLC0415
    from wsol.training.methods import find_train_method  # noqa: PLC0415

    arguments = vars(options)
    stage = {name: arguments.pop(name) for name in ("epochs", "image_size", "batch_size")}
    file = arguments.pop("stages")
    stages = read_stages(file) if file else (Stage(**stage),)
    arguments["layer_rates"] = dict(arguments["layer_rates"])
    names = [field.name for field in fields(Recipe) if field.name != "stages"]
    recipe = Recipe(stages, **{name: arguments.pop(name) for name in names})
    named = [] if options.train_method == "cam" else [options.train_method]
    arguments["out"] = arguments["out"] or Path("results") / file_name("train", options.model, *named, options.dataset)
    path = train(recipe=recipe, **arguments)
    if not process_group().is_main:
        return
    command = ["python", "-m", "wsol.eval", "--weights", str(path)]
    method = find_train_method(options.train_method)
    # Weights may not name code to be run.
    model = method.name_network(options.model) if ".py:" in options.model else None
    command += ["--model", model] if model else []
    map_method, reason = choose_map_method(model, path, method)
    command += ["--method", map_method] if map_method != "cam" else []
    command += ["--dataset", options.dataset]
    command += ["--data-root", str(options.data_root)] if options.data_root else []
    command += [word for key, value in options.dataset_args.items() for word in ("--dataset-arg", f"{key}={value}")]
    if reason:
        print("note:", reason)
    print("Evaluate it:", shlex.join(command))


def _parse_layer_rate(text: str) -> tuple[str, float]:
    layer, _, multiple = text.rpartition("=")
    try:
        return layer, float(multiple)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} should be LAYER=NUMBER, such as fc=10") from error


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wsol.train",
        description="Train a classifier on image labels alone. The same command again resumes where it was stopped.",
    )
    network = parser.add_argument_group("network")
    network.add_argument("--model", required=True, help="registered name; see python -m wsol.list models")
    network.add_argument(
        "--weights", help="weights file or published weights of the backbone to start from (default: random weights)"
    )
    network.add_argument(
        "--head-start",
        choices=("zero", "normal"),
        default="zero",
        help="start of a last linear layer that --weights lacks: zero, or normal for weights with a standard deviation "
        "of 0.01 (default: %(default)s)",
    )
    network.add_argument(
        "--freeze", choices=("features",), help="train the linear layer alone, on features that are computed once"
    )
    network.add_argument(
        "--map-size",
        type=int,
        metavar="SIDE",
        help="side of the score maps for 224 x 224 input (default: the network's)",
    )
    network.add_argument("--half", action="store_true", help="write the weights in half precision")
    images = add_options(parser, ("dataset", "data_root", "dataset_args"))["images"]
    images.add_argument(
        "--augmentation",
        default="shift-flip-color",
        metavar="NAME:KEY=VALUE,...",
        help="shift-flip-color, or resize-crop-flip:resize=256 for random crops of --image-size out of larger images "
        "(default: %(default)s)",
    )
    method = parser.add_argument_group("training method")
    method.add_argument(
        "--train-method",
        default="cam",
        metavar="NAME",
        help="training method, with settings after a colon, NAME:KEY=VALUE,...; see python -m wsol.list train-methods "
        "(default: %(default)s)",
    )
    schedule = parser.add_argument_group("schedule")
    add = schedule.add_argument
    add("--stages", type=Path, metavar="FILE", help="curriculum in a TOML file, in place of the next three options")
    add("--epochs", type=int, default=10, metavar="N", help="passes over the training split (default: %(default)s)")
    add(
        "--image-size",
        type=int,
        default=224,
        metavar="SIDE",
        help="side of the images in pixels (default: %(default)s)",
    )
    add("--batch-size", type=int, default=32, metavar="N", help="images per step (default: %(default)s)")
    optimizer = parser.add_argument_group("optimizer")
    add = optimizer.add_argument
    add(
        "--learning-rate",
        type=float,
        default=0.015,
        metavar="X",
        help="peak learning rate for batches of 32 images, scaled in proportion for others (default: %(default)s)",
    )
    add("--momentum", type=float, default=0.9, metavar="X", help="momentum of SGD (default: %(default)s)")
    add(
        "--weight-decay",
        type=float,
        default=5e-4,
        metavar="X",
        help="weight decay; biases and normalization layers have none (default: %(default)s)",
    )
    add("--decay-all", action="store_true", help="weight decay of biases and normalization layers too")
    add("--nesterov", action="store_true", help="use Nesterov momentum")
    add(
        "--layer-rate",
        action="append",
        type=_parse_layer_rate,
        default=[],
        dest="layer_rates",
        metavar="LAYER=X",
        help="multiple of the learning rate for a layer and all layers in it, such as fc=10; may be repeated",
    )
    add(
        "--schedule",
        default="cosine",
        metavar="NAME:KEY=VALUE,...",
        help="cosine, or step:every=15,factor=0.1,offset=0 to multiply the rate by a factor after every so many "
        "epochs, each time by the offset earlier (default: %(default)s)",
    )
    add(
        "--warm-up",
        type=float,
        default=0.05,
        metavar="X",
        help="share of the training in which the learning rate rises from zero (default: %(default)s)",
    )
    add(
        "--head-gradient",
        choices=("limited", "plain"),
        default="limited",
        help="shorten the gradient of the last linear layer where its inputs are large, or not (default: %(default)s)",
    )
    add(
        "--label-smoothing",
        type=float,
        default=0.0,
        metavar="X",
        help="probability that is spread over all classes (default: %(default)s)",
    )
    run = parser.add_argument_group("run")
    add = run.add_argument
    add("--seed", type=int, default=0, help="seed of initialization, order and augmentation (default: %(default)s)")
    add(
        "--no-validation",
        action="store_false",
        dest="validation",
        help="do not measure the classification error on val after each epoch",
    )
    add("--device", default="auto", help="device of the network: auto, cpu, cuda, ... (default: %(default)s)")
    add(
        "--precision",
        choices=("auto", "float32", "tf32", "bfloat16"),
        default="auto",
        help="precision of forward pass and gradients; auto is bfloat16 where the device has instructions for it, else "
        "float32 (default: %(default)s)",
    )
    add(
        "--workers", type=int, metavar="N", help="processes that decode and augment images (default: one per processor)"
    )
    add("--out", type=Path, metavar="DIR", help="folder of the training (default: results/train-MODEL-DATASET)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
