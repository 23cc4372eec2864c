"""A benchmark without files: objects made of parts, in photographic surfaces, with everything known about them."""

from dataclasses import fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._synthetic.scene import CLASSES, Scene, SyntheticConfig, label_of, render
from wsol.datasets.base import DATASETS, Dataset, Mask, Sample, Split, as_boxes
from wsol.errors import InputError

__all__ = ["CLASSES", "Scene", "SyntheticConfig", "render", "synthetic"]

_SMALLEST = 5  # pixels across, for a part that can still be told from another
_IMAGES = {"train": 12000, "val": 120, "test": 240}


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

    Twelve classes in four families. The members of a family share the body (shape, surface, proportions) and differ in
    a smaller part (shape, surface, colour): a classifier needs no more than the part, the box spans the whole object.
    Surfaces are cut from photographs that scikit-image ships, each in one role only; ``train`` uses their left halves,
    ``val`` and ``test`` their right ones. An image is a pure function of seed, split, index and knobs.

    Args:
        split: ``train``, ``val`` or ``test``.
        images: Number of images; 12000, 120 and 240 by default. More continue where fewer end.
        seed: Of everything random.
        size: Side of the images in pixels. Surfaces keep their grain.
        object_scale: Square root of the share of the image that an object covers, on average; what is too large for
            the image is cut by its border.
        part_size: Share of the object's area that is its discriminative part, before part and body overlap.
        instances: Largest number of objects in an image, all of its class.
        distractors: Objects of no class in an image.
        occlusion: Share of the body's length that a strip hides.
        context_bias: Probability that the background is the one that goes with the class (it tells the members of a
            family apart); otherwise any of the four, the same included.

    Raises:
        InputError: A knob is no number or out of its range.
    """
    knobs = SyntheticConfig(
        seed=_whole("seed", seed, 0, 2**63),
        size=_whole("size", size, 32, 4096),
        object_scale=_real("object_scale", object_scale, 0.1, 0.7),
        part_size=_real("part_size", part_size, 0.05, 0.9),
        instances=_whole("instances", instances, 1, 20),
        distractors=_whole("distractors", distractors, 0, 50),
        occlusion=_real("occlusion", occlusion, 0, 0.5),
        context_bias=_real("context_bias", context_bias, 0, 1),
    )
    across = knobs.object_scale * knobs.size * knobs.part_size**0.5
    if across < _SMALLEST:
        raise InputError(
            f"synthetic: parts would be {across:.1f} pixels across; raise size, object_scale or part_size until "
            f"size * object_scale * sqrt(part_size) is {_SMALLEST}"
        )
    count = _whole("images", images, 1, 10**8) if images else _IMAGES[split]
    samples = tuple(_sample(split, index, knobs) for index in range(count))
    turned = [
        f"{f.name}={getattr(knobs, f.name)}" for f in fields(SyntheticConfig) if getattr(knobs, f.name) != f.default
    ]
    return Dataset("synthetic", split, samples, CLASSES, ",".join(turned))


def _sample(split: Split, index: int, knobs: SyntheticConfig) -> Sample:
    boxes = [] if split == "train" else render(split, index, knobs).boxes
    return Sample(
        f"{split}-{index:06d}",
        label_of(split, index, knobs.seed),
        as_boxes(boxes),
        "edges",
        size=(knobs.size, knobs.size),
        mask=partial(_mask, split, index, knobs),
        render=partial(_pixels, split, index, knobs),
    )


def _pixels(split: Split, index: int, knobs: SyntheticConfig) -> NDArray[np.uint8]:
    return render(split, index, knobs).pixels


def _mask(split: Split, index: int, knobs: SyntheticConfig) -> Mask:
    objects = render(split, index, knobs).objects
    return Mask(objects, np.zeros_like(objects))


def _whole(name: str, text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise InputError(f"synthetic: {name} is {text!r}; give a whole number from {low} to {high}")
    return value


def _real(name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"synthetic: {name} is {text!r}; give a number from {low:g} to {high:g}")
    return value
