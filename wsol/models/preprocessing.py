"""Preprocessing read from what other libraries describe it by: torchvision's transforms, timm's data configurations."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from wsol.errors import InputError
from wsol.models.base import Preprocessing

_REMEDY = "give a wsol.models.Preprocessing(mean, std, size)"


def read_preprocessing(given: object) -> Preprocessing:
    """Read mean, standard deviation and size of the input.

    A protocol shows the network its own square view of an image, so the size is used only where it names none, and
    steps such as a crop are not repeated.

    Args:
        given: A ``Preprocessing``; a transform of torchvision (``ImageClassification``, as ``weights.transforms()``
            returns it, or a ``Compose`` or ``nn.Sequential`` of ``Resize``, ``CenterCrop``, conversions and at most one
            ``Normalize``, of ``transforms`` or ``transforms.v2``); or a mapping with ``mean``, ``std`` and perhaps
            ``input_size``, as ``timm.data.resolve_model_data_config`` returns it.

    Raises:
        InputError: It is none of these, has a step that cannot be read, or its numbers are not those of RGB in [0, 1].
    """
    if isinstance(given, Preprocessing):
        return given
    if isinstance(given, Mapping):
        return _read_config(given)
    found = _Found()
    for step in _steps(given):
        _read_step(step, found)
    return _make(found.mean, found.std, found.size, "the transform")


def _read_config(config: Mapping[Any, Any]) -> Preprocessing:
    """Read a data configuration of timm."""
    if missing := [key for key in ("mean", "std") if config.get(key) is None]:
        raise InputError(
            f"the preprocessing has no {missing[0]}; give mean, std and perhaps input_size (3, side, side)"
        )
    size = config.get("input_size")
    if size is not None and (not isinstance(size, tuple | list) or len(size) != 3 or size[0] != 3):
        raise InputError(f"the preprocessing has the input_size {size!r}; give (3, side, side)")
    return _make(config["mean"], config["std"], None if size is None else size[1:], "the preprocessing")


@dataclass
class _Found:
    """Settings read from the steps of a transform so far; without ``Normalize`` pixels are in [0, 1]."""

    mean: Any = (0.0, 0.0, 0.0)
    std: Any = (1.0, 1.0, 1.0)
    size: Any = None
    normalized: bool = False


def _steps(given: object) -> Iterator[Any]:
    """Yield the steps of a transform, those inside others too."""
    kinds = _kinds(given)
    if "Compose" in kinds or isinstance(given, nn.Sequential):
        inner: Iterable[Any] = given if isinstance(given, nn.Sequential) else vars(given)["transforms"]
        for each in inner:
            yield from _steps(each)
    else:
        yield given


def _read_step(step: Any, found: _Found) -> None:
    """Read one step, named by torchvision's class that it is, or is derived from."""
    kinds = _kinds(step)
    if kinds & {"ImageClassification", "Normalize"}:
        if found.normalized:
            raise InputError(f"the transform normalizes twice; {_REMEDY}")
        found.mean, found.std, found.normalized = step.mean, step.std, True
    if "ImageClassification" in kinds:
        found.size = step.crop_size
    elif kinds & {"Resize", "CenterCrop"}:
        is_side = "Resize" in kinds and (isinstance(step.size, int) or len(step.size) == 1)
        found.size = None if is_side else step.size  # the shorter side alone is no size of an input
    elif "ToDtype" in kinds:
        if not step.scale:
            raise InputError(
                f"the transform's ToDtype does not scale pixels to [0, 1]; give it scale=True, or {_REMEDY}"
            )
    elif not kinds & _CONVERSIONS:
        raise InputError(
            f"preprocessing cannot be read from {type(step).__name__}, which is neither a transform of an evaluation "
            f"nor a data configuration; {_REMEDY}"
        )


_CONVERSIONS = frozenset(
    (
        "ConvertImageDtype",
        "Identity",
        "ImageClassification",
        "Normalize",
        "PILToTensor",
        "RGB",
        "ToImage",
        "ToPILImage",
        "ToPureTensor",
        "ToTensor",
    )
)
"""Steps that read pixels in [0, 1], or that were read already."""


def _kinds(step: object) -> set[str]:
    """Return the names of torchvision's classes that a step is an instance of; v2 need not be imported for that."""
    return {kind.__name__ for kind in type(step).__mro__ if kind.__module__.startswith("torchvision.transforms")}


def _make(mean: Any, std: Any, size: Any, what: str) -> Preprocessing:
    """Build the preprocessing from numbers of other libraries.

    Raises:
        InputError: They are not those of square RGB images in [0, 1].
    """
    sides = [size] if isinstance(size, int) else [*(size or ())]
    if len(set(sides)) > 1:
        raise InputError(
            f"{what} makes images of {' x '.join(map(str, sides))}, but networks are shown squares; {_REMEDY}"
        )
    try:
        means, stds = (tuple(map(float, numbers)) for numbers in (mean, std))
        return Preprocessing(means, stds, int(sides[0]) if sides else None)  # type: ignore[arg-type]  # three are checked there
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} cannot be used: {error}") from error
