"""DINO-seg."""

from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.methods._attention import attention_unsupported_reason, record_attention
from wsol.methods._components import select_largest_component
from wsol.methods._forward import forward as run_forward
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier
from wsol.models.measure import make_noise


@METHODS.register("dino-seg")
@dataclass(frozen=True)
class DINOSeg(Method):
    """Most of one head's attention in the last layer; the same map for every class.

    The segmentation of Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, section
    4.2.2, as the comparisons in LOST (Siméoni et al., BMVC 2021) and TokenCut (Wang et al., CVPR 2022) localize with
    it. The attention of the class token to the patches, in one head, is divided by its sum; the patches of smallest
    attention that hold at most ``1 - mass`` of it together are left out, the others are foreground. Where the mean of
    the patches is classified, it is their mean attention.

    ``map=component`` is what LOST localizes with: a mask of the largest 4-connected component, the first one of
    several, row by row. Its box at a tau of 0.5 is the published box, at the resolution that the protocol gives the
    network. ``map=mask`` is all of the foreground and ``map=attention`` the attention of the head, which DINO's
    ``visualize_attention.py`` shows. LOST's code never chooses the last component, and takes the background where
    there is only one; here the largest of all is taken. Costs a second forward pass.

    Attributes:
        head: Number of the head, 0 for the first. LOST and TokenCut take 4 of the 6 heads of ViT-S.
        mass: Share of the attention that the foreground has at least, from 0 to 1, both excluded.
        map: ``component``, ``mask`` or ``attention``.
    """

    needs = "attention"
    class_specific = False
    head: int = 4
    mass: float = 0.6
    map: Literal["component", "mask", "attention"] = "component"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.head < 0:
            raise ValueError("head must be 0 or more")
        if not 0 < self.mass < 1:
            raise ValueError(f"mass {self.mass} should be between 0 and 1")
        if self.map not in ("component", "mask", "attention"):
            raise ValueError(f"map {self.map!r} should be component, mask or attention")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or 1 for a component or mask, 0 or more for the attention."""
        with torch.no_grad():
            maps = [
                self._segment(recorded.to_maps(recorded.layers[-1][:, self.head]))[:, None].expand(
                    -1, chosen.shape[1], -1, -1
                )
                for recorded, chosen in record_attention(forward, classes)
            ]
        return torch.cat(maps)

    def _segment(self, attention: Tensor) -> Tensor:
        """Return the maps of a head's attention, both ``(n, h, w)``."""
        if self.map == "attention":
            return attention
        values, order = attention.flatten(1).double().sort(dim=1, stable=True)
        kept = (values / values.sum(1, keepdim=True)).cumsum(1) > 1 - self.mass
        masks = torch.zeros_like(kept).scatter(1, order, kept).reshape(attention.shape)
        maps = masks if self.map == "mask" else select_largest_component(masks)
        is_number = attention.isfinite().all(2).all(1)[:, None, None]
        return maps.to(attention.dtype).masked_fill(~is_number, torch.nan)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require tokens that attend to each other, with enough heads."""
        if (reason := attention_unsupported_reason(network)) is not None:
            return reason
        try:
            heads = _count_heads(network)
        except InputError as error:
            return str(error)
        if self.head < heads:
            return None
        return (
            f"the last attention has {heads} heads, of which head {self.head} is none; use head=0 to head={heads - 1}"
        )


def _count_heads(network: Classifier) -> int:
    """Return the number of heads of the last attention among all tokens."""
    if network not in _HEADS:
        images = make_noise(network, network.size, images=1)
        with torch.inference_mode(False), torch.no_grad():
            passed = run_forward(network, images)
            recorded, _ = next(record_attention(passed, torch.zeros(1, 0, dtype=torch.int64, device=images.device)))
        _HEADS[network] = recorded.layers[-1].shape[1]
    return _HEADS[network]


_HEADS: "WeakKeyDictionary[nn.Module, int]" = WeakKeyDictionary()
