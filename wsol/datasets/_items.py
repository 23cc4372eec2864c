"""A data set of what a program holds: any sequence of images with labels and boxes."""

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsol.datasets._content import HashedImage
from wsol.datasets._extent import extent_of
from wsol.datasets._item_source import LATER, Item, ItemMask, ItemSource
from wsol.datasets.base import TO_EDGES, Corners, Dataset, Sample, Split, as_boxes, check_dataset
from wsol.errors import InputError, first_line
from wsol.io.display import quote

BoxFormat = Corners | Literal["xywh"]
"""Format of boxes: corners ``(x0, y0, x1, y1)`` in one of the conventions, or ``(x, y, width, height)``."""


def from_items(
    items: Any,
    *,
    corners: BoxFormat,
    classes: Sequence[str] | None = None,
    name: str = "items",
    split: Split = "test",
    read: Callable[[Any], Any] | None = None,
) -> Dataset:
    """Make a data set of a sequence of images with labels and boxes.

    An item is a tuple ``(image, label, boxes)`` or ``(image, label, boxes, mask)``, or a mapping with the keys
    ``image``, ``label``, ``bbox`` and perhaps ``mask`` and ``image_id``, such as a row of Hugging Face's ``datasets``;
    ``read`` turns an item of any other form into one of these:

    - image: the path of a file, a PIL image, or an array ``(height, width)`` or ``(height, width, 1 to 4)``;
    - label: the number of the class, or its name;
    - boxes: ``(g, 4)``, or ``(4,)`` for one box, in pixels of the image; None for the extent of the mask; empty for an
      image that shows no object, whose mask is empty too;
    - mask: an array or PIL image of the size of the image, in which 0 and False are background and True, 1 or 255 the
      object; or a ``Mask``, which also has pixels to ignore.

    Every item is looked at once, now; of a Hugging Face data set, the columns that hold no images. An image is fetched
    from ``items`` when a run needs it, and not kept: once a run, and in the first run once more for 64 images, evenly
    spaced, whose pixels are hashed for the signature. So the items must not change. The image ids are those of the
    mappings; the paths below the folder that all of them share; or the places in the sequence, ``000000`` and so on.

    Args:
        items: A sequence: a list, or anything with a length and places from 0, such as a data set of torchvision, or a
            split of a Hugging Face data set.
        corners: Format of the boxes: ``edges`` (COCO's corners, torchvision's XYXY), ``inclusive`` or ``one-based``, or
            ``xywh`` for x, y, width and height.
        classes: Names of the classes, in the order of the labels; None for those that ``items`` names, or those that
            the labels name, sorted, or the numbers from 0 to the highest label.
        name: Name of the data set in the signature.
        split: ``test``, or ``val`` for images that tau is chosen on.
        read: Returns the tuple or mapping of an item.

    Raises:
        InputError: ``items`` is no sequence, or an item cannot be used; the message names it.
    """
    if corners not in (*TO_EDGES, "xywh"):
        raise InputError(f"there is no box format {corners!r}; give corners={', '.join(TO_EDGES)} or xywh")
    if isinstance(items, Mapping):
        raise InputError(f"{name}: the items are a mapping of {', '.join(map(str, items))}; give one of its values")
    if not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
        raise InputError(f"{name}: {type(items).__name__} has no length or no places; give a sequence, such as a list")
    source = ItemSource(items, read, name)
    found = [_read_annotation(source, index, corners) for index in range(len(items))]
    names = _find_classes(items, classes, [each.label for each in found])
    labels = {each: label for label, each in enumerate(names)}
    folders = [each.path.parent for each in found if each.path]
    shared = os.path.commonpath(folders) if folders else ""
    samples = tuple(_make_sample(source, index, each, labels, shared) for index, each in enumerate(found))
    dataset = Dataset(name, split, samples, names)
    check_dataset(dataset)
    return dataset


@dataclass(frozen=True)
class _Annotation:
    """All of an item but its pixels.

    Attributes:
        path: The image file, absolute; None for an image in memory.
        label: The label as it was given.
        boxes: float64 ``(g, 4)``, corners.
        corners: Convention of the corners.
        mask: Reads the mask, if there is one.
        image_id: The id that the item has, if it has one.
        empty: Whether it shows no object.
    """

    path: Path | None
    label: Any
    boxes: NDArray[np.float64]
    corners: Corners
    mask: ItemMask | None
    image_id: str | None
    empty: bool


def _read_annotation(source: ItemSource, index: int, corners: BoxFormat) -> _Annotation:
    item = source.annotation(index)
    path = Path(os.path.abspath(item.image)) if isinstance(item.image, str | os.PathLike) else None  # noqa: PTH100  # does not resolve links
    mask = None if item.mask is None else ItemMask(source, index)
    if mask is not None and item.mask is not LATER:
        mask.source()  # checked and hashed while it is there
    boxes, own = _find_boxes(item, corners, mask, source.where(index))
    empty = not len(boxes) and mask is not None and not mask().foreground.any()
    image_id = None if item.image_id is None else str(item.image_id)
    return _Annotation(path, item.label, boxes, own, mask, image_id, empty)


def _find_classes(items: Any, given: Sequence[str] | None, labels: Sequence[Any]) -> tuple[str, ...]:
    """Return the names of the classes: those given, those of the sequence, or those of the labels."""
    feature = (getattr(items, "features", None) or {}).get("label")  # of Hugging Face
    for names in (given, getattr(feature, "names", None), getattr(items, "classes", None)):
        if names:
            return tuple(map(str, names))
    if labels and all(isinstance(label, str) for label in labels):
        return tuple(sorted(set(labels)))
    numbers = [label for label in labels if _is_integer(label)]
    return tuple(map(str, range(1 + max(map(operator.index, numbers), default=-1))))


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool | np.bool_)


def _make_sample(source: ItemSource, index: int, found: _Annotation, labels: Mapping[str, int], shared: str) -> Sample:
    name = f"{index:06d}" if found.path is None else found.path.relative_to(shared).as_posix()
    image_id = name if found.image_id is None else found.image_id
    label = _find_label(found.label, labels, source.where(index))
    render = HashedImage(partial(source.image, index, image_id)) if found.path is None else None
    place = found.boxes, found.corners, found.path
    return Sample(image_id, label, *place, mask=found.mask, render=render, empty=found.empty)


def _find_label(label: Any, labels: Mapping[str, int], where: str) -> int:
    if isinstance(label, str):
        if label not in labels:
            raise InputError(
                f"{where} has the label {quote(label)}, which is none of the {len(labels)} classes; fix it"
            )
        return labels[label]
    if not _is_integer(label):
        raise InputError(f"{where} has the label {label!r:.80}; give the number of a class or its name")
    return operator.index(label)


def _find_boxes(
    item: Item, corners: BoxFormat, mask: "ItemMask | None", where: str
) -> tuple[NDArray[np.float64], Corners]:
    """Return the boxes of an item, and the convention of their corners."""
    if item.boxes is None:
        if mask is None:
            raise InputError(f"{where} has neither boxes nor a mask; give one of them")
        extent = extent_of(mask().foreground)
        if extent is None:
            raise InputError(f"{where} has no boxes, and its mask marks no pixel; give boxes, [] if it shows no object")
        return as_boxes([extent]), "edges"
    try:
        boxes = np.array(item.boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} has boxes that are no array ({first_line(error)}); give (g, 4) numbers") from error
    boxes = boxes[None] if boxes.shape == (4,) else boxes.reshape(-1, 4) if not boxes.size else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"{where} has boxes of the shape {boxes.shape}; give (g, 4), or (4,) for one box")
    if corners != "xywh":
        return boxes, corners
    boxes[:, 2:] += boxes[:, :2]
    return boxes, "edges"
