"""The function ``wsol.train``: from registered names to a weights file."""

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from torch import nn
from tqdm import tqdm

from wsol.errors import InputError
from wsol.io.atomic import ensure_dir
from wsol.io.lock import lock_folder
from wsol.io.paths import file_name
from wsol.runtime.cost import Clock
from wsol.runtime.distributed import process_group
from wsol.runtime.precision import Precision, arithmetic
from wsol.training.checkpoint import Checkpointer
from wsol.training.config import TrainConfig, prepare_training
from wsol.training.data import BatchSource, FeatureBatches, ImageBatches
from wsol.training.decoding import start_decoder
from wsol.training.methods import TrainMethod, find_train_method
from wsol.training.recipe import Recipe, Stage
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
    precision: Precision | Literal["auto"] = "auto",
    train_method: str | TrainMethod = "cam",
    workers: int | None = None,
    half: bool = False,
    out: str | Path,
    stop_after: int | None = None,
) -> Path | None:
    """Train a classifier on image labels alone.

    The state of the training is written to ``out`` after each epoch. A call with the same arguments resumes an
    interrupted training, at whatever point it was killed, and ends with the same files as an uninterrupted training:
    bit for bit on a CPU with the same number of torch's threads; another number of threads splits sums differently,
    which changes the last digits of the weights.

    Under torchrun the processes share each batch of the recipe: batch size, steps, learning rates, order and
    augmentation are those of a single process. The weights differ from those of a single process by rounding, and on a
    CPU also by batch normalization, which uses the statistics of each process's own images, and by dropout, which each
    process draws separately. The first process writes ``out``. A training is only resumed with the same number of
    processes.

    Args:
        model: Registered name.
        dataset: Registered name.
        recipe: The recipe; ``Recipe()`` if None.
        weights: Weights to start from, a file or a published name of the backbone; random weights if None.
        freeze: ``features`` to train only the linear layer, on features that are computed once, without augmentation,
            and standardized; the standardization is folded into the weights at the end.
        map_size: Side of the last feature maps of a 224 x 224 image; None for the model's own.
        data_root: Folder of the data set; ``datasets/<name>`` if None. A generated data set has none.
        dataset_args: Arguments of the data set; those of a stage override them.
        validation: Whether to measure the classification error on ``val`` after each epoch; it does not influence the
            weights.
        device: ``auto``, ``cpu``, ``cuda`` ...
        precision: Of the forward pass and the gradients: ``float32``, that of IEEE 754 on every device; ``tf32``, on a
            GPU alone; ``bfloat16``, by autocast; ``auto`` for bfloat16 where the device has instructions for it, else
            float32.
        train_method: Registered name, with settings after a colon, ``has:grid=4,rate=0.5``; ``cam`` trains on whole
            images.
        workers: Number of worker processes that decode and augment images, for each training process; one per processor
            if None.
        half: Whether to write the weights in half precision.
        out: Folder for ``MODEL.safetensors``, ``log.csv``, ``log.png`` and the state between epochs.
        stop_after: Stop after this number of epochs of this call, like an interruption.

    Returns:
        The weights file, which names model, classes and preprocessing; None if ``stop_after`` ended the call earlier.

    Raises:
        InputError: An argument is invalid, ``out`` holds another training or is being written by another process, or
            the loss grows or is not finite.
        OSError: The disk is full.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    recipe, folder, group = recipe or Recipe(), Path(out), process_group()
    arguments, method = dict(dataset_args or {}), find_train_method(train_method)
    config = TrainConfig(
        model, dataset, recipe, weights, freeze, map_size, data_root, arguments, validation, device, precision, method
    )
    with contextlib.ExitStack() as stack:
        with group.sync_errors():
            plan = prepare_training(config, group)
            if group.is_main:
                ensure_dir(folder)
                stack.enter_context(lock_folder(folder))
        stages = [stage for stage in recipe.stages for _ in range(stage.epochs)]  # of each epoch
        work = [stage.steps_per_epoch(len(plan.datasets.load(stage, "train"))) * stage.work for stage in stages]
        decoder = stack.enter_context(start_decoder(plan.datasets, recipe.seed, workers or group.threads))
        images = ImageBatches(plan.datasets, plan.preprocessing, recipe.seed, plan.device, decoder, group)
        in_precision = partial(arithmetic, plan.precision, repeatable=False)
        module: nn.Module = plan.network
        batches: BatchSource = images
        if plan.frozen:
            module = plan.frozen.linear
            with in_precision():
                batches = features = FeatureBatches(images, plan.frozen, recipe.stages[0], recipe.seed, group)
            if plan.frozen.has_weights:
                features.standardization.unfold(plan.frozen.linear)
        trainer = Trainer(module, batches, recipe, plan.device, sum(work), group, plan.head, plan.precision, method)
        checkpointer = Checkpointer(folder, plan, trainer.optimizer, group)
        if group.is_main:
            for number, stage in enumerate(recipe.stages, 1):
                tqdm.write(_describe_stage(recipe, number, stage, len(plan.datasets.load(stage, "train"))))
            for note in (*plan.notes, *plan.datasets.load(recipe.stages[0], "train").notes):
                tqdm.write(f"note: {note}")
        clock, trained = Clock(), 0
        for epoch in range(checkpointer.epochs, len(stages)):
            if epoch - checkpointer.epochs == stop_after:
                return None
            stage = stages[epoch]
            images_per_epoch, before = len(plan.datasets.load(stage, "train")), clock.seconds["training"]
            row: dict[str, float] = {"epoch": epoch + 1, "image_size": stage.image_size}
            with in_precision():
                with clock("training"):
                    row |= trainer.train(stage, epoch, sum(work[:epoch]))
                with clock("validation"):
                    row |= {"val_err": trainer.compute_error(stage, "val")} if validation else {}
            with clock("files"):
                checkpointer.save_epoch(row, images_per_epoch / (clock.seconds["training"] - before))
            trained += images_per_epoch
        if plan.frozen:
            features.standardization.fold(plan.frozen.linear)
        path = folder / f"{file_name(model)}.safetensors"
        with clock("files"):
            checkpointer.finish(path, half)
        if group.is_main and trained:
            tqdm.write(_describe_speed(trained, clock.seconds))
    return path


def _describe_stage(recipe: Recipe, number: int, stage: Stage, images: int) -> str:
    return (
        f"stage {number}: {stage.epochs} epochs of {stage.steps_per_epoch(images)} steps of {stage.batch_size} images, "
        f"peak learning rate {recipe.peak_rate(stage):.4g} = {recipe.learning_rate:g} x {stage.batch_size} / 32"
    )


def _describe_speed(images: int, seconds: Mapping[str, float]) -> str:
    rest = ", ".join(f"{stage} {seconds[stage]:.1f} s" for stage in ("validation", "files"))
    return f"{images} images in {seconds['training']:.1f} s: {images / seconds['training']:.1f} images/s; {rest}"
