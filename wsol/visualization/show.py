"""The public function that draws class activation maps over photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from wsol.datasets import Dataset, Split
from wsol.errors import InputError
from wsol.methods import Method
from wsol.models import Model, Prompts
from wsol.reports.heat_map import DEFAULT_ALPHA, DEFAULT_COLORMAP
from wsol.visualization.photos import Source
from wsol.visualization.predictor import PhotoPredictor
from wsol.visualization.renderer import PhotoRenderer


def show(
    images: Source | Sequence[Source],
    model: str | Model | Sequence[str | Model] | None = None,
    weights: str | Path | Sequence[str | Path | None] | None = None,
    *,
    method: str | Method | Sequence[str | Method] = "cam",
    top: int = 5,
    classes: str | int | Sequence[str | int] = (),
    dataset: str | Dataset | None = None,
    data_root: str | Path | None = None,
    dataset_args: Mapping[str, str] | None = None,
    split: Split = "test",
    layer: str | None = None,
    output: str | None = None,
    map_size: int | None = None,
    protocol: str = "wsolevaluation",
    tau: float = 0.2,
    device: str = "auto",
    memory: float = 2.0,
    cmap: str = DEFAULT_COLORMAP,
    alpha: float = DEFAULT_ALPHA,
) -> Figure:
    """Draw photos, each next to the map and the box of its top classes laid over it.

    The overlay is the map as the protocol thresholds it, over the photo in gray, so that every color is the map's. The
    box is the protocol's at ``tau``. If the photo is an image of ``dataset``, true boxes are dashed and green, and the
    IoU is that of the protocol.

    Args:
        images: A path, a folder, an image id of the data set, a PIL image or an array, see
            ``wsol.visualization.photos.find_photos``; or a list of these.
        model: Registered name or loaded model; a list gives one row per model. None if the weights file contains the
            name.
        weights: Weights file or published name; a list as long as that of the models. None for bundled weights and for
            loaded models.
        method: Registered name, one with settings, or an object, as ``wsol.methods.with_target`` returns it; a list
            gives one row per method.
        top: Number of classes in a row: those with the highest scores.
        classes: Name or number of a class, or a list of these, in place of the top classes. Names are those in a
            weights file of ``wsol.train``, of a data set with as many classes, or of published weights.
        dataset: Registered name or loaded data set that class names, true boxes and image ids come from.
        data_root: Folder of the data set; ``datasets/<name>`` if None.
        dataset_args: Additional arguments of the data set.
        split: Split of the data set.
        layer: Name of the target layer, or of several, separated by commas, if ``model`` is a name; chosen
            automatically if None.
        output: Name or index of the output that holds the class scores, if ``model`` is a name and returns several.
        map_size: Side of the maps of a 224 x 224 image, if ``model`` is a name; the network's own if None.
        protocol: Registered name, or one with settings.
        tau: Threshold of the boxes, on the protocol's grid.
        device: ``auto``, ``cpu``, ``cuda`` ...; a loaded model stays where it is.
        memory: Memory budget of a method in GiB.
        cmap: Name of a Matplotlib colormap.
        alpha: Weight of the map's color in an overlay, in [0, 1].

    Returns:
        A figure that a notebook displays as the value of a cell and that ``savefig`` writes. Pyplot does not manage it,
        so it need not be closed.

    Raises:
        InputError: An argument is invalid.
    """
    renderer = PhotoRenderer(protocol, tau, cmap, alpha)
    sources = [images] if isinstance(images, str | Path | Image.Image | np.ndarray) else [*images]
    if not sources:
        raise InputError("the list of images is empty; give at least one")
    names, dataset_classes = renderer.find(sources, dataset, data_root, split, dataset_args)
    methods = [method] if isinstance(method, str | Method) else [*method]
    chosen = [classes] if isinstance(classes, str | int) else [*classes]
    predictor = PhotoPredictor(
        _pair_weights(model, weights),
        methods,
        top,
        chosen,
        layer,
        map_size,
        output,
        renderer.find_side(),
        device,
        memory,
        Prompts(dataset_classes) if dataset_classes else None,
    )
    renderer.use_side(predictor.side)
    predict = predictor.predict
    return renderer.draw({i: predict(renderer.load(i), dataset_classes, name) for i, name in enumerate(names)})


def _pair_weights(
    model: str | Model | Sequence[str | Model] | None, weights: str | Path | Sequence[str | Path | None] | None
) -> list[Model | tuple[str | None, str | Path | None]]:
    """Pair each model with its weights."""
    models = [model] if model is None or isinstance(model, str | Model) else [*model]
    files = [weights] if weights is None or isinstance(weights, str | Path) else [*weights]
    if weights is None:
        files *= len(models)
    if len(models) != len(files):
        raise InputError(f"there are {len(models)} models and {len(files)} weights; give one entry per model, or None")
    networks: list[Model | tuple[str | None, str | Path | None]] = []
    for network, file in zip(models, files, strict=True):
        if isinstance(network, Model) and file is not None:
            raise InputError(f"model {network.name} is already loaded; give None as its weights")
        networks.append(network if isinstance(network, Model) else (network, file))
    return networks
