"""MaskCLIP."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods._blocks import blocks_unsupported_reason
from wsol.methods._last_blocks import run_last_blocks, take_values
from wsol.methods._patch_scores import choose_maps, patch_scores_unsupported_reason, score_patches
from wsol.methods._projections import projections_unsupported_reason
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("maskclip")
@dataclass(frozen=True)
class MaskCLIP(Method):
    """Class scores of each patch, with the values of the last attention in place of its output.

    Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022: in the last block, every token attends only to
    itself, so that its value v is projected as it is; the network's own classifier then scores every patch in place of
    the class token. For CLIP, these are the cosines of patch and text, times the network's scale. As in the authors'
    code, the residual connection and the perceptron of the last block stay. Its key smoothing and prompt denoising, off
    by default there, are left out. Applies to any vision transformer that classifies one token or the mean of tokens.
    Costs the last block once more where a class token is classified, else a second forward pass, and the classifier for
    each patch.
    """

    needs = "attention"

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, of any sign."""
        maps = []
        with torch.no_grad():
            for changed, chosen in run_last_blocks(forward, classes, 1, take_values):
                scores = score_patches(forward.network, changed.readout, changed.patches)
                maps.append(choose_maps(forward, chosen, scores, changed.readout))
        return torch.cat(maps)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require blocks of attention, and a classifier of one token, or of their mean."""
        return (
            projections_unsupported_reason(network)
            or blocks_unsupported_reason(network, 1)
            or patch_scores_unsupported_reason(network)
        )
