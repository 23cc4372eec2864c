"""The public function: from names to tables and a run folder."""

import contextlib
import tempfile
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd

from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.evaluation.batches import collect
from wsol.evaluation.finish import Evaluation, finish_run
from wsol.evaluation.merge import merge
from wsol.evaluation.plan import Job, prepare
from wsol.evaluation.tables import FIXED, Tau
from wsol.io.lock import lock_folder
from wsol.methods import Precision
from wsol.models import Model
from wsol.reports.gallery import draw_gallery
from wsol.reports.page import write_page
from wsol.runs.batches import BatchStore, abandon, discard, is_complete, open_or_resume
from wsol.runs.read import read_run
from wsol.runs.results import LocalizationResults
from wsol.runs.store import claim_folder
from wsol.runtime.cost import Clock, Meter
from wsol.runtime.distributed import ProcessGroup, process_group
from wsol.runtime.threads import processor_count


def evaluate(
    model: str | Model | None = None,
    weights: str | Path | None = None,
    *,
    dataset: str | Dataset = "synthetic",
    validation: Dataset | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    download: bool = False,
    split: Split = "test",
    method: str = "cam",
    layer: str | None = None,
    map_size: int | None = None,
    protocol: str = "wsolevaluation",
    tau: Tau = FIXED,
    limit: int | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int | None = None,
    memory: float = 2.0,
    precision: Precision = "float32",
    channels_last: bool = False,
    compiled: bool = False,
    skip_bad_images: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
) -> Evaluation:
    """Evaluate how well a classifier's score maps localize objects.

    Every batch is kept in ``out`` as soon as it is done. A run that was killed goes on from there by ``resume``, and
    its files are those of a run that was never stopped, but for the times in ``run.json``. Started by torchrun, the
    processes share the batches; their number changes no file either, nor does that of threads.

    Args:
        model: Registered name, or a loaded model; None where the weights file names it.
        weights: Weights file or published name, where ``model`` is a name; None for weights that come with the package.
        dataset: Registered name, or a loaded data set.
        validation: A loaded data set to choose tau on, where ``dataset`` is a loaded one and tau is ``val``.
        data_root: Folder of the data set; ``datasets/<name>`` if None. A generated data set has none.
        dataset_args: The adapter's own arguments.
        download: Fetch the data set first, where its host allows it.
        split: ``test`` or ``val``; ``train`` has no boxes. A loaded data set brings its own.
        method: What makes the score maps: a registered name, or one with settings such as ``rise:masks=1000``.
        layer: Name of the target layer, where ``model`` is a name; None to find it.
        map_size: Side of the maps of a 224 x 224 image, where ``model`` is a name; None for the network's own.
        protocol: The conventions: a registered name, or one with changes such as ``wsolevaluation:step=0.01``.
        tau: Threshold of the run's predictions: a number on the protocol's grid, ``val`` (best GT-known accuracy on
            the validation split, which is run first, into ``out/val``) or ``oracle`` (best on these images themselves).
        limit: At most this many images, evenly spaced.
        device: ``auto``, ``cpu``, ``cuda`` ...; a loaded model stays where it is.
        batch_size: Images that are read, run and kept together.
        workers: Threads that decode images and draw boxes; one a processor if None.
        memory: GiB that the method may use beside network and batch; what it does in pieces is cut to that.
        precision: ``bfloat16`` runs the layers below the target layer in autocast.
        channels_last: Lay out the network's convolutions for channels last, in place, which is faster on most devices.
        compiled: Compile the layers below the target layer (``torch.compile``), in place.
        skip_bad_images: Count and list unreadable images instead of stopping at the first.
        out: Run folder to write; nothing stays on disk if None. Of several processes all write there.
        resume: Go on with the unfinished run in ``out``, if there is one. A finished one is read back.

    Returns:
        Tables and facts of the run.

    Raises:
        InputError: Something handed in cannot be used.
    """
    group = process_group()
    with group.sync_errors():
        if workers is not None and workers < 1:
            raise InputError(f"workers is {workers}; give 1 or more")
        if group.size > 1 and (out is None or download):
            raise InputError("several processes meet in the run folder, give out; and download with one of them before")
        job = prepare(
            model,
            weights,
            dataset=dataset,
            validation=validation,
            data_root=data_root,
            dataset_args=dataset_args,
            download=download,
            split=split,
            method=method,
            layer=layer,
            map_size=map_size,
            protocol=protocol,
            tau=tau,
            limit=limit,
            device=device,
            batch_size=batch_size,
            memory=memory,
            precision=precision,
            channels_last=channels_last,
            compiled=compiled,
            skip_bad_images=skip_bad_images,
        )
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        complete = False
        with group.sync_errors():
            if group.is_main:
                complete = _begun(job, folder, resume or group.restarted, stack)
        evaluation = None
        if not group.broadcast(complete):
            meter = Meter(job.setup.model.network)
            with ThreadPoolExecutor(workers or group.threads) as pool:
                _share(job, folder, pool, group)
            with group.sync_errors():
                if group.is_main:
                    with ThreadPoolExecutor(workers or processor_count()) as pool:  # the others have ended
                        evaluation = _whole(job, folder, pool, meter)
                    if out is not None:
                        write_page(read_run(folder))
                    discard(folder)
        if evaluation is None:
            stored = read_run(folder)
            evaluation = Evaluation(stored.tables, stored.facts)
    return evaluation


def _begun(job: Job, folder: Path, resume: bool, stack: contextlib.ExitStack) -> bool:
    """Take hold of the run folder; says whether the run is complete already."""
    places = {name: folder / "val" if name == "val" else folder for name in reversed(job.splits)}
    for name, place in places.items():
        claim_folder(place, job.request(name))
        stack.enter_context(lock_folder(place))
    if resume and is_complete(folder):
        return True
    open_or_resume(folder, job.batches, job.asked, resume)
    stack.callback(abandon, folder, job.batches)
    return False


def _share(job: Job, folder: Path, pool: Executor, group: ProcessGroup) -> None:
    """Run this process's share of the batches."""
    parts = {name: BatchStore(folder, name, count) for name, count in job.batches.items()}
    with group.sync_errors():  # what is missing is looked up before any process writes
        if not (folder / "parts").is_dir():
            raise InputError(f"process {group.rank} does not see {folder}; give --out where all machines see it")
        mine = {name: group.share(each.missing()) for name, each in parts.items()}
    with group.sync_errors(), job.setup.batch_inference() as crew:
        for name, images in job.splits.items():
            collect(job.setup, images, mine[name], parts[name], pool, crew, group)


def _whole(job: Job, folder: Path, pool: Executor, meter: Meter) -> Evaluation:
    """Put together what all processes found, and writes the run."""
    chosen_on = None
    if job.held_out is not None:
        _, chosen_on = _concluded(job, "val", None, folder, pool, meter)
    return _concluded(job, "run", chosen_on, folder, pool, meter)[0]


def _concluded(
    job: Job, name: str, chosen_on: LocalizationResults | None, folder: Path, pool: Executor, meter: Meter
) -> tuple[Evaluation, LocalizationResults]:
    images, protocol, clock = job.splits[name], job.setup.protocol, Clock()
    place, tau = (folder / "val", "oracle") if name == "val" else (folder, job.tau)
    found, maps, passes = merge(job.setup, images, BatchStore(folder, name, job.batches[name]), place, pool, clock)
    origin = job.origin(images)
    origin = replace(origin, facts={**origin.facts, "cost": meter.cost(clock, passes, len(found.images))})

    def gallery(predictions: pd.DataFrame, signed: str) -> bytes:
        return draw_gallery(found, protocol, maps, predictions, signed, pool)

    used = chosen_on.images.signature if chosen_on else None
    request = job.request(name)
    evaluation = finish_run(origin, protocol, found, tau, chosen_on, used, request, pool, clock, place, gallery)
    return evaluation, found
