"""Ablation-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._channel_weights import ChannelWeights
from wsol.methods._target import class_score
from wsol.methods.base import METHODS, Forward
from wsol.models import GapClassifier


@METHODS.register("ablationcam")
@dataclass(frozen=True)
class AblationCAM(ChannelWeights):
    """Feature maps weighted by the drop of the class score without each of them.

    Desai and Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization", WACV 2020, eq. 1 and 2: ``relu(sum_k w_k A_k)`` with ``w_k = (y_c - y_c^k) / y_c``, where ``y_c^k``
    is the score with map k set to 0. Costs C passes of the layers after the target layer; nothing where those are
    global pooling and one linear layer, since the drops are then terms of the score. The package grad-cam sets a map
    to ``min - 1e7`` where features can be negative; this follows the paper.
    """

    def weights(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the relative drops."""
        scores = forward.target(forward.logits, classes)[:, :, None]
        return _measure_drops(forward, classes) / scores.masked_fill(scores == 0, 1)


def _measure_drops(forward: Forward, classes: Tensor) -> Tensor:
    """Return the drop of each score without each map, ``(n, k, C)``."""
    features, network = forward.features, forward.network
    if isinstance(network, GapClassifier) and forward.target is class_score:
        pooled = network.pool(features)
        if network.linear is not None:
            return network.linear.weight[classes] * pooled[:, None]
        zeros = torch.zeros(*classes.shape, features.shape[1], dtype=features.dtype, device=features.device)
        return zeros.scatter_(2, classes[:, :, None], pooled.gather(1, classes)[:, :, None])
    scores, drops = forward.target(forward.logits, classes), []
    ablated = features.clone()
    for channel in range(features.shape[1]):
        ablated[:, channel] = 0
        drops.append(scores - forward.target(network.forward_head(ablated, forward.extras), classes))
        ablated[:, channel] = features[:, channel]
    return torch.stack(drops, 2)
