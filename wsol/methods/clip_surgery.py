"""CLIP Surgery."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsol.methods._blocks import blocks_unsupported_reason
from wsol.methods._last_blocks import run_last_blocks, take_values
from wsol.methods._patch_scores import choose_maps, patch_scores_unsupported_reason, score_patches
from wsol.methods._projections import AttentionLayer, projections_unsupported_reason
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("clip-surgery")
@dataclass(frozen=True)
class CLIPSurgery(Method):
    """Similarity of each patch to a text, less what it has in common with the texts of all classes.

    Li et al., "A closer look at the explainability of Contrastive language-image pre-training", Pattern Recognition
    162, 2025. Architecture surgery: through the last blocks, the patches take a second path,
    ``x <- x + proj(softmax(v v' / sqrt(d)) v)``, with the values v that the network itself has there, and without
    perceptrons; the class token stays the network's own. Feature surgery: with the cosines ``c_pt`` of patch p and text
    t, and ``w_t = classes softmax_t(2 c_t)`` from the cosines ``c_t`` of the image, the map of class t is
    ``w_t c_pt - mean_t(w_t c_pt)``: the authors' product of features, summed over channels. It depends on the other
    classes, and is 0 where there is one alone; the authors' variant for a single text is left out. Applies to zero-shot
    classifiers, whose class scores are scaled cosines; a bias of the scores adds a constant to each map. Costs a second
    forward pass, in which the last blocks have two paths, and the classifier for each patch.

    Attributes:
        layers: Number of last blocks with a second path; 6 in the authors' code.
        temperature: Factor of the cosines in the softmax.
    """

    needs = "attention"
    layers: int = 6
    temperature: float = 2.0

    def __post_init__(self) -> None:
        """Check that there is a block."""
        if self.layers < 1:
            raise ValueError("layers must be 1 or more")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, of any sign."""
        network, maps, first = forward.network, [], 0
        with torch.no_grad():
            for changed, chosen in run_last_blocks(forward, classes, self.layers, _attend_to_values, second_path=True):
                scale = network.text_scale
                assert scale is not None  # see unsupported_reason
                cosines = score_patches(network, changed.readout, changed.patches) / scale
                own = forward.logits[first : first + len(chosen)] / scale
                weights = (self.temperature * own).softmax(1)[:, None]
                weighted = cosines * weights / weights.mean(2, keepdim=True)
                scores = weighted - weighted.mean(2, keepdim=True)
                maps.append(choose_maps(forward, chosen, scores, changed.readout))
                first += len(chosen)
        return torch.cat(maps)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require a zero-shot classifier on a vision transformer with enough blocks."""
        if network.text_features is None:
            return "it compares patches with texts, and the network has none; use it with a zero-shot classifier"
        return (
            projections_unsupported_reason(network)
            or blocks_unsupported_reason(network, self.layers)
            or patch_scores_unsupported_reason(network)
        )


def _attend_to_values(layer: AttentionLayer) -> Tensor:
    """Return the output of attention whose queries and keys are the values."""
    values = take_values(layer)
    return functional.scaled_dot_product_attention(values, values, values)
