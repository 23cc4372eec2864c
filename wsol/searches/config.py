"""A search as its TOML file states it, checked before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from wsol.errors import InputError
from wsol.evaluation.config import options
from wsol.evaluation.settings_file import Kind, check_key, check_values, read_settings
from wsol.io.paths import file_name
from wsol.searches.ranges import Range, parse_range
from wsol.training.recipe import HeadGradient, HeadStart, Recipe

_INTEGER, _NUMBER = Kind(int, "an integer"), Kind(int | float, "a number")
_TABLE = Kind(dict, "a table of strings and numbers")
STAGE = ("epochs", "image_size", "batch_size")
RECIPE = tuple(each.name for each in fields(Recipe) if each.name != "stages")
_SWITCH = Kind(bool, "true or false")
TRAINING = {
    "weights": Kind(),
    "freeze": Kind(expects="'features'", choices=("features",)),
    "map_size": _INTEGER,
    "validation": _SWITCH,
    "device": Kind(),
    "precision": Kind(
        expects="'auto', 'float32', 'tf32' or 'bfloat16'", choices=("auto", "float32", "tf32", "bfloat16")
    ),
    "workers": _INTEGER,
    **dict.fromkeys(STAGE, _INTEGER),
    **dict.fromkeys(RECIPE, _NUMBER),
    "seed": _INTEGER,
    **dict.fromkeys(("nesterov", "decay_all"), _SWITCH),
    **dict.fromkeys(("schedule", "augmentation"), Kind()),
    "head_gradient": Kind(expects="'limited' or 'plain'", choices=get_args(HeadGradient)),
    "head_start": Kind(expects="'zero' or 'normal'", choices=get_args(HeadStart)),
    "layer_rates": Kind(dict, 'a table of numbers, such as { fc = 10, "body.layer4" = 10 }'),
}
"""The options of ``wsol.train`` that a search may set, or draw unless they are tables."""
_CHOSEN = ("model", "weights", "dataset", "data_root", "dataset_args", "split", "tau", "val_boxes", "map_size")
_EVALUATION = {name: Kind.of(option) for name, _, option in options() if option.in_suite and name not in _CHOSEN}
_TOP = {
    "out": Kind(),
    **dict.fromkeys(("trials", "seeds", "seed"), _INTEGER),
    "by": Kind(),
    "dataset": Kind(),
    "data_root": Kind(),
    "dataset_args": _TABLE,
    "val_boxes": Kind(),
}
_TABLES = ("training", "evaluation", "train_methods")
Settings = Mapping[str, Any]
"""Values and ranges by name."""


@dataclass(frozen=True)
class Candidate:
    """A network under a training method: what gets a number of trials.

    Attributes:
        network: Name of the network in tables and folders.
        method: Registered name of the training method.
        model: The model, as ``wsol.train`` takes it.
        training: Options of the training.
        settings: Settings of the training method.
        entry: Number of its entry in ``models``, from 1.
        own: Tables of the search file that the entry has parts of for itself: ``training``, ``train_methods``.
    """

    network: str
    method: str
    model: str
    training: Settings
    settings: Settings
    entry: int = 1
    own: frozenset[str] = frozenset()

    @property
    def place(self) -> str:
        """Entry and tables of the search file, for messages."""
        return f"entry {self.entry} of models ({self.network}) with train_methods.{self.method}"

    def table(self, name: str) -> str:
        """Return where the search file has the options of ``training`` or ``train_methods``, for messages."""
        table = f"train_methods.{self.method}" if name == "train_methods" else name
        return f"{table} or entry {self.entry} of models" if name in self.own else table

    @property
    def folder(self) -> str:
        """Name of its folders, to which the number of a trial is added."""
        return file_name(self.network, self.method)

    def draw(self, seed: int, trial: int) -> dict[str, Any]:
        """Return what a trial draws, by name; a setting of the training method as ``has.rate``."""
        named = {**self.training, **{f"{self.method}.{name}": value for name, value in self.settings.items()}}
        return {name: value.draw(seed, trial, name) for name, value in named.items() if isinstance(value, Range)}


@dataclass(frozen=True)
class SearchConfig:
    """A search.

    Attributes:
        file: Its file.
        out: Its folder.
        trials: Number of trials of each candidate.
        seeds: Number of trainings with the best settings, which are evaluated on the test split.
        seed: Seed of the draws.
        by: Metric that decides; None for the one that suits the data set.
        data: Arguments ``dataset``, ``data_root`` and ``dataset_args`` of training and evaluation.
        val_boxes: Pseudo boxes that replace those of the validation split.
        evaluation: Other options of the evaluation.
        candidates: The networks and training methods.
    """

    file: Path
    out: Path
    trials: int
    seeds: int
    seed: int
    by: str | None
    data: Mapping[str, Any]
    val_boxes: str | None
    evaluation: Mapping[str, Any]
    candidates: tuple[Candidate, ...]


def read_search(path: str | Path, out: str | Path | None = None) -> SearchConfig:
    """Read a search.

    Args:
        path: The TOML file, see ``search``.
        out: Folder of the search; None for the one that the file names, or ``results/`` and the file's name.

    Raises:
        InputError: It is no such file.
    """
    path = Path(path)
    return read_settings(path, "search", lambda table: _parse(table, out, path))


def _parse(table: Mapping[str, Any], out: str | Path | None, file: Path) -> SearchConfig:
    if "split" in table or "split" in table.get("evaluation", {}):
        raise InputError("trials are chosen on the split val and never on test; leave out split")
    for key in table:
        check_key(key, [*_TOP, "models", *_TABLES])
    top = {key: value for key, value in table.items() if key in _TOP}
    check_values(top, _TOP)
    for name, least in (("trials", 1), ("seeds", 0), ("seed", 0)):
        if top.get(name, least) < least:
            raise InputError(f"{name} is {top[name]}; give an integer of {least} or more")
    evaluation = _read_table(table, "evaluation")
    if "tau" in evaluation:
        raise InputError(
            "tau is the best one on val in every trial, and chosen on val for the split test; leave it out"
        )
    check_values(evaluation, _EVALUATION, "evaluation: ")
    training = _read_settings(_read_table(table, "training"), TRAINING, "training: ")
    arguments = {key: str(value) for key, value in top.get("dataset_args", {}).items()}
    config = SearchConfig(
        file=file,
        out=Path(out or top.get("out", Path("results") / file.stem)),
        trials=top.get("trials", 30),
        seeds=top.get("seeds", 3),
        seed=top.get("seed", 0),
        by=top.get("by"),
        data={"dataset": top.get("dataset", "synthetic"), "data_root": top.get("data_root"), "dataset_args": arguments},
        val_boxes=top.get("val_boxes"),
        evaluation=evaluation,
        candidates=_combine(table.get("models"), training, _read_table(table, "train_methods")),
    )
    _check_candidates(config)
    return config


def _read_table(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise InputError(f"{name} is {value!r:.80}; give a table, [{name}]")
    return value


def _read_settings(table: Mapping[str, Any], kinds: Mapping[str, Kind], place: str) -> dict[str, Any]:
    """Return values and ranges; a range draws only what the key may hold."""
    settings: dict[str, Any] = {}
    for key, value in table.items():
        check_key(key, kinds, place)
        if not isinstance(value, dict) or kinds[key].kinds is dict:
            check_values({key: value}, kinds, place)
            settings[key] = value
            continue
        drawn = settings[key] = parse_range(value, place + key)
        examples: tuple[Any, ...] = {"uniform": (0.5,), "log-uniform": (0.5,), "integer": (1,)}.get(
            drawn.kind, drawn.values
        )
        if wrong := [each for each in examples if not kinds[key].fits(each)]:
            raise InputError(f"{place}{key} is drawn by {drawn}, such as {wrong[0]!r:.80}; give {kinds[key].expects}")
    return settings


def _combine(models: Any, training: Settings, methods: Mapping[str, Any]) -> tuple[Candidate, ...]:
    if models is None:
        raise InputError('no model is given; give at least one, such as models = ["resnet18-gap"]')
    if not isinstance(models, list) or not models:
        raise InputError(f"models is {models!r:.80}; give a list with at least one model")
    if not methods:
        raise InputError("no training method is given; give at least one as a table, [train_methods.cam]")
    candidates = []
    for number, entry in enumerate(models, 1):
        place = f"entry {number} of models: "
        own = {"model": entry} if isinstance(entry, str) else entry
        for key in own if isinstance(own, dict) else ():
            check_key(key, ["model", "name", "train_methods", *TRAINING], place)
        if not isinstance(own, dict) or not isinstance(own.get("model"), str):
            raise InputError(f"{place}{entry!r:.80} is neither a string nor a table with a model")
        name, model = own.get("name", own["model"]), own["model"]
        check_values({"name": name}, {"name": Kind()}, place)
        more = {key: value for key, value in own.items() if key not in ("model", "name", "train_methods")}
        merged = {**training, **_read_settings(more, TRAINING, place)}
        own_methods = own.get("train_methods", {})
        if not isinstance(own_methods, dict):
            raise InputError(f"{place}train_methods is {own_methods!r:.80}; give a table")
        for method in own_methods:
            check_key(method, methods, f"{place}train_methods: ")
        for method in methods:
            settings = _read_method(method, methods[method])
            settings |= _read_method(method, own_methods.get(method, {}), place)
            tables = frozenset(["training"] * bool(more) + ["train_methods"] * bool(own_methods.get(method)))
            candidates.append(Candidate(str(name), method, str(model), merged, settings, number, tables))
    return tuple(candidates)


def _read_method(method: str, table: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InputError(f"{place}train_methods: {method} is {table!r:.80}; give a table, [train_methods.{method}]")
    place += f"train_methods.{method}: "
    settings = {key: parse_range(v, place + key) if isinstance(v, dict) else v for key, v in table.items()}
    for key, value in settings.items():
        if not isinstance(value, Range | str | int | float):
            raise InputError(f"{place}{key} is {value!r:.80}; give a number, a string or a range")
    return settings


def _check_candidates(config: SearchConfig) -> None:
    names: dict[str, Candidate] = {}
    for candidate in config.candidates:
        if names.setdefault(candidate.folder.casefold(), candidate) is not candidate:  # some file systems ignore case
            raise InputError(
                f"two networks would have the folders {candidate.folder}; give one of them a name, such as "
                f'{{ model = "{candidate.model}", name = "other" }}'
            )
        if config.trials > 1 and not candidate.draw(config.seed, 1):
            raise InputError(
                f"{candidate.network} with {candidate.method} has no range, so that its {config.trials} trials would "
                "be the same; give one, such as learning_rate = { log-uniform = [1e-5, 1] }"
            )
