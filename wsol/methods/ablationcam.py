"""Ablation-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import Forward, Method, register
from wsol.methods.cam import weighted_sum
from wsol.models import GapClassifier


@register("ablationcam")
@dataclass(frozen=True)
class AblationCAM(Method):
    """Weighs each feature map by how much the class score falls without it.

    Desai and Ramaswamy, "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free
    Localization", WACV 2020, eq. 1 and 2: ``relu(sum_k w_k A_k)`` with ``w_k = (y_c - y_c^k) / y_c``, where ``y_c^k``
    is the score with map k set to 0. Costs C passes of the layers above the target layer; nothing where those are
    global pooling and one linear layer, as the falls are then terms of the score. The package grad-cam sets a map to
    ``min - 1e7`` where features can be negative; this follows the paper.
    """

    needs = "forwards"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        with torch.no_grad():
            scores = forward.logits.gather(1, classes)[:, :, None]
            scores = scores.masked_fill(scores == 0, 1)
            return weighted_sum(_falls(forward, classes) / scores, forward.features).relu()


def _falls(forward: Forward, classes: Tensor) -> Tensor:
    """Return ``(n, k, C)``: by how much each score falls without each map."""
    features, network = forward.features, forward.network
    if isinstance(network, GapClassifier):
        pooled = network.pooled(features)
        if network.linear is not None:
            return network.linear.weight[classes] * pooled[:, None]
        own = torch.zeros(*classes.shape, features.shape[1], dtype=features.dtype, device=features.device)
        return own.scatter_(2, classes[:, :, None], pooled.gather(1, classes)[:, :, None])
    scores, falls = forward.logits.gather(1, classes), []
    ablated = features.clone()
    for channel in range(features.shape[1]):
        ablated[:, channel] = 0
        falls.append(scores - network.forward_head(ablated, forward.extras).gather(1, classes))
        ablated[:, channel] = features[:, channel]
    return torch.stack(falls, 2)
