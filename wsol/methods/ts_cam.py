"""Token semantic maps coupled with attention, after TS-CAM."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._attention import attention_unsupported_reason, record_attention
from wsol.methods._patch_scores import choose_maps, patch_scores_unsupported_reason, score_patches, split_head
from wsol.methods._tokens import Readout, find_class_token, find_readout
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("ts-cam")
@dataclass(frozen=True)
class TSCAM(Method):
    """Class scores of each patch times the attention of the class token.

    Gao et al., "TS-CAM: Token Semantic Coupled Attention Map for Weakly Supervised Object Localization", ICCV 2021,
    eq. 9 to 12: ``S_c * A``, where S is a score of class c for every patch token and A the class token's attention,
    averaged over heads and layers. In a network that was trained by ``wsol.train --train-method ts-cam``, S are the
    maps of the trained convolution, whose means are the class scores (eq. 7), as in the paper. In any other network S
    is its own classifier, applied to every patch token in place of the class token, without any further training.
    Costs a second forward pass, and the classifier for each patch. The authors' code adds the layers up instead of
    averaging them, which is another factor of the same map.
    """

    needs = "attention"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, of any sign."""
        with torch.no_grad():
            size = (forward.images.shape[2], forward.images.shape[3])
            trained = find_class_token(forward.network, size)
            readout = trained or find_readout(forward.network, size)
            assert readout is not None  # see unsupported_reason
            maps = [
                attention.to_maps(torch.stack(attention.layers).mean((0, 2)))
                for attention, _ in record_attention(forward, classes, readout=readout)
            ]
            if trained:
                scores = forward.features.flatten(2).transpose(1, 2)
            else:
                scores = score_patches(forward.network, readout, _find_patches(forward, readout))
            return choose_maps(forward, classes, scores, readout) * torch.cat(maps)[:, None]

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require tokens that attend to each other, and a classifier of one of them, or of their mean."""
        if find_class_token(network, network.size) is not None:
            return None
        return attention_unsupported_reason(network) or patch_scores_unsupported_reason(network)


def _find_patches(forward: Forward, readout: Readout) -> Tensor:
    """Return the patches among the last tokens, ``(n, C, h, w)``."""
    if readout.node is None:
        return forward.features
    layout, others, *extras = forward.extras
    lower, _ = split_head(forward.network, readout.node)
    (tokens,) = lower(layout.to_output(forward.features, others), *extras)
    return readout.layout.to_maps(tokens)[0]
