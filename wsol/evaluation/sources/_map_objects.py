"""Score maps as Python objects: arrays or tensors by image id, or in the order of the images."""

import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.evaluation.sources._map_files import ImageMaps, Reader

_PAIR = 2  # items of (image_id, map) and of (maps, classes)


def object_readers(maps: Mapping[str, Any] | Iterable[Any], images: Dataset) -> dict[str, list[Reader]]:
    """Return the readers of all maps by name.

    Args:
        maps: By image id, or by its name without the suffix, as files are named: a mapping is read image by image when
            its maps are needed; of an iterable of pairs ``(image_id, map)`` every map is kept in memory. Or without
            ids, one map per image in the order of the images: an array ``(n, h, w)``, or an iterable. In all of these
            a map is an array or a tensor ``(h, w)``, that of the ground-truth class, or a tuple ``(maps, classes)``,
            ``(k, h, w)`` and ``(k,)``.
        images: The images, including those that only classification counts.

    Raises:
        InputError: It is none of these.
    """
    readers: defaultdict[str, list[Reader]] = defaultdict(list)
    if isinstance(maps, Mapping):
        lock = threading.Lock()  # a mapping may read files
        for name in maps:
            readers[_check_name(name)].append(partial(_read_item, maps, name, lock))
        return readers
    if not isinstance(maps, Iterable) or isinstance(maps, bytes):
        raise InputError(
            f"maps is {type(maps).__name__}; give a folder, a dictionary of maps by image id, an array (n, h, w), or "
            "an iterable of maps"
        )
    has_items = getattr(maps, "dtype", None) == np.dtype(object)  # maps of different sizes
    is_array = hasattr(maps, "shape") and not has_items
    every = _as_array(maps) if is_array else [*maps]
    if isinstance(every, np.ndarray) and every.ndim != 3:
        raise InputError(f"maps has the shape {every.shape}, not (n, h, w); give (maps, classes) for several classes")
    named = [_is_named(item) for item in every]
    if any(named) and not all(named):
        raise InputError(f"maps has an image id in item {named.index(True)} but none in item {named.index(False)}")
    if any(named):
        for name, item in every:
            readers[name].append(partial(_as_image_maps, item))
        return readers
    if len(every) != len(images):
        raise InputError(
            f"maps has {len(every)} maps, but {images.name} has {len(images)} images to score; give one map per image "
            "in this order, or a dictionary by image id"
        )
    return {sample.image_id: [partial(_as_image_maps, each)] for sample, each in zip(images, every, strict=True)}


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise InputError(f"maps has the key {name!r:.80}; give image ids, which are strings")
    return name


def _is_named(item: object) -> bool:
    return isinstance(item, tuple | list) and len(item) == _PAIR and isinstance(item[0], str)


def _read_item(maps: Mapping[str, Any], name: str, lock: threading.Lock) -> ImageMaps:
    with lock:
        return _as_image_maps(maps[name])


def _as_image_maps(item: Any) -> ImageMaps:
    if isinstance(item, tuple) and len(item) == _PAIR:
        return ImageMaps(_as_array(item[0]), _as_array(item[1]))
    return ImageMaps(_as_array(item))


def _as_array(values: Any) -> NDArray[Any]:
    """Return an array or a tensor of any device as an array; bfloat16, which NumPy lacks, as float32."""
    torch = sys.modules.get("torch")  # without it there are no tensors
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise ValueError(f"holds {array.dtype}, not numbers")
    return array
