"""What a network says of images: classes, best first, their probabilities, and the raw map of each."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsol.cams import Forward, Method, Precision, forward
from wsol.errors import InputError
from wsol.models import Model


def passes(
    model: Model, crops: Sequence[NDArray[np.uint8]], memory: int, precision: Precision = "float32"
) -> list[Forward]:
    """Runs the network once over each crop of a batch.

    Args:
        model: The network and what its weights expect.
        crops: uint8 ``(n, side, side, 3)`` each, as ``View.crops`` cuts them.
        memory: Bytes that a method may use afterwards.
        precision: Of the layers below the target layer.
    """
    device = next(model.network.parameters()).device
    images = [model.preprocessing.normalised(crop, device) for crop in crops]
    return [forward(model.network, image, memory, precision) for image in images]


def ranked(model: Model, passed: Sequence[Forward], first: Tensor, top: int, where: str) -> tuple[Tensor, Tensor]:
    """Ranks classes by their mean softmax probability over the crops.

    Args:
        model: The network.
        passed: Its passes over the crops of a batch.
        first: int64 ``(n, g)``, classes that stand before the predictions, such as the ground truth.
        top: Number of predictions.
        where: What the batch is, for the message.

    Returns:
        Classes int64 and probabilities float32 ``(n, g + top)``, on the network's device, with as many predictions as
        there are classes. Of a network that does not classify ``first`` alone, and NaN.

    Raises:
        InputError: Scores are not finite.
    """
    first = first.to(passed[0].images.device)
    if not model.classes:
        return first, torch.full(first.shape, math.nan)
    # The mean probability over the crops, as its logarithm: in double precision it keeps the order of logits.
    logs = torch.stack([one.logits.double().log_softmax(1) for one in passed]).logsumexp(0) - math.log(len(passed))
    if not bool(torch.isfinite(logs).all()):
        raise InputError(
            f"{model.name} gives scores that are not finite in {where}; check the weights ({model.weights})"
        )
    # Of equal scores the smaller class comes first, on every device; a ReLU behind the last layer makes such.
    order = logs.sort(descending=True, stable=True).indices
    classes = torch.cat([first, order[:, :top]], 1)
    return classes, logs.gather(1, classes).exp().float()


def raw_maps(method: Method, passed: Sequence[Forward], classes: Tensor, where: str) -> NDArray[np.float32]:
    """Makes the maps of some classes.

    Args:
        method: Makes them.
        passed: The passes over the crops of a batch.
        classes: int64 ``(n, k)``.
        where: What the batch is, for the message.

    Returns:
        float32 ``(n, k, h, w)``, or ``(n, k, crops, h, w)`` of several crops.

    Raises:
        InputError: Maps are not finite.
    """
    maps = torch.stack([method.maps(one, classes) for one in passed], 2)
    if not bool(torch.isfinite(maps).all()):
        raise InputError(f"{method.signature} gives maps that are not finite in {where}; check settings and weights")
    made: NDArray[np.float32] = maps.float().cpu().numpy()
    return made[:, :, 0] if len(passed) == 1 else made
