"""The public function: from names to a weights file."""

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from wsol.errors import InputError
from wsol.io.atomic import ensure_dir
from wsol.io.lock import lock_folder
from wsol.io.paths import file_name
from wsol.runtime.distributed import process_group
from wsol.training.checkpoint import Checkpointer
from wsol.training.config import Job, TrainConfig
from wsol.training.data import Images, Pooled
from wsol.training.recipe import Recipe
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
    """Train a classifier on image labels alone.

    After each epoch everything that the next one depends on is in ``out``. Called again with the same arguments, the
    training goes on from there, wherever it was killed, and ends with the files of one that was never stopped, bit for
    bit on a CPU with as many threads of torch; other numbers of threads divide sums otherwise, and the last digits of
    the weights differ.

    Under torchrun the processes share each batch of the recipe: batch size, steps, rates, order and augmentation are
    those of one process, and the weights differ from its by rounding; and, on a CPU, by batch normalisation, which
    there takes the statistics of each process's images, and by dropout, which each draws for itself. The first process
    writes ``out``. Training goes on with as many processes as began it.

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
        workers: Threads that decode images, in each process; one a processor if None.
        half: Whether the weights are written in half precision.
        out: Folder for ``MODEL.safetensors``, ``log.csv``, ``log.png`` and the state between epochs.
        stop_after: Stop after this many epochs of this call, as an interruption would.

    Returns:
        The weights file, which names model, classes and preprocessing; None if stopped before the end.

    Raises:
        InputError: Something handed in cannot be used, ``out`` holds another training or is being written, or the loss
            overflows.
        OSError: The disk is full.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more")
    recipe, folder, group = recipe or Recipe(), Path(out), process_group()
    arguments = dict(dataset_args or {})
    wish = TrainConfig(model, dataset, recipe, weights, freeze, map_size, data_root, arguments, validation, device)
    with contextlib.ExitStack() as stack:
        with group.sync_errors():
            job = Job(wish, group)
            if group.is_main:
                ensure_dir(folder)
                stack.enter_context(lock_folder(folder))
        epochs = [stage for stage in recipe.stages for _ in range(stage.epochs)]
        costs = [stage.steps(len(job.load(stage, "train"))) * stage.work for stage in epochs]
        pool = stack.enter_context(ThreadPoolExecutor(workers or group.threads))
        images = Images(job.load, job.preprocessing, recipe.seed, job.device, pool, group)
        if job.frozen:
            feed, module = Pooled(images, *job.frozen, recipe.seed, group), job.frozen[1]
            trainer = Trainer(module, feed, recipe, job.device, sum(costs), group)
        else:
            trainer = Trainer(job.network, images, recipe, job.device, sum(costs), group)
        record = Checkpointer(folder, job, trainer.optimizer, group)
        for epoch in range(record.epochs, len(epochs)):
            if epoch - record.epochs == stop_after:
                return None
            stage = epochs[epoch]
            row: dict[str, float] = {"epoch": epoch + 1, "image_size": stage.image_size}
            row |= trainer.train(stage, epoch, sum(costs[:epoch]))
            row |= {"val_err": trainer.error(stage, "val")} if validation else {}
            record.add(row)
        path = folder / f"{file_name(model)}.safetensors"
        record.end(path, half)
    return path
