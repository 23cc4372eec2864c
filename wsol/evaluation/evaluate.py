"""``wsol.evaluate``: from names to tables and a run folder."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.evaluation.batches import run_batches
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.finish import merge_and_finish
from wsol.evaluation.kernels import SCORING, TABLES, start_compiling, wait_for_kernels
from wsol.evaluation.plan import Choice, Plan, SplitPlan, prepare
from wsol.evaluation.tables import choose_tau_index
from wsol.io.lock import lock_folder
from wsol.methods import Method
from wsol.metrics.resamples import RESAMPLES
from wsol.metrics.tau import DEFAULT_TAU, Tau
from wsol.models import Model
from wsol.models.class_map import RankAmong
from wsol.models.live import borrow
from wsol.reports.page import prepare_to_write
from wsol.runs.batches import discard, discard_if_empty, is_complete, open_or_resume
from wsol.runs.read import Evaluation, StoredRun
from wsol.runs.results import LocalizationResults
from wsol.runs.store import claim_folder
from wsol.runtime.cost import MemoryMeter
from wsol.runtime.distributed import ProcessGroup, process_group
from wsol.runtime.precision import Precision
from wsol.runtime.threads import processor_count


def evaluate(
    model: str | Model | nn.Module | None = None,
    weights: str | Path | None = None,
    *,
    preprocessing: object = None,
    dataset: str | Dataset = "synthetic",
    validation: Dataset | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    download: bool = False,
    split: Split = "test",
    assume_class_order: bool = False,
    classes: str | Path | None = None,
    rank_among: RankAmong = "dataset",
    exact_images: bool = False,
    method: str | Method = "cam",
    layer: str | None = None,
    output: str | None = None,
    map_size: int | None = None,
    protocol: str = "wsolevaluation",
    tau: Tau = DEFAULT_TAU,
    limit: int | None = None,
    bootstrap: int = RESAMPLES,
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
    attribution: bool = False,
    val_boxes: str | Path | None = None,
    class_names: str | Path | None = None,
    templates: str | Path | None = None,
) -> Evaluation:
    """Evaluate how well a classifier's score maps localize objects.

    Each batch is stored in ``out`` as soon as it is finished. A killed run continues from there with ``resume``, and
    its files are those of a run that was never stopped, except for the times in ``run.json``. Processes started by
    torchrun share the batches; their number does not change the files either, nor does the number of threads.

    Args:
        model: Registered name, a loaded model, or any network; None if the weights file names the model. A network may
            be in training: afterwards it is as it was, see ``wsol.models.live.borrow``.
        weights: Weights file or name of published weights, where ``model`` is a name; None for bundled weights.
        preprocessing: What a network that was handed over expects, see
            ``wsol.models.preprocessing.read_preprocessing``; None for ImageNet's mean and standard deviation.
        dataset: Registered name, or a loaded data set.
        validation: Loaded data set that tau is chosen on, where ``dataset`` is a loaded one and tau is ``val``.
        data_root: Folder of the data set; ``datasets/<name>`` if None. A generated data set has none.
        dataset_args: Arguments of the adapter.
        download: Download the data set first, if its host allows it.
        split: ``test`` or ``val``; ``train`` has no boxes. Ignored for a loaded data set.
        assume_class_order: Label ``i`` of the data set is output ``i`` of the network, although number or names of
            their classes differ. Without it such a network is refused, unless the classes are joined by name.
        classes: Text file that names the outputs of the network: one name a line, or ``index,name``; ``imagenet`` for
            the 1,000 classes of ImageNet. None for the names that the weights have.
        rank_among: Where classes are joined by name: ``dataset`` predicts among the classes of the data set, ``all``
            among all outputs of the network.
        exact_images: Read every image file for its fingerprint in the signature. By default the fingerprint covers the
            sizes of all files and the content of 64 of them.
        method: Method that makes the score maps: a registered name, one with settings such as ``rise:masks=1000``, or
            an object, as ``wsol.methods.with_target`` returns it.
        layer: Name of the target layer, or of several, separated by commas, unless ``model`` is a loaded one; None to
            find it.
        output: Name or index of the output that holds the class scores, of a network that returns several; None to find
            it.
        map_size: Side of the score maps for 224 x 224 input, where ``model`` is a name; None for the network's own.
        protocol: Registered name, or one with settings such as ``wsolevaluation:step=0.01``.
        tau: Threshold of the run's predictions: a number on the protocol's grid, ``val`` (best GT-known accuracy on
            the validation split, which is run first, into ``out/val``) or ``oracle`` (best on the evaluated images).
        limit: Evaluate at most this many images, evenly spaced.
        bootstrap: Number of resamples of the images that the intervals come from, the same for every run; 0 for no
            intervals, whose ends are then NaN. No other number depends on it.
        device: ``auto``, ``cpu``, ``cuda`` ...; a loaded model or a network stays where it is.
        batch_size: Images that are read, run and stored together.
        workers: Processes that decode images, and threads that compute boxes; one of each per processor if None.
        memory: Memory budget of the method in GiB, in addition to network and batch; larger work is split.
        precision: ``float32`` is that of IEEE 754 on every device. ``tf32``, on a GPU alone, and ``bfloat16`` run the
            layers up to the target layer in that format, and all else in float32.
        channels_last: Store the network's convolution weights channels last, in place, which is faster on most devices.
        compiled: Compile the layers up to the target layer (``torch.compile``), in place.
        skip_bad_images: Count and list unreadable images instead of stopping at the first.
        out: Run folder to write; nothing stays on disk if None. Several processes all write there.
        resume: Continue the unfinished run in ``out``, if there is one. A finished run is read back.
        attribution: Compute the metrics of attributions too, see ``wsol.metrics.attribution``. No other number depends
            on it.
        val_boxes: Pseudo boxes that replace those of the validation split, see ``wsol.datasets.with_pseudo_boxes``. A
            tau of ``val`` is chosen with them; a note says what the data set's own boxes would choose.
        class_names: Text file with what the texts of a zero-shot classifier call the classes, one name a line in label
            order; ``clip`` for CLIP's names of ImageNet's classes; None for the readable names of the data set.
        templates: Texts of a zero-shot classifier: a name in ``wsol.models.prompts.TEMPLATES``, or a text file with
            one a line; None for ``clip80``.

    Returns:
        Tables and metadata of the run.

    Raises:
        InputError: An argument cannot be used.
    """
    return run(EvalConfig(**locals()))


def run(config: EvalConfig, on_start: Callable[[Plan], None] | None = None, choice: Choice | None = None) -> Evaluation:
    """Run an evaluation, see ``evaluate``.

    Args:
        config: The arguments of ``evaluate``.
        on_start: Called with the plan in the main process, before the first batch, unless the run is finished already.
        choice: How the network was chosen among several, if it was.

    Raises:
        InputError: An argument cannot be used.
    """
    start_compiling(config.protocol)
    with borrow(config.model) if isinstance(config.model, nn.Module) else contextlib.nullcontext():
        return _run(config, on_start, choice)


def _run(config: EvalConfig, on_start: Callable[[Plan], None] | None, choice: Choice | None) -> Evaluation:
    group = process_group()
    with group.sync_errors(), ThreadPoolExecutor(1) as beside:
        _check_processes(config, group)
        if group.is_main:
            beside.submit(prepare_to_write)  # now, since the last batch would wait for it
        plan = prepare(config, choice)
    memory_meter = MemoryMeter(plan.inference.model.network.device)
    with _run_folder(config, plan, group) as folder:
        if not folder.complete:
            if on_start:
                with group.sync_errors():
                    if group.is_main:
                        on_start(plan)
            with group.sync_errors():
                wait_for_kernels(config.protocol, SCORING)
            finished: list[StoredRun] = []  # in the main process
            for each in plan.splits:
                chosen_on = finished[-1].results if finished else None
                with group.sync_errors():
                    tau_index = _known_tau_index(plan, each, chosen_on) if group.is_main else None
                tau_index = group.broadcast(tau_index)
                run_batches(plan, each, folder.path, tau_index, config.workers or group.threads, group)
                with group.sync_errors():
                    if group.is_main:  # the others have finished: all processors are free
                        wait_for_kernels(config.protocol, TABLES)
                        with ThreadPoolExecutor(config.workers or processor_count()) as pool:
                            page = config.out is not None and each is plan.splits[-1]
                            merged = merge_and_finish(
                                plan, each, folder.path, chosen_on, memory_meter, pool, page, config.bootstrap
                            )
                            finished.append(merged)
            with group.sync_errors():
                if group.is_main:
                    discard(folder.path)  # with which the run is complete
            if finished:
                return Evaluation(finished[-1].tables, finished[-1].metadata)
        return _read_finished(folder.path, config)


def _read_finished(folder: Path, config: EvalConfig) -> Evaluation:
    """Return the finished run in a folder.

    Raises:
        InputError: It has no intervals, or no metrics of attributions, and they are asked for.
    """
    run = Evaluation.read(folder)
    if config.bootstrap and not run.tables.has_intervals:
        raise InputError(
            f"{folder} holds this run without intervals; give --no-intervals (bootstrap=0), or run it again "
            "without --resume"
        )
    if config.attribution and not (folder / "attribution.npy").is_file():
        raise InputError(
            f"{folder} holds this run without metrics of attributions; leave out --attribution, or run it again "
            "without --resume"
        )
    return run


def _known_tau_index(plan: Plan, split: SplitPlan, chosen_on: LocalizationResults | None) -> int | None:
    """Return the index of the threshold of a split's predictions; None if it is chosen on the split itself."""
    tau = split.request.tau
    return None if tau == "oracle" else choose_tau_index(plan.inference.protocol, tau, chosen_on)


@dataclass(frozen=True)
class _RunFolder:
    path: Path
    complete: bool


@contextlib.contextmanager
def _run_folder(config: EvalConfig, plan: Plan, group: ProcessGroup) -> Iterator[_RunFolder]:
    """Claim and lock the folders of a run, a temporary one without ``out``; start the run or continue it."""
    resume = config.resume or group.restarted
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory()) if config.out is None else config.out)
        complete = False
        with group.sync_errors():
            if group.is_main:
                own, *others = reversed(plan.splits)
                _claim(path, own, stack)
                complete = resume and is_complete(path)
                if not complete:  # before the folders inside, so that an unfinished run is named as such
                    open_or_resume(path, plan.batches, plan.request, resume)
                    stack.callback(discard_if_empty, path, plan.batches)
                for split in others:
                    _claim(path, split, stack)
        yield _RunFolder(path, group.broadcast(complete))


def _claim(path: Path, split: SplitPlan, stack: contextlib.ExitStack) -> None:
    """Claim the folder of a split, and lock it until the stack is unwound."""
    claim_folder(path / split.subfolder, split.request.signature())
    stack.enter_context(lock_folder(path / split.subfolder))


def _check_processes(config: EvalConfig, group: ProcessGroup) -> None:
    if group.size > 1 and config.out is None:
        raise InputError("several processes share the run folder; give out")
    if group.size > 1 and config.download:
        raise InputError("several processes would download at once; download the data set with one process first")
