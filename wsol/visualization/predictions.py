"""Predictions of one network for one photo, with the maps of one method."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PhotoPrediction:
    """The top ``k`` classes of one network and the maps of one method; a row of the figure.

    Attributes:
        network: Name of the network, distinct from those of the other rows' networks.
        method: Name of the method, with the settings that were given.
        signature_fields: The model's and the method's fields of the signature.
        classes: int64 ``(k,)``, best first; empty for a network that does not classify.
        names: Names of the classes.
        probabilities: float32 ``(k,)``, softmax.
        maps: float32 ``(k, h, w)``, raw, or ``(k, crops, h, w)`` with several crops; a single map if the method is
            class-agnostic.
        class_specific: Whether each map belongs to its class.
    """

    network: str
    method: str
    signature_fields: tuple[str, str]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32]
    class_specific: bool
