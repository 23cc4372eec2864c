"""Attention rollout."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._attention import attend, why_no_attention
from wsol.methods.base import Forward, Method, register
from wsol.models import Classifier


@register("attention-rollout")
@dataclass(frozen=True)
class AttentionRollout(Method):
    """Follows attention through all layers; the same map for every class.

    Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, section 3: the product over the layers of
    ``(A + I) / 2``, where A is a layer's attention, averaged over heads; the map is the class token's row of it, or the
    patches' mean where that is classified. Costs a second forward pass.
    """

    needs = "attention"
    of_class = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of one value a patch, 0 or more."""
        found = []
        with torch.no_grad():
            for attended, chosen in attend(forward, classes):
                layers = [layer.mean(1) for layer in attended.layers]
                one = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
                rolled = one
                for layer in layers:
                    rolled = (layer + one) / 2 @ rolled
                found.append(attended.patches(rolled)[:, None].expand(-1, chosen.shape[1], -1, -1))
        return torch.cat(found)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Wants tokens that attend to each other."""
        return why_no_attention(network)
