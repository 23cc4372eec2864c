"""The plan of a search: every trial drawn and checked before the first training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from wsol.datasets import Dataset, load_dataset, with_pseudo_boxes
from wsol.errors import InputError
from wsol.evaluation.plan import check_method
from wsol.evaluation.selection import find_best
from wsol.io.atomic import ensure_dir
from wsol.methods import find_method, fit_layers
from wsol.metrics.base import METRICS
from wsol.models import find_classifier
from wsol.models.unwrap import to_float32
from wsol.protocols import find_protocol, find_side
from wsol.runtime.device import find_device
from wsol.runtime.distributed import process_group
from wsol.searches.config import Candidate, SearchConfig
from wsol.searches.trials import Result, Task, blame, make_retraining, make_trial
from wsol.training.config import TrainConfig, prepare_training


@dataclass(frozen=True)
class SearchPlan:
    """A search that is ready to start, and what is known of it.

    Attributes:
        config: The search.
        by: The metric that decides.
        images: Signatures of the splits ``train`` and ``val``.
        trials: All trials: the first of each candidate, then the second of each, and so on.
        results: The results that were read so far, by folder.
    """

    config: SearchConfig
    by: str
    images: Mapping[str, str]
    trials: tuple[Task, ...]
    results: dict[Path, Result] = field(default_factory=dict, repr=False)

    def result(self, task: Task) -> Result | None:
        """Return the result of a trial; None if no process has finished it."""
        if task.folder not in self.results and (found := task.result):
            self.results[task.folder] = found
        return self.results.get(task.folder)

    def unfinished(self) -> list[Task]:
        """List what can be done now: trials, then trainings with the best settings of candidates without one."""
        trials = [task for task in self.trials if self.result(task) is None]
        return trials + [task for task in self.retrainings() if self.result(task) is None]

    def best(self, candidate: Candidate) -> Task | None:
        """Return the best trial of a candidate; None if one is not finished, or all have diverged."""
        tasks = [task for task in self.trials if task.candidate is candidate]
        results = [self.result(task) for task in tasks]
        values = {i: each.value for i, each in enumerate(results) if each is not None and each.value is not None}
        if None in results or not values:
            return None
        return tasks[[*values][find_best(pd.Series([*values.values()]), self.by)]]

    def retrainings(self) -> list[Task]:
        """List the trainings with the best settings of every candidate, as far as they are known."""
        found = []
        for candidate in self.config.candidates:
            best = self.best(candidate) if self.config.seeds else None
            if best and (value := self.results[best.folder].value) is not None:
                found += [make_retraining(self.config, best, value, i + 1) for i in range(self.config.seeds)]
        return found


def plan_search(config: SearchConfig) -> SearchPlan:
    """Load and check everything that the trials need, but not the split test; write nothing but the folder.

    Args:
        config: The search.

    Raises:
        InputError: Something cannot be used.
    """
    with blame(config, "evaluation"):
        find_protocol(config.evaluation.get("protocol", "wsolevaluation"))
    source = config.data["dataset"], config.data["data_root"]
    with blame(config):
        train, val = (load_dataset(*source, split, config.data["dataset_args"]) for split in ("train", "val"))
        if config.val_boxes is not None:
            val = with_pseudo_boxes(val, config.val_boxes)
        by = _choose_metric(config, val)
    images: dict[str, str] = {each.split: each.signature for each in (train, val)}
    rounds = range(1, config.trials + 1)
    tasks = tuple(make_trial(config, each, trial, by, images) for trial in rounds for each in config.candidates)
    plan = SearchPlan(config, by, images, tasks)
    networks: dict[tuple[object, ...], Task] = {}
    for task in tasks:
        if plan.result(task) is None:
            key = id(task.candidate), task.recipe.stages[0].image_size, task.training.get("map_size")
            networks.setdefault(key, task)
    for task in networks.values():
        _check_network(config, task)
    ensure_dir(config.out)
    return plan


def _choose_metric(config: SearchConfig, val: Dataset) -> str:
    """Return the metric that decides: Choe et al. choose by MaxBoxAccV2, and by PxAP where there are masks."""
    has_masks = any(sample.mask for sample in val.samples)
    by = config.by or ("pxap" if has_masks else "max_box_acc_v2")
    needs = METRICS.get(by).needs
    if "pixels" in needs and not has_masks:
        raise InputError(f"{by} needs masks, which {val.name} does not have on val; give another metric as by")
    if "attribution" in needs and not config.evaluation.get("attribution"):
        raise InputError(f"{by} is a metric of attributions; set attribution = true in [evaluation]")
    return by


def _check_network(search: SearchConfig, task: Task) -> None:
    """Check that the network of a trial can be trained with its method and data, and its score maps be computed.

    Raises:
        InputError: One is not possible.
    """
    training, evaluation, place = task.training, task.evaluation, task.candidate.place
    with blame(search, "evaluation"):
        method = find_method(evaluation.method)
    config = TrainConfig(
        model=task.candidate.model,
        dataset=str(evaluation.dataset),
        recipe=task.recipe,
        weights=training.get("weights"),
        freeze=training.get("freeze"),
        map_size=training.get("map_size"),
        data_root=evaluation.data_root,
        dataset_args=evaluation.dataset_args or {},
        validation=training.get("validation", True),
        device=training.get("device", "auto"),
        precision=training.get("precision", "auto"),
        train_method=task.method,
    )
    with blame(search, place):
        plan = prepare_training(config, process_group())
    with blame(search, f"{place} and method of evaluation"):
        network = find_classifier(
            to_float32(plan.build_for_evaluation(), config.model)[0],
            config.model,
            evaluation.layer,
            find_side(evaluation.protocol) or task.recipe.stages[0].image_size,
            evaluation.output,
        )
        network.to(find_device(evaluation.device))
        check_method(fit_layers(method, network), network, network.classes, evaluation.precision)
