"""Trials: a training and its evaluation in a folder, with a result that is written last."""

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from wsol.errors import InputError, NotFiniteError
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.evaluate import run
from wsol.evaluation.folders import WITHOUT_EFFECT
from wsol.evaluation.plan import Choice
from wsol.evaluation.selection import pick_value
from wsol.evaluation.suite import free_memory
from wsol.io.arrays import read_json
from wsol.io.atomic import atomic_write
from wsol.io.records import parse_record
from wsol.metrics.resamples import RESAMPLES
from wsol.searches.config import RECIPE, STAGE, Candidate, SearchConfig
from wsol.training import Recipe, Stage, train
from wsol.training.checkpoint import STATE_FILE
from wsol.training.divergence import DivergedError
from wsol.training.methods import TrainMethod, find_train_method

RESULT = "trial.json"
_WITHOUT_EFFECT = {"device", "workers", "validation"}  # of a training, on its weights


@dataclass(frozen=True)
class Task:
    """A training and its evaluation.

    Attributes:
        candidate: The network and the training method.
        trial: Number of the trial, from 1.
        drawn: What was drawn, by name.
        method: The training method with its settings.
        recipe: The recipe.
        training: Other arguments of ``wsol.train``.
        evaluation: The evaluation; its weights are those that the training writes.
        folder: Folder of the trial.
        request: What decides the result, as text by name.
        by: The metric.
        choice: How the settings were chosen, for the run on the split test.
    """

    candidate: Candidate
    trial: int
    drawn: Mapping[str, Any]
    method: TrainMethod
    recipe: Recipe
    training: Mapping[str, Any]
    evaluation: EvalConfig
    folder: Path
    request: dict[str, str]
    by: str
    choice: Choice | None = None

    @property
    def title(self) -> str:
        """Name of the trial in messages."""
        again = f", seed {self.recipe.seed}" if self.choice else ""
        return f"trial {self.trial} of {self.candidate.network} with {self.candidate.method}{again}"

    @property
    def run_folder(self) -> Path:
        """Folder of its run on the evaluated split."""
        return self.folder / self.evaluation.split

    @property
    def result(self) -> "Result | None":
        """Its result; None if it is not finished.

        Raises:
            InputError: The folder holds another trial, or its result is damaged.
        """
        path = self.folder / RESULT
        if not path.exists():
            return None
        try:
            result = parse_record(Result, read_json(path), RESULT)
        except ValueError as error:
            raise InputError(f"{path} is no result of a trial ({error}); delete it to run the trial again") from error
        for key in sorted({*result.request, *self.request}):
            if result.request.get(key) != self.request.get(key):
                raise InputError(
                    f"{self.folder} holds a trial with {key} = {result.request.get(key)}, not {self.request.get(key)}; "
                    "give the same value or another --out, or remove this folder to run the trial again"
                )
        return result


@dataclass(frozen=True)
class Result:
    """The result of a trial.

    Attributes:
        request: What decides it.
        status: ``diverged`` if the loss grew or was not finite, or if the trained network computes nothing finite.
        value: The metric on the evaluated split, in percent; None if the training diverged.
        tau: The threshold of the run's boxes; None if there is none.
        seconds: Time of training and evaluation, without what a killed process had done before.
        signature: Signature of the run; empty if the training diverged.
        reason: Why the training was stopped; empty if it was not.
    """

    request: dict[str, str] = field(repr=False)
    status: Literal["done", "diverged"]
    value: float | None
    tau: float | None
    seconds: float
    signature: str
    reason: str


@contextlib.contextmanager
def blame(config: SearchConfig, place: str = "") -> Iterator[None]:
    """Name the search file, and a place in it, in front of what an input error says."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{config.file}: {place}{': ' if place else ''}{name_keys(str(error))}") from error


def name_keys(text: str) -> str:
    """Replace the options of ``wsol.train`` and ``wsol.eval`` in a message by the keys of a search file."""
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)\b(?! of wsol)", lambda found: _key(found[1]), text)


def _key(option: str) -> str:
    others = {"out": "--out", "dataset-arg": "dataset_args", "layer-rate": "layer_rates"}
    others["no-validation"] = "validation = false"
    return others.get(option, option.replace("-", "_"))


def make_trial(config: SearchConfig, candidate: Candidate, trial: int, by: str, images: Mapping[str, str]) -> Task:
    """Make a trial from its number.

    Args:
        config: The search.
        candidate: Network and training method.
        trial: Number of the trial, from 1.
        by: The metric.
        images: Signatures of the splits ``train`` and ``val``.

    Raises:
        InputError: What it draws, or what is fixed, is invalid.
    """
    drawn = candidate.draw(config.seed, trial)
    training: dict[str, Any] = {name: drawn.get(name, value) for name, value in candidate.training.items()}
    settings = {name: drawn.get(f"{candidate.method}.{name}", value) for name, value in candidate.settings.items()}
    pairs = ",".join(f"{name}={value}" for name, value in settings.items())
    with blame(config, candidate.table("train_methods")):
        method = find_train_method(f"{candidate.method}:{pairs}" if pairs else candidate.method)
    with blame(config, candidate.table("training")):
        stage = Stage(**{name: training[name] for name in STAGE if name in training})
        recipe = Recipe((stage,), **{name: training[name] for name in RECIPE if name in training})
    others = {name: value for name, value in training.items() if name not in (*STAGE, *RECIPE)}
    with blame(config, candidate.place):
        model = method.name_network(candidate.model) if ".py:" in candidate.model else None
    with blame(config, "evaluation"):
        evaluation = EvalConfig(
            **{"method": method.map_method, **config.evaluation, "bootstrap": 0},
            **config.data,
            model=model,
            split="val",
            tau="oracle",
            val_boxes=config.val_boxes,
            resume=True,
        )
    recipe_values = {name: getattr(stage, name) for name in STAGE} | recipe.to_dict()
    del recipe_values["stages"]
    decisive = {name: value for name, value in others.items() if name not in _WITHOUT_EFFECT}
    evaluating = {f"evaluation.{key}": value for key, value in config.evaluation.items() if key not in WITHOUT_EFFECT}
    request = {"model": candidate.model, "train_method": method.signature, **recipe_values, **decisive, **evaluating}
    return Task(
        candidate=candidate,
        trial=trial,
        drawn=drawn,
        method=method,
        recipe=recipe,
        training=others,
        evaluation=evaluation,
        folder=config.out / "trials" / f"{candidate.folder}-{trial:03d}",
        request={name: str(value) for name, value in {**request, "by": by, **images}.items()},
        by=by,
    )


def make_retraining(config: SearchConfig, chosen: Task, value: float, number: int) -> Task:
    """Return the training of the best trial's settings with another seed, and its evaluation on the split test.

    Args:
        config: The search.
        chosen: The best trial.
        value: Its value on the validation split, in percent.
        number: Which of the trainings, from 1. It is added to the seed of the recipe: none of them has the seed of the
            trials, whose luck took part in the choice.
    """
    recipe = replace(chosen.recipe, seed=chosen.recipe.seed + number)
    images = chosen.request["val"]
    drawn = ", ".join(f"{name} {each}" for name, each in chosen.drawn.items()) or "nothing drawn"
    note = (
        f"the settings are those of trial {chosen.trial}, the best of {config.trials} by {chosen.by} on {images} "
        f"({value:.1f} %): {drawn}; the seed is {recipe.seed}"
    )
    evaluation = replace(
        chosen.evaluation, split="test", tau="val", bootstrap=config.evaluation.get("bootstrap", RESAMPLES)
    )
    return replace(
        chosen,
        recipe=recipe,
        evaluation=evaluation,
        folder=config.out / "seeds" / f"best-of-{config.trials}" / f"{chosen.folder.name}-seed{recipe.seed}",
        request={**chosen.request, "seed": str(recipe.seed)},
        choice=Choice(f"+best-of-{config.trials}-trials({chosen.by},{images})", note),
    )


def run_task(task: Task) -> Result:
    """Train and evaluate; a training that diverges is a result as well.

    The state between epochs is removed from a finished trial: it is twice as large as the weights.

    Args:
        task: The trial, whose folder exists and is locked.

    Raises:
        InputError: The training or the evaluation is not possible.
    """
    begin, training = time.perf_counter(), task.folder / "training"
    value = tau = None
    signature = reason = ""
    data = {name: getattr(task.evaluation, name) for name in ("dataset", "data_root", "dataset_args")}
    try:
        weights = train(
            task.candidate.model,
            recipe=task.recipe,
            train_method=task.method,
            out=training,
            **data,
            **task.training,
        )
    except DivergedError as error:
        reason = str(error)
    else:
        try:
            evaluation = run(replace(task.evaluation, weights=weights, out=task.run_folder), choice=task.choice)
        except NotFiniteError as error:  # the loss is that before the last step
            reason = str(error)
        else:
            value, tau = pick_value(evaluation.metrics, task.by), evaluation.metadata.tau.value
            signature = evaluation.signature
    free_memory(task.evaluation.compiled)
    status: Literal["done", "diverged"] = "diverged" if reason else "done"
    result = Result(task.request, status, value, tau, time.perf_counter() - begin, signature, reason)
    (training / STATE_FILE).unlink(missing_ok=True)
    with atomic_write(task.folder / RESULT) as path:
        path.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
    return result
