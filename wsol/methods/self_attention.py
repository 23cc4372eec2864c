"""Self-attention of the last layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._attention import attend, why_no_attention
from wsol.methods.base import Forward, Method, register
from wsol.models import Classifier


@register("self-attention")
@dataclass(frozen=True)
class SelfAttention(Method):
    """What the class token attends to in the last layer, averaged over heads; the same map for every class.

    Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, section 4.2.2.
    Where the mean of the patches is classified, what they attend to on average. Costs a second forward pass.
    """

    needs = "attention"
    of_class = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of one value a patch, 0 or more."""
        with torch.no_grad():
            found = [
                attended.patches(attended.layers[-1].mean(1))[:, None].expand(-1, chosen.shape[1], -1, -1)
                for attended, chosen in attend(forward, classes)
            ]
        return torch.cat(found)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Wants tokens that attend to each other."""
        return why_no_attention(network)
