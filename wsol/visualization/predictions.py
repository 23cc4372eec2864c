"""What a network and a method say of a photo."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PhotoPrediction:
    """The first ``k`` classes of one network, and one method's maps; a row of the picture.

    Attributes:
        network: Name, told from those of the other rows' networks.
        method: Name, with the settings that were asked for.
        stations: The model's and the method's stations of the signature.
        classes: int64 ``(k,)``, best first; none of a network that does not classify.
        names: Of the classes.
        probabilities: float32 ``(k,)``, softmax.
        maps: float32 ``(k, h, w)``, raw, or ``(k, crops, h, w)`` of several crops; a single map where it is of no
            class.
        of_class: Whether each map is of its class.
    """

    network: str
    method: str
    stations: tuple[str, str]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32]
    of_class: bool
