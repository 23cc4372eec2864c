"""The public function that shows what networks look at in a photo."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.models import Model
from wsol.visualization.photos import Source
from wsol.visualization.predictor import PhotoPredictor
from wsol.visualization.renderer import PhotoRenderer


def show(
    images: Source | Sequence[Source],
    model: str | Model | Sequence[str | Model] | None = None,
    weights: str | Path | Sequence[str | Path | None] | None = None,
    *,
    method: str | Sequence[str] = "cam",
    top: int = 5,
    dataset: str | Dataset | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    split: Split = "test",
    layer: str | None = None,
    map_size: int | None = None,
    protocol: str = "wsolevaluation",
    tau: float = 0.2,
    device: str = "auto",
    memory: float = 2.0,
    cmap: str = "inferno",
    alpha: float = 0.6,
) -> Figure:
    """Draw photos, and beside each the map and the box of the first classes laid over it.

    The overlay is the map as the protocol thresholds it, over the photo in gray, so that every colour is the map's.
    The box is the protocol's at ``tau``. True boxes are dashed and green where the photo is an image of ``dataset``;
    IoU is the protocol's too.

    Args:
        images: A path, a folder, an image id of the data set, a PIL image or an array, uint8 ``(h, w, 3)`` or
            ``(h, w)``; or a list of such.
        model: Registered name or loaded model; a list of them gives one row a model. None where the weights name it.
        weights: Weights file or published name; a list as long as that of the models. None for weights that come with
            the package, and for loaded models.
        method: Registered name, or one with settings; a list of them gives one row a method.
        top: Classes in a row.
        dataset: Registered name or loaded data set: where class names, true boxes and image ids come from.
        data_root: Folder of the data set; ``datasets/<name>`` if None.
        dataset_args: The adapter's own arguments.
        split: Of the data set.
        layer: Name of the target layer, where ``model`` is a name; None to find it.
        map_size: Side of the maps of a 224 x 224 image, where ``model`` is a name; None for the network's own.
        protocol: The conventions: a registered name, or one with changes.
        tau: Threshold of the boxes, on the protocol's grid.
        device: ``auto``, ``cpu``, ``cuda`` ...; a loaded model stays where it is.
        memory: GiB that a method may use.
        cmap: Name of a colour map of Matplotlib.
        alpha: What the map's colour has of an overlay, in [0, 1].

    Returns:
        A figure that a notebook shows where it is the value of a cell, and that ``savefig`` writes. Pyplot does not
        know it, so nothing needs to be closed.

    Raises:
        InputError: Something handed in cannot be used.
    """
    studio = PhotoRenderer(protocol, tau, cmap, alpha)
    sources = [images] if isinstance(images, str | Path | Image.Image | np.ndarray) else [*images]
    if not sources:
        raise InputError("there is no image in the list; give one or more")
    names, classes = studio.find(sources, dataset, data_root, split, dataset_args)
    methods = [method] if isinstance(method, str) else [*method]
    guesser = PhotoPredictor(_networks(model, weights), methods, top, layer, map_size, device, memory)
    return studio.draw({i: guesser.predict(studio.load(i), classes, name) for i, name in enumerate(names)})


def _networks(
    model: str | Model | Sequence[str | Model] | None, weights: str | Path | Sequence[str | Path | None] | None
) -> list[Model | tuple[str | None, str | Path | None]]:
    """Bring models and weights together."""
    models = [model] if model is None or isinstance(model, str | Model) else [*model]
    files = [weights] if weights is None or isinstance(weights, str | Path) else [*weights]
    if weights is None:
        files *= len(models)
    if len(models) != len(files):
        raise InputError(f"there are {len(models)} models and {len(files)} weights; give as many, None where none")
    found: list[Model | tuple[str | None, str | Path | None]] = []
    for network, file in zip(models, files, strict=True):
        if isinstance(network, Model) and file is not None:
            raise InputError(f"{network.name} is loaded and brings its weights; give None for it")
        found.append(network if isinstance(network, Model) else (network, file))
    return found
