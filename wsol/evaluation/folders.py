"""Default run folders: readable names that tell runs with different options apart."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsol.datasets import DATASETS
from wsol.evaluation.config import options
from wsol.io.paths import file_name

_RESULTS = "results"
_SOURCES = ("run", "maps", "boxes", "baseline")
WITHOUT_EFFECT = {  # on the numbers
    *("bootstrap", "download", "skip_bad_images", "skip_bad", "out", "resume"),
    *("device", "batch_size", "workers", "memory", "channels_last", "compiled"),
}
_WEIGHTS_SUFFIX = re.compile(r"\.(safetensors|pth|pt|caffemodel)$")
_SOURCE = re.compile(r"^(timm/|open_clip/|hf/[\w.-]+/)(?=[^/]+$)")  # the first part of a model's name
_MAX_BYTES = 150  # of a name; file systems take 255
_DIGEST_BYTES = 3


def evaluation_folder(arguments: Mapping[str, Any]) -> Path:
    """Return ``results/DATASET-SPLIT-MODEL-METHOD``, with all options that differ from their defaults.

    Args:
        arguments: The arguments of ``wsol.evaluate``, as the command line gives them.
    """
    dataset = [*_dataset(arguments), *_given(arguments["data_root"]), *_pairs(arguments["dataset_args"])]
    network = [*_given(arguments["model"]), *_given(arguments["weights"])]
    shown = {"dataset", "data_root", "dataset_args", "split", "model", "weights", "method"}
    defaults = {name: default for name, default, _ in options()}
    return _folder([*dataset, arguments["split"], *network, arguments["method"]], arguments, shown, defaults)


def selection_folder(arguments: Mapping[str, Any]) -> Path:
    """Return ``results/select-DATASET-WEIGHTS...-METHOD``, with all options that differ from their defaults.

    Args:
        arguments: The arguments of ``wsol.select``, as the command line gives them.
    """
    dataset = [*_dataset(arguments), *_given(arguments["data_root"]), *_pairs(arguments["dataset_args"])]
    shown = {"dataset", "data_root", "dataset_args", "weights", "method", "by"}
    defaults = {name: default for name, default, _ in options()}
    first = ["select", *dataset, *_given(arguments["model"]), *arguments["weights"], arguments["method"]]
    return _folder([*first, arguments["by"]], arguments, shown | {"model"}, defaults)


def scoring_folder(arguments: Mapping[str, Any]) -> Path:
    """Return ``results/score-SOURCE-NAME-PROTOCOL``, with all options that differ from their defaults.

    Args:
        arguments: The arguments of ``wsol.score``, as the command line gives them.
    """
    sources = [text for source in _SOURCES if arguments[source] for text in (source, str(arguments[source]))]
    dataset = [*_dataset(arguments), *_given(arguments["data_root"]), *_pairs(arguments["dataset_args"])]
    shown = {*_SOURCES, "protocol", "dataset", "data_root", "dataset_args"}
    defaults = {name: default for name, default, _ in options() if name != "split"}
    return _folder(["score", *sources, arguments["protocol"], *dataset], arguments, shown, defaults)


def _dataset(arguments: Mapping[str, Any]) -> list[str]:
    return [DATASETS.canonical(arguments["dataset"])] if arguments["dataset"] else []


def _folder(
    first: Sequence[str], arguments: Mapping[str, Any], shown: set[str], defaults: Mapping[str, object]
) -> Path:
    """Join the values that are always shown with the other options; a digest stands for what a name cannot hold."""
    values = [*first]
    for name, value in arguments.items():
        if name not in shown | WITHOUT_EFFECT and value is not False and value not in (None, defaults.get(name)):
            values.append(name if value is True else f"{name}={value}")
    parts, exact = zip(*map(_show, values), strict=True)
    name = file_name(*parts)
    if not all(exact) or len(name.encode()) > _MAX_BYTES:
        digest = hashlib.blake2b(repr(values).encode(), digest_size=_DIGEST_BYTES).hexdigest()
        name = f"{name.encode()[:_MAX_BYTES].decode(errors='ignore')}-{digest}"
    return Path(_RESULTS, name)


def _given(value: object) -> list[str]:
    return [] if value is None else [str(value)]


def _pairs(table: Mapping[str, str] | None) -> list[str]:
    return [f"{key}={value}" for key, value in sorted((table or {}).items())]


def _show(value: str) -> tuple[str, bool]:
    """Return what a name shows of a value, of a path only its end; and whether this tells the value."""
    whole = _SOURCE.sub(lambda match: match[0].replace("/", "-"), value.removeprefix(f"{_RESULTS}/")).replace(":", "-")
    end = re.sub("[^=]*/", "", whole)
    text = file_name(_WEIGHTS_SUFFIX.sub("", end))
    return text, text == whole
