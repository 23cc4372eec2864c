"""Predictions for photos, of several networks and methods."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.evaluation.inference import check_maps, check_scores, forward_crops, rank_classes, score_maps
from wsol.methods import Method, find_method, fit_layers, unsupported_reason
from wsol.models import Model, Prompts, load_model
from wsol.runtime.device import find_device
from wsol.runtime.precision import check_precision
from wsol.visualization.class_names import class_names, find_class
from wsol.visualization.predictions import PhotoPrediction

Weights = str | Path | None


class PhotoPredictor:
    """Predicts the classes of photos with every network, and computes their maps with every method.

    Args:
        networks: Name (None if the weights file contains it) and weights of each network, or a loaded model.
        methods: Names, names with settings, or objects.
        top: Number of classes: those with the highest scores.
        classes: Names or numbers of classes in place of the top classes, see ``find_class``.
        layer: Target layer of the networks that are loaded here, see ``load_model``.
        map_size: Map size of the networks that are loaded here, see ``load_model``.
        output: Output of the networks that are loaded here, see ``load_model``.
        side: Side of the images that the protocol shows to the networks; None for that of their weights.
        device: Device of the networks that are loaded here, or ``auto``.
        memory: Memory budget of a method in GiB.
        prompts: Classes of the zero-shot classifiers that are loaded here, see ``load_model``.

    Attributes:
        side: Side of the square images that the networks take.

    Raises:
        InputError: An argument is unknown, unreadable or out of range, or a method cannot be applied to a network.
    """

    def __init__(
        self,
        networks: Sequence[Model | tuple[str | None, Weights]],
        methods: Sequence[str | Method],
        top: int = 5,
        classes: Sequence[str | int] = (),
        layer: str | None = None,
        map_size: int | None = None,
        output: str | None = None,
        side: int | None = None,
        device: str = "auto",
        memory: float = 2.0,
        prompts: Prompts | None = None,
    ) -> None:
        if top < 1:
            raise InputError(f"top is {top}; give 1 or more")
        if not memory > 0:
            raise InputError(f"memory is {memory}; give more than 0 GiB")
        self._top, self._classes = top, classes
        self._memory = int(memory * 2**30)
        self._methods = [(each if isinstance(each, str) else each.signature, find_method(each)) for each in methods]
        self._models: list[Model] = []
        for network in networks:
            if isinstance(network, Model):
                model = network
                model.check_side(side)
            else:
                model = load_model(*network, find_device(device), layer, map_size, side, output, prompts)
            check_precision("float32", model.network.device)
            for _, method in self._methods:
                fitted = fit_layers(method, model.network)
                if (reason := unsupported_reason(fitted, model.network, model.classes)) is not None:
                    raise InputError(f"{method.name} cannot be applied to {model.name}: {reason}")
            if classes and not model.classes:
                raise InputError(f"{model.name} does not classify; leave out the class")
            self._models.append(model)
        if classes and not any(method.class_specific for _, method in self._methods):
            raise InputError(f"{self._methods[0][1].name} gives the same map for every class; leave out the class")
        self._labels = _model_labels(self._models)
        sides = sorted({model.side for model in self._models})
        if side is None and len(sides) > 1:
            raise InputError(
                f"the networks take images of {' and '.join(f'{each} x {each}' for each in sides)}; give all one size, "
                f"such as --protocol wsolevaluation:size={sides[0]}"
            )
        self.side = side or sides[0]

    def predict(
        self, crops: Sequence[NDArray[np.uint8]], dataset_classes: tuple[str, ...], where: str
    ) -> list[PhotoPrediction]:
        """Predict the classes of one photo and compute their maps.

        Args:
            crops: uint8 ``(1, side, side, 3)`` each, as ``View.crops`` returns them.
            dataset_classes: Class names of the photo's data set; empty if it comes from none.
            where: Name of the photo, for messages.

        Returns:
            One prediction per network and method. A class-agnostic method computes one map.
        """
        rows = []
        for label, model in zip(self._labels, self._models, strict=True):
            passed = forward_crops(model, crops, self._memory)
            all_names = class_names(model, dataset_classes)
            given = [*dict.fromkeys(find_class(each, model, all_names) for each in self._classes)]
            first = torch.tensor([given if model.classes else [0]], dtype=torch.int64)
            classes, probabilities, finite = rank_classes(model, passed, first, 0 if given else self._top)
            check_scores(model, bool(finite), where)
            ranked = classes[0].tolist() if model.classes else []
            names = tuple(all_names[i] if all_names else f"class {i}" for i in ranked)
            scores = probabilities[0, : len(ranked)].cpu().numpy()
            for text, chosen in self._methods:
                method = fit_layers(chosen, model.network)
                asked = classes if method.class_specific else classes[:, :1]
                maps = score_maps(method, passed, asked).cpu().numpy()
                check_maps(method, maps, where)
                fields = model.signature, method.signature
                prediction = np.array(ranked, np.int64), names, scores, maps[0], method.class_specific
                rows.append(PhotoPrediction(label, _shorten_method(text), fields, *prediction))
        return rows


def _model_labels(models: Sequence[Model]) -> list[str]:
    """Return a short name of each model, with the weights if two models have the same name."""
    names = [_shorten(model.name) for model in models]
    return [
        f"{name} {model.weights}" if names.count(name) > 1 else name for name, model in zip(names, models, strict=True)
    ]


def _shorten(name: str) -> str:
    """Return a name, without the folder if it is in a file of the user."""
    return PurePath(name).name if ".py:" in name else name


def _shorten_method(text: str) -> str:
    """Return a method with its settings, without the folders of the user's files that it or its target is in."""
    return "target=".join(map(_shorten, text.split("target=")))
