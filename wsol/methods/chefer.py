"""Gradient x attention, by Chefer et al."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._attention import Attended, attend, why_no_attention
from wsol.methods.base import Forward, Method, register
from wsol.models import Classifier


@register("chefer")
@dataclass(frozen=True)
class Chefer(Method):
    """Follows attention through all layers, weighted by the gradient of the class score.

    Chefer et al., "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers",
    ICCV 2021, eq. 5 and 6: ``R <- R + mean_heads(relu(dy_c/dA * A)) R`` over the layers, from ``R = I``; the map is the
    class token's row of it, or the patches' mean where that is classified. Costs a second forward pass and, for each
    class, a backward pass down to the first attention.
    """

    needs = "attention"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of one value a patch, 0 or more."""
        found = []
        for attended, chosen in attend(forward, classes, gradients=True):
            with torch.inference_mode(False), torch.enable_grad():
                scores = attended.logits.gather(1, chosen.clone()).sum(0).unbind()
            found.append(torch.stack([_relevance(attended, score) for score in scores], 1))
        return torch.cat(found)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Wants tokens that attend to each other."""
        return why_no_attention(network)


def _relevance(attended: Attended, score: Tensor) -> Tensor:
    layers = attended.layers
    with torch.inference_mode(False):
        gradients = torch.autograd.grad(score, layers, retain_graph=True)
    with torch.no_grad():
        relevance = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
        relevance = relevance.expand(len(layers[0]), -1, -1)
        for layer, gradient in zip(layers, gradients, strict=True):
            relevance = relevance + (gradient * layer).relu().mean(1) @ relevance
        return attended.patches(relevance)
