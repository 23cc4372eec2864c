"""The default folder of a measurement."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from wsol.evaluation.folders import evaluation_folder
from wsol.perturbation.settings import Settings


def measurement_folder(arguments: Mapping[str, Any], settings: Settings, run: Path | None) -> Path:
    """Return ``results/faithfulness-DATASET-SPLIT-MODEL-METHOD``, with all options that differ from their defaults.

    Args:
        arguments: The arguments of ``wsol.evaluate``, as the command line gives them.
        settings: What is measured.
        run: The run whose maps are used.
    """
    own: dict[str, Any] = {}
    for each in fields(Settings):
        value = getattr(settings, each.name)
        if value != each.default:
            own[each.name] = "+".join(value) if each.name == "parts" else value
    folder = evaluation_folder({**arguments, **own, **({} if run is None else {"run": run})})
    return folder.with_name(f"faithfulness-{folder.name}")
