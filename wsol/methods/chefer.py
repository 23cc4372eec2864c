"""Gradient times attention, by Chefer et al."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._attention import AttentionPass, attention_unsupported_reason, record_attention
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("chefer")
@dataclass(frozen=True)
class Chefer(Method):
    """Attention followed through all layers, weighted by the gradient of the class score.

    Chefer et al., "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers",
    ICCV 2021, eq. 5 and 6: ``R <- R + mean_heads(relu(dy_c/dA * A)) R`` over the layers, from ``R = I``; the map is the
    class token's row of R, or the mean row of the patches where their mean is classified. Costs a second forward pass
    and, for each class, a backward pass down to the first attention.
    """

    needs = "attention"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or more."""
        maps = []
        for attention, chosen in record_attention(forward, classes, gradients=True):
            with torch.inference_mode(False), torch.enable_grad():
                scores = forward.target(attention.logits, chosen.clone()).sum(0).unbind()
            maps.append(torch.stack([_propagate_relevance(attention, score) for score in scores], 1))
        return torch.cat(maps)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require tokens that attend to each other."""
        return attention_unsupported_reason(network)


def _propagate_relevance(attention: AttentionPass, score: Tensor) -> Tensor:
    layers = attention.layers
    with torch.inference_mode(False):
        gradients = torch.autograd.grad(score, layers, retain_graph=True)
    with torch.no_grad():
        relevance = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
        relevance = relevance.expand(len(layers[0]), -1, -1)
        for layer, gradient in zip(layers, gradients, strict=True):
            relevance = relevance + (gradient * layer).relu().mean(1) @ relevance
        return attention.to_maps(relevance)
