"""Attention rollout."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._attention import attention_unsupported_reason, record_attention
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("attention-rollout")
@dataclass(frozen=True)
class AttentionRollout(Method):
    """Attention followed through all layers; the same map for every class.

    Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3: the product over the layers of
    ``(A + I) / 2``, where A is a layer's attention, averaged over heads; the map is the class token's row of the
    product, or the mean row of the patches where their mean is classified. Costs a second forward pass.
    """

    needs = "attention"
    class_specific = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or more."""
        maps = []
        with torch.no_grad():
            for attention, chosen in record_attention(forward, classes):
                layers = [layer.mean(1) for layer in attention.layers]
                identity = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
                rollout = identity
                for layer in layers:
                    rollout = (layer + identity) / 2 @ rollout
                maps.append(attention.to_maps(rollout)[:, None].expand(-1, chosen.shape[1], -1, -1))
        return torch.cat(maps)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require tokens that attend to each other."""
        return attention_unsupported_reason(network)
