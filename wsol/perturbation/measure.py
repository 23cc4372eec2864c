"""Faithfulness: how the probability of a class follows changes of the image that its score map chooses."""

import time
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

from torch import nn

from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.plan import InferenceConfig, prepare
from wsol.models.live import borrow
from wsol.perturbation.loop import Measurement
from wsol.perturbation.result import Cost, Faithfulness, claim_measurement, summarize, write_measurement
from wsol.perturbation.settings import OPTIONS, Settings
from wsol.perturbation.stored import StoredMaps
from wsol.runs.signature import Signature
from wsol.runtime.distributed import process_group
from wsol.runtime.threads import processor_count

_FROM_PYTHON = ("preprocessing", "channels_last", "compiled", "download", "out")


def measure_faithfulness(
    config: EvalConfig, settings: Settings | None = None, run: str | Path | None = None
) -> Faithfulness:
    """Measure how the probability of a class follows changes of the image that its score map chooses.

    Network, images and method are those of ``wsol.evaluate``. The network sees the whole image, squashed to the size of
    its weights; the map is resized to it (bilinear) and min-max normalized. The probability is the softmax over the
    outputs that take part in the ranking of classes, in float32 up to the logits.

    Args:
        config: Arguments of ``wsol.evaluate``: those of network, images and method, ``limit``, ``bootstrap``,
            ``device``, ``batch_size``, ``workers``, ``memory``, ``skip_bad_images``, and ``out``, the folder to write.
        settings: What is measured, and how; None for the defaults.
        run: Folder of a run with these arguments, whose stored maps are used instead of the method.

    Raises:
        InputError: An argument cannot be used, or has no effect here, or the run is another one.
    """
    settings = settings or Settings()
    _check_config(config)
    with borrow(config.model) if isinstance(config.model, nn.Module) else nullcontext():
        stored = None if run is None else StoredMaps.read(Path(run))
        config = config if stored is None else stored.complete(config)
        plan = prepare(replace(config, out=None, tau="oracle"))
        inference, split = plan.inference, plan.splits[-1]
        _check_view(inference)
        fields_of_run = Signature.parse(split.request.signature())
        images = split.images.localizable()
        if stored is not None:
            images = stored.match(fields_of_run, images)
        fields_here = replace(fields_of_run, protocol=settings.signature, tau="tau:none")
        request = str(fields_here)
        folder = None if config.out is None else Path(config.out)
        if folder is not None:
            claim_measurement(folder, request)
        start, passes = time.perf_counter(), inference.model.network.passes
        rows, skipped = Measurement(inference, settings, stored, config.workers or processor_count()).run(images)
        seconds, passes = time.perf_counter() - start, inference.model.network.passes - passes
    if not rows:
        raise InputError(f"none of the {len(images)} images could be read: {next(iter(skipped.values()), 'no image')}")
    left = images.subset([i for i, sample in enumerate(images) if sample.image_id not in skipped])
    signature = str(replace(fields_here, dataset=left.signature))
    cost = Cost(seconds, passes / len(rows), str(inference.model.network.device))
    result = summarize(signature, settings, rows, skipped, [*split.notes, *images.notes], cost, config.bootstrap)
    if folder is not None:
        write_measurement(result, folder, request)
    return result


def _check_config(config: EvalConfig) -> None:
    defaults = {each.name: each.default for each in fields(config)}
    ignored = [
        name
        for name, default in defaults.items()
        if name not in (*OPTIONS, *_FROM_PYTHON) and getattr(config, name) != default
    ]
    if ignored:
        raise InputError(f"{' and '.join(ignored)} would have no effect on faithfulness; leave that out")
    if process_group().size > 1:
        raise InputError("faithfulness is measured by one process; start it without torchrun")


def _check_view(inference: InferenceConfig) -> None:
    model, view = inference.model, inference.protocol.view
    if view.count > 1 or view.crop != view.side:
        raise InputError("the network of this run saw crops of the image; give a run of another protocol")
    if not model.classes:
        raise InputError(f"{model.name} does not classify, so no probability follows from the image; give a classifier")
