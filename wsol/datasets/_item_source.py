"""Items of a sequence that a program holds, fetched when they are needed."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsol.datasets._content import hash_array
from wsol.datasets.base import Mask, MaskReader
from wsol.errors import ImageError, InputError, first_line
from wsol.io.pixels import decode_stored, image_of_array, to_rgb


@dataclass(frozen=True)
class Item:
    """The parts of an item, as they were given; ``image`` and ``mask`` are ``LATER`` where they were not fetched."""

    image: Any
    label: Any
    boxes: Any
    mask: Any = None
    image_id: Any = None


LATER = object()
_KEYS = ("image", "label", "bbox")
_OPTIONAL_KEYS = ("mask", "image_id")


class ItemSource:
    """Fetches items; each thread keeps the one that it fetched last, whose image and mask are read in turn.

    Args:
        items: The sequence.
        read: Returns the tuple or mapping of an item, if it is neither.
        name: Name of the data set, for messages.
    """

    def __init__(self, items: Any, read: Callable[[Any], Any] | None, name: str) -> None:
        self._items, self._read, self._name = items, read, name
        self._last = threading.local()
        self._columns = None if read else _without_images(items)

    def __getstate__(self) -> tuple[Any, ...]:
        return self._items, self._read, self._name

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # threads have fetched nothing yet

    def where(self, index: int) -> str:
        """Return the name of an item for messages."""
        return f"{self._name}: item {index}"

    def annotation(self, index: int) -> Item:
        """Return an item, its image and mask only if they are there anyway."""
        if self._columns is None:
            return self._fetch(index)
        row = {**dict.fromkeys(self._items.column_names, LATER), **self._columns[index]}
        return _parse(row, self.where(index))

    def image(self, index: int, image_id: str) -> NDArray[np.uint8]:
        """Return the image of an item, uint8 ``(height, width, 3)``.

        Raises:
            ImageError: It cannot be read.
        """
        try:
            image = self._fetch(index).image
            decoded = decode_stored(image) if isinstance(image, Image.Image) else image_of_array(np.asarray(image))
            return np.asarray(to_rgb(decoded))
        except Exception as error:  # the code of other people, which may raise anything
            reason = str(error) if isinstance(error, InputError) else first_line(error)
            raise ImageError(f"the image {image_id} cannot be read ({reason}); repair it or leave it out") from error

    def mask(self, index: int) -> Mask:
        """Return the mask of an item.

        Raises:
            InputError: It cannot be used.
        """
        item = self._fetch(index)
        return _to_mask(item.mask, _size_of(item.image), self.where(index))

    def _fetch(self, index: int) -> Item:
        if getattr(self._last, "index", None) != index:
            where = self.where(index)
            try:
                raw = self._items[index]
                raw = self._read(raw) if self._read else raw
            except Exception as error:  # the code of other people, which may raise anything
                raise InputError(f"{where} cannot be read ({first_line(error)}); repair it or leave it out") from error
            self._last.item, self._last.index = _parse(raw, where), index
        found: Item = self._last.item
        return found


def _without_images(items: Any) -> Any:
    """Return a Hugging Face data set without the columns whose images are decoded; None for any other sequence."""
    features = getattr(items, "features", None)
    if not (isinstance(features, Mapping) and hasattr(items, "select_columns")):
        return None
    kept = [key for key in (*_KEYS, *_OPTIONAL_KEYS) if key in features and type(features[key]).__name__ != "Image"]
    return items.select_columns(kept)


def _parse(raw: Any, where: str) -> Item:
    if isinstance(raw, Mapping):
        if missing := [key for key in _KEYS if key not in raw]:
            raise InputError(
                f"{where} has no {missing[0]!r}, only {', '.join(map(str, raw))}; rename it, or give read=, a function "
                "of an item that returns (image, label, boxes)"
            )
        return Item(*(raw[key] for key in _KEYS), *(raw.get(key) for key in _OPTIONAL_KEYS))
    if isinstance(raw, tuple | list) and len(raw) in (3, 4):
        return Item(*raw)
    parts = f"{len(raw)} parts" if isinstance(raw, tuple | list) else f"the type {type(raw).__name__}"
    raise InputError(
        f"{where} has {parts}; it should be (image, label, boxes) or (image, label, boxes, mask): give read=, a "
        "function of an item that returns this"
    )


class ItemMask(MaskReader):
    """Reads the mask of an item, and computes the hash of it once."""

    def __init__(self, source: ItemSource, index: int) -> None:
        self._source, self._index, self._hash = source, index, ""

    def __call__(self) -> Mask:
        return self._source.mask(self._index)

    def source(self) -> tuple[Sequence[Path], str]:
        """Return no files, and the hash of the mask."""
        if not self._hash:
            mask = self()
            self._hash = (hash_array(mask.foreground) + hash_array(mask.ignore)).decode()
        return [], self._hash


def _to_mask(given: Any, size: tuple[int, int] | None, where: str) -> Mask:
    """Return a mask as an item gives it; ``size`` is ``(width, height)`` of the image, if it is known."""
    try:
        found = given if isinstance(given, Mask) else _binary_mask(np.asarray(given))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where} has a mask that cannot be used: {first_line(error)}; give a bool array (height, width), or a "
            "wsol.datasets.Mask, which also has pixels to ignore"
        ) from error
    shape = found.foreground.shape
    if size is not None and shape[::-1] != size:
        raise InputError(f"{where} has a mask of {shape[::-1]} pixels, but an image of {size}; give both in one size")
    return found


def _binary_mask(values: NDArray[Any]) -> Mask:
    if values.ndim != 2:
        raise ValueError(f"it has the shape {values.shape}")
    if values.dtype != np.bool_ and not (np.isin(values, (0, 1)).all() or np.isin(values, (0, 255)).all()):
        raise ValueError("it has other values than 0 and 1 or 0 and 255")
    return Mask(values != 0, np.zeros(values.shape, bool))


def _size_of(image: Any) -> tuple[int, int] | None:
    """Return ``(width, height)`` of an image in memory; None for a path."""
    if isinstance(image, str | os.PathLike):
        return None
    if isinstance(image, Image.Image):
        return image.size
    height, width = np.shape(image)[:2]
    return width, height
