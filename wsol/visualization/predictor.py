"""Networks that look at a photo, one method or several at each."""

from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from numpy.typing import NDArray

from wsol.errors import InputError
from wsol.evaluation.inference import forward_crops, rank_classes, score_maps
from wsol.methods import find_method, unsupported_reason
from wsol.models import Model, load_model
from wsol.runtime.device import find_device
from wsol.visualization.predictions import PhotoPrediction

Weights = str | Path | None


class PhotoPredictor:
    """Guesses the classes of photos with every network, and makes their maps with every method.

    Args:
        networks: Name (None where the weights name it) and weights, or a loaded model, of each.
        methods: Names, or names with settings.
        top: Number of classes.
        layer: Of ``load_model``, for all that are loaded here.
        map_size: Likewise.
        device: Likewise, or ``auto``.
        memory: GiB that a method may use.

    Raises:
        InputError: Something is unknown, unreadable or out of range, or a method cannot be applied to a network.
    """

    def __init__(
        self,
        networks: Sequence[Model | tuple[str | None, Weights]],
        methods: Sequence[str],
        top: int = 5,
        layer: str | None = None,
        map_size: int | None = None,
        device: str = "auto",
        memory: float = 2.0,
    ) -> None:
        if top < 1:
            raise InputError(f"top is {top}; give 1 or more")
        if not memory > 0:
            raise InputError(f"memory is {memory}; give more than 0 GiB")
        self._top = top
        self._memory = int(memory * 2**30)
        self._methods = [(text, find_method(text)) for text in methods]
        self._models: list[Model] = []
        for network in networks:
            if isinstance(network, Model):
                model = network
            else:
                model = load_model(*network, find_device(device), layer, map_size)
            for _, method in self._methods:
                if (reason := unsupported_reason(method, model.network, model.classes)) is not None:
                    raise InputError(f"{method.name} cannot be applied to {model.name}: {reason}")
            self._models.append(model)
        self._labels = _labels(self._models)

    def predict(
        self, crops: Sequence[NDArray[np.uint8]], dataset_classes: tuple[str, ...], where: str
    ) -> list[PhotoPrediction]:
        """Look at one photo.

        Args:
            crops: uint8 ``(1, side, side, 3)`` each, as ``View.crops`` cuts them.
            dataset_classes: Class names of the data set that photos come from; empty if they come from none.
            where: The photo, for messages.

        Returns:
            One entry a network and method. A method that looks at no class makes one map.
        """
        rows = []
        for label, model in zip(self._labels, self._models, strict=True):
            passed = forward_crops(model, crops, self._memory)
            nothing = torch.zeros((1, 0 if model.classes else 1), dtype=torch.int64)
            classes, probabilities = rank_classes(model, passed, nothing, self._top, where)
            known = classes[0].tolist() if model.classes else []
            guessed = np.array(known, np.int64), _names(model, dataset_classes, known)
            scores = probabilities[0, : len(known)].cpu().numpy()
            for text, method in self._methods:
                maps = score_maps(method, passed, classes if method.of_class else classes[:, :1], where)[0]
                stations = model.signature, method.signature
                rows.append(PhotoPrediction(label, text, stations, *guessed, scores, maps, method.of_class))
        return rows


def _labels(models: Sequence[Model]) -> list[str]:
    """Return a short name of each model, with the weights where two have the same."""
    names = [PurePath(model.name).name if ".py:" in model.name else model.name for model in models]
    return [
        f"{name} {model.weights}" if names.count(name) > 1 else name for name, model in zip(names, models, strict=True)
    ]


def _names(model: Model, dataset_classes: tuple[str, ...], classes: Sequence[int]) -> tuple[str, ...]:
    """Return names: the model's own, or those of a data set that has as many classes, or the class's number."""
    known = model.class_names or (dataset_classes if len(dataset_classes) == model.classes else ())
    return tuple(known[i] if known else f"class {i}" for i in classes)
