"""The score maps of a stored run, for the same network and images."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsol.datasets import Dataset
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.runs.read import StoredRun, read_run
from wsol.runs.signature import Signature, keep_common_images


@dataclass(frozen=True)
class StoredMaps:
    """The raw score maps of a run.

    Attributes:
        run: The run.
        maps: float32 ``(n, k, h, w)``.
        places: Index of each image by its id.
    """

    run: StoredRun
    maps: NDArray[np.float32]
    places: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> "StoredMaps":
        """Read a run.

        Raises:
            InputError: It is no complete run, or has no maps of a network.
        """
        run = read_run(folder)
        if run.maps is None or run.metadata.provenance.network is None:
            raise InputError(f"{folder} has no score maps of a network; give a folder that wsol.eval wrote")
        return cls(run, run.maps, {sample.image_id: i for i, sample in enumerate(run.results.images)})

    def complete(self, config: EvalConfig) -> EvalConfig:
        """Return the arguments with the method of the run, unless they name one, and with its protocol."""
        network = self.run.metadata.provenance.network
        assert network is not None
        method = network.method if config.method == EvalConfig.method else config.method
        return replace(config, method=method, protocol=self.run.protocol.signature)

    def match(self, request: Signature, images: Dataset) -> Dataset:
        """Return the images that the run has maps of.

        Args:
            request: Signature of a run with the given arguments.
            images: Its images.

        Raises:
            InputError: The run has other images, another network or another method.
        """
        own = Signature.parse(self.run.metadata.request)
        names = ("dataset", "model", "method")
        pairs = zip(names, astuple(own), astuple(request), strict=False)
        differences = []
        for name, *pair in pairs:
            stored, given = keep_common_images(pair)
            if stored != given:
                differences.append(f"{name}: {stored}, not {given}")
        if differences:
            raise InputError(
                f"{self.run.folder} was made with other arguments ({'; '.join(differences)}); give those of the run"
            )
        return images.subset([i for i, sample in enumerate(images) if sample.image_id in self.places])

    def map_of(self, image_id: str, place: int, class_id: int) -> NDArray[np.float32]:
        """Return the raw map ``(h, w)`` of a class.

        Args:
            image_id: The image.
            place: 0 for the ground truth, 1 for the prediction.
            class_id: The class that the network gives now.

        Raises:
            InputError: The map is that of another class.
        """
        i = self.places[image_id]
        if (stored := int(self.run.results.classes[i, place])) != class_id:
            raise InputError(
                f"{image_id}: the run has the map of class {stored}, but this network predicts {class_id}; leave out "
                "--run to compute the maps again"
            )
        return np.asarray(self.maps[i, place])
