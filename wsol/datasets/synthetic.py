"""A benchmark without files: objects made of parts, with photographic textures and a complete annotation."""

from dataclasses import fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._synthetic.scene import CLASSES, Scene, SyntheticConfig, label_of, render
from wsol.datasets.base import DATASETS, Dataset, Mask, Sample, Split, as_boxes
from wsol.errors import InputError

__all__ = ["CLASSES", "Scene", "SyntheticConfig", "render", "synthetic"]

_MIN_PART_SIDE = 5  # pixels, for parts that can still be distinguished
_IMAGE_COUNTS = {"train": 12000, "val": 120, "test": 240}


@DATASETS.register("synthetic")
def synthetic(
    split: Split,
    images: str = "",
    seed: str = str(SyntheticConfig.seed),
    size: str = str(SyntheticConfig.size),
    object_scale: str = str(SyntheticConfig.object_scale),
    part_size: str = str(SyntheticConfig.part_size),
    instances: str = str(SyntheticConfig.instances),
    distractors: str = str(SyntheticConfig.distractors),
    occlusion: str = str(SyntheticConfig.occlusion),
    context_bias: str = str(SyntheticConfig.context_bias),
) -> Dataset:
    """Generate the synthetic benchmark.

    There are twelve classes in four families. The members of a family share the body (shape, texture, proportions) and
    differ in a smaller part (shape, texture, color): a classifier needs the part only, but the box spans the whole
    object. Textures are cut from photographs that are bundled with scikit-image, each in one role only; ``train`` uses
    their left halves, ``val`` and ``test`` their right halves. An image is a pure function of seed, split, index and
    settings.

    Args:
        split: ``train``, ``val`` or ``test``.
        images: Number of images; 12000, 120 and 240 by default. A larger number adds images and changes none.
        seed: Seed of all random numbers.
        size: Side of the images in pixels. Textures keep their scale.
        object_scale: Square root of the fraction of the image that an object covers, on average; an object that is too
            large for the image is cut off at its border.
        part_size: Fraction of the object's area that is its discriminative part, before part and body overlap.
        instances: Largest number of objects in an image, all of its class.
        distractors: Number of objects in an image that belong to no class.
        occlusion: Fraction of the body's length that a strip hides.
        context_bias: Probability that the background is the one of the class, which differs between the members of a
            family; otherwise any of the four backgrounds.

    Raises:
        InputError: A setting is not a number or out of range.
    """
    config = SyntheticConfig(
        seed=_parse_int("seed", seed, 0, 2**63),
        size=_parse_int("size", size, 32, 4096),
        object_scale=_parse_float("object_scale", object_scale, 0.1, 0.7),
        part_size=_parse_float("part_size", part_size, 0.05, 0.9),
        instances=_parse_int("instances", instances, 1, 20),
        distractors=_parse_int("distractors", distractors, 0, 50),
        occlusion=_parse_float("occlusion", occlusion, 0, 0.5),
        context_bias=_parse_float("context_bias", context_bias, 0, 1),
    )
    part_side = config.object_scale * config.size * config.part_size**0.5
    if part_side < _MIN_PART_SIDE:
        raise InputError(
            f"synthetic: parts would be {part_side:.1f} pixels across; raise size, object_scale or part_size until "
            f"size * object_scale * sqrt(part_size) is {_MIN_PART_SIDE}"
        )
    count = _parse_int("images", images, 1, 10**8) if images else _IMAGE_COUNTS[split]
    samples = tuple(_build_sample(split, index, config) for index in range(count))
    changes = [
        f"{f.name}={getattr(config, f.name)}" for f in fields(SyntheticConfig) if getattr(config, f.name) != f.default
    ]
    return Dataset("synthetic", split, samples, CLASSES, ",".join(changes), generated=True)


def _build_sample(split: Split, index: int, config: SyntheticConfig) -> Sample:
    boxes = [] if split == "train" else render(split, index, config).boxes
    return Sample(
        f"{split}-{index:06d}",
        label_of(split, index, config.seed),
        as_boxes(boxes),
        "edges",
        size=(config.size, config.size),
        mask=partial(_render_mask, split, index, config),
        render=partial(render_pixels, split, index, config),
    )


def render_pixels(split: Split, index: int, config: SyntheticConfig) -> NDArray[np.uint8]:
    """Render an image, uint8 ``(height, width, 3)``."""
    return render(split, index, config).pixels


def _render_mask(split: Split, index: int, config: SyntheticConfig) -> Mask:
    objects = render(split, index, config).objects
    return Mask(objects, np.zeros_like(objects))


def _parse_int(name: str, text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InputError(f"synthetic: {name} is {text!r}; give an integer from {low} to {high}")
    return value


def _parse_float(name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"synthetic: {name} is {text!r}; give a number from {low:g} to {high:g}")
    return value
