"""Grad-ECLIP."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from wsol.errors import InputError
from wsol.methods._blocks import blocks_unsupported_reason
from wsol.methods._last_blocks import LastBlocksPass, run_last_blocks
from wsol.methods._projections import AttentionLayer, projections_unsupported_reason
from wsol.methods._scale import scale_to_one
from wsol.methods._tokens import find_readout
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("grad-eclip")
@dataclass(frozen=True)
class GradECLIP(Method):
    """Values of each patch, weighted by the gradient at the class token and by the similarity of key and query.

    Zhao et al., "Gradient-based Visual Explanation for Transformer-based CLIP", ICML 2024: in the last
    block, ``relu(sum_d g_d v_pd l_p)``, with the gradient g of the class score with respect to the output of the
    attention at the class token, before it is projected, the values v, and ``l_p`` the cosine of the class token's
    query and the key of patch p, scaled to [0, 1] over the patches of the image; 0 everywhere where all are equal. The
    channels of all heads count as one head. As in the authors' code, the last attention itself is computed as that of
    one head, so that the score whose gradient is taken is not exactly the network's; ``heads=all`` leaves the network
    as it is. Queries, keys and values are taken as they are projected; the authors' script for ImageNet
    also puts queries and keys through the projection of the output, their notebooks do not. Costs the last block
    once more and, for each class, a backward pass to its attention. It cannot be applied where more than one token is
    classified, such as the mean of the patches.

    Attributes:
        heads: ``one``: the last attention has one head of all channels; ``all``: it has the heads of the network.
    """

    needs = "attention"
    heads: Literal["one", "all"] = "one"

    def __post_init__(self) -> None:
        """Check the setting."""
        if self.heads not in ("one", "all"):
            raise ValueError("heads must be one or all")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or more."""
        maps = []
        outputs: list[Tensor] = []

        def attend(layer: AttentionLayer) -> Tensor:
            output = _attend_with_one_head(layer) if self.heads == "one" else layer.output
            outputs.append(output.detach().requires_grad_())
            return outputs[-1]

        for changed, chosen in run_last_blocks(forward, classes, 1, attend, gradients=True):
            output = outputs.pop()
            with torch.inference_mode(False), torch.enable_grad():
                scores = forward.target(changed.logits, chosen.clone()).sum(0).unbind()
                gradients = [torch.autograd.grad(each, output, retain_graph=True)[0] for each in scores]
            with torch.no_grad():
                maps.append(_combine(changed, torch.stack(gradients, 1)))
        return torch.cat(maps)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require blocks of attention and one token that is classified."""
        reason = projections_unsupported_reason(network) or blocks_unsupported_reason(network, 1)
        if reason is not None:
            return reason
        readout = find_readout(network, network.size)
        if readout is None or len(readout.read) == 1:
            return None
        return f"{len(readout.read)} tokens are classified after {network.layer}, not one; use another method"


def _attend_with_one_head(layer: AttentionLayer) -> Tensor:
    """Return the output of a layer as if all its channels belonged to one head."""
    queries, keys, values = (_join(layer, each)[:, None] for each in layer.projected)
    joined = functional.scaled_dot_product_attention(queries, keys, values)[:, 0]
    return joined.reshape(*joined.shape[:2], layer.output.shape[1], -1).transpose(1, 2)


def _join(layer: AttentionLayer, heads: Tensor) -> Tensor:
    """Return queries, keys or values ``(n, tokens, C)``, with all heads as one."""
    if heads.shape != layer.output.shape:
        raise InputError(f"the heads of {layer.name} share keys and values; use another method")
    return heads.transpose(1, 2).flatten(2)


def _combine(changed: LastBlocksPass, gradients: Tensor) -> Tensor:
    """Return the maps ``(n, k, h, w)`` from gradients ``(n, k, heads, tokens, d)``."""
    (layer,), readout = changed.layers, changed.readout
    assert readout.layout.places is not None  # tokens have positions
    places, (read,) = readout.layout.places.to(gradients.device), readout.read
    queries, keys, values = (_join(layer, each) for each in layer.projected)
    weights = gradients[:, :, :, read].flatten(2)
    similarity = functional.cosine_similarity(queries[:, read, None], keys[:, places], dim=2)
    maps = torch.einsum("nkc,npc->nkp", weights, values[:, places]) * scale_to_one(similarity[:, None])
    return maps.relu().reshape(*maps.shape[:2], *readout.layout.grid)
