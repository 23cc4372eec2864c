"""Self-attention of the last layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._attention import attention_unsupported_reason, record_attention
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("self-attention")
@dataclass(frozen=True)
class SelfAttention(Method):
    """Attention of the class token in the last layer, averaged over heads; the same map for every class.

    Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, section 4.2.2.
    Where the mean of the patches is classified, it is the mean attention of the patches. Class tokens and registers are
    left out. DINO's ``visualize_attention.py`` shows the heads one by one, as ``dino-seg:map=attention`` does, or the
    patches with most of a head's attention, ``dino-seg:map=mask``. Costs a second forward pass.
    """

    needs = "attention"
    class_specific = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or more."""
        with torch.no_grad():
            maps = [
                attention.to_maps(attention.layers[-1].mean(1))[:, None].expand(-1, chosen.shape[1], -1, -1)
                for attention, chosen in record_attention(forward, classes)
            ]
        return torch.cat(maps)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require tokens that attend to each other."""
        return attention_unsupported_reason(network)
