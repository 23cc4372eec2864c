"""The public function: from names to a weights file."""

import contextlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from wsol._device import find_device
from wsol._machine import processors
from wsol.datasets import Dataset, Split, load_dataset
from wsol.errors import InputError
from wsol.models import Facts, Start, adopt, find_architecture, find_gap
from wsol.runs.names import file_name
from wsol.training.feeds import Feed, Images, Pooled
from wsol.training.log import Log
from wsol.training.recipe import Recipe, Stage
from wsol.training.state import load_state, save_state, write_tensors
from wsol.training.trainer import Trainer


def train(
    model: str,
    dataset: str = "synthetic",
    recipe: Recipe | None = None,
    *,
    weights: str | Path | None = None,
    freeze: Literal["features"] | None = None,
    map_size: int | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    validation: bool = True,
    device: str = "auto",
    workers: int | None = None,
    half: bool = False,
    out: str | Path,
    stop_after: int | None = None,
) -> Path | None:
    """Trains a classifier on image labels alone.

    After each epoch everything that the next one depends on is in ``out``. Called again with the same arguments, the
    training goes on from there and ends with the weights of one that was never stopped, bit for bit on a CPU with as
    many threads.

    Args:
        model: Registered name.
        dataset: Registered name.
        recipe: What to do; ``Recipe()`` if None.
        weights: Weights to start from, a file or a published name of the backbone; random ones if None.
        freeze: ``features`` to train the linear layer alone, on features computed once and not augmented.
        map_size: Side of the last maps of a 224 x 224 image; None for the model's own.
        data_root: Folder of the data set; ``datasets/<name>`` if None. A generated data set has none.
        dataset_args: The adapter's own arguments; a stage's come on top.
        validation: Whether the split ``val`` is classified after each epoch; it has no influence on the weights.
        device: ``auto``, ``cpu``, ``cuda`` ...
        workers: Threads that decode images; one a processor if None.
        half: Whether the weights are written in half precision.
        out: Folder for ``MODEL.safetensors``, ``log.csv``, ``log.png`` and the state between epochs.
        stop_after: Stop after this many epochs of this call, as an interruption would.

    Returns:
        The weights file, which names model, classes and preprocessing; None if stopped before the end.

    Raises:
        InputError: Something handed in cannot be used, ``out`` holds another training, or the loss overflows.
    """
    recipe, place = recipe or Recipe(), find_device(device)
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    arguments = dict(dataset_args or {})
    if freeze and (weights is None or len(recipe.stages) > 1):
        raise InputError("frozen features are computed once: give --weights to take them from, and a single stage")
    splits: dict[tuple[int, str], Dataset] = {}

    def load(stage: Stage, split: Split) -> Dataset:
        key = (recipe.stages.index(stage), split)
        if key not in splits:
            splits[key] = load_dataset(dataset, data_root, split, {**arguments, **stage.dataset_args})
        return splits[key]

    classes = load(recipe.stages[0], "train").classes
    architecture = find_architecture(model)
    torch.manual_seed(recipe.seed)
    network = architecture.fresh(len(classes), map_size, from_scratch=weights is None)
    start = None if weights is None else adopt(network, model, weights)
    preprocessing = start.preprocessing if start else architecture.preprocessing()
    for stage in recipe.stages:
        _check_size(network, model, stage.image_size, len(classes))
        if validation:
            load(stage, "val")  # whose absence should not be found out after the first epoch
    network.to(place).to(memory_format=torch.channels_last)
    request = {
        "model": model,
        "map_size": map_size,
        "weights": start.sha256 if start else None,
        "freeze": freeze,
        "dataset": f"{dataset}#{load(recipe.stages[0], 'train').fingerprint[:8]}",
        "dataset_args": arguments,
        **recipe.described(),
    }
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    epochs = [stage for stage in recipe.stages for _ in range(stage.epochs)]
    costs = [stage.steps(len(load(stage, "train"))) * stage.work for stage in epochs]
    with ThreadPoolExecutor(workers or processors()) as pool:
        images = Images(load, preprocessing, recipe.seed, place, pool)
        module, feed = _frozen(network, model, images, recipe.seed, start) if freeze and start else (network, images)
        trainer = Trainer(module, feed, recipe, place, sum(costs))
        state = folder / "state.safetensors"
        begun = load_state(state, network, trainer.optimizer, request) if state.exists() else 0
        log = Log(folder, begun)
        for epoch in range(begun, len(epochs)):
            if epoch - begun == stop_after:
                return None
            stage = epochs[epoch]
            row: dict[str, float] = {"epoch": epoch + 1, "image_size": stage.image_size}
            row |= trainer.train(stage, epoch, sum(costs[:epoch]))
            row |= {"val_err": trainer.error(stage, "val")} if validation else {}
            log.write(row)
            save_state(state, network, trainer.optimizer, epoch + 1, request)
    log.plot()
    path = folder / f"{file_name(model)}.safetensors"
    tensors = architecture.trained(network.eval())
    if half:
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    facts = Facts(model, classes, preprocessing, map_size, request, log.last())
    write_tensors(path, tensors, facts.dumped())
    return path


def _check_size(network: nn.Module, model: str, side: int, classes: int) -> None:
    """Runs the network once, so that what does not fit is known before the training begins."""
    training = network.training
    try:
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):  # where fx explains itself
            shape = tuple(network.eval()(torch.zeros(1, 3, side, side)).shape)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{model} cannot take images of {side} x {side} ({str(error).splitlines()[0]})") from error
    finally:
        network.train(training)
    if shape != (1, classes):
        raise InputError(f"{model} gives {' x '.join(map(str, shape))} for an image, not scores of {classes} classes")


def _frozen(network: nn.Module, model: str, images: Images, seed: int, start: Start) -> tuple[nn.Module, Feed]:
    """Returns the linear layer and the features that it gets."""
    classifier = find_gap(network.eval(), model)
    if classifier.linear is None:
        raise InputError(f"{model} has no linear layer that could be trained alone; leave out --freeze")
    trained = {parameter.data_ptr() for parameter in classifier.linear.parameters()}
    state = network.state_dict()
    random = [key for key in start.left if state[key].data_ptr() not in trained]
    if random:
        raise InputError(
            f"{model}: the weights lack {len(random)} tensors of the features, the first {random[0]}, which would stay "
            "random; train everything, or give weights that have them"
        )
    features = Pooled(images, classifier.requires_grad_(False), seed)
    return classifier.linear.requires_grad_(True), features
