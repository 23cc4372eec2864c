"""A classifier split into trunk and head at its target layer."""

from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError
from wsol.models.layout import Layout, find_layout
from wsol.models.places import PlaceTensor, track_images
from wsol.models.pooling import THETA, Pooling, pool_maps


class Classifier(nn.Module):
    """A network in two parts: images to feature maps at the target layer, and feature maps to class scores.

    Args:
        trunk: Maps images ``(n, 3, H, W)`` to a tuple: the layer's output, and whatever else the head needs.
        head: Maps those to class scores, ``(n, classes)``.
        layer: Name of the target layer, as in ``named_modules``.
        layout: Layout of the layer's output.
        size: Height and width of the images that the layout was found with.

    Attributes:
        class_weights: Weights ``(classes, C)`` of the feature maps where the class scores are linear in their mean or
            maximum over all places; None where they are not, or where the scores are the mean or maximum itself.
        unsupported_reason: Why the class scores are not linear in the mean or maximum, one sentence; None if they are.
        overwrites_images: Whether the trunk works in place on the images, which are then copied.
        reads_places: Whether any place of the maps can reach the class scores.
        classes: Number of class scores.
        notes: Remarks that deserve a second look, one sentence each.
        has_fixed_size: Whether its graph holds for images of ``size`` alone.
        text_features: Normalized text features ``(classes, d)`` of a zero-shot classifier; None for other networks.
        text_scale: Factor of the cosine in the scores of a zero-shot classifier, ``()``; None for other networks.
        acol: The two classifiers of a network trained by ACoL, if the target layer is their input; else None.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, layer: str, layout: Layout, size: tuple[int, int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.layer = layer
        self.layout = layout
        self.size = size
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None, persistent=False)
        self.unsupported_reason: str | None = None
        self.overwrites_images = False
        self.reads_places = True
        self.classes = 0
        self.notes: tuple[str, ...] = ()
        self.has_fixed_size = False
        self.text_features: Tensor | None
        self.text_scale: Tensor | None
        self.register_buffer("text_features", None, persistent=False)
        self.register_buffer("text_scale", None, persistent=False)
        self.acol: nn.Module | None = None
        self._layouts = {size: layout}
        self._passes: defaultdict[int, int] = defaultdict(int)  # by thread, so that adding needs no lock

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        tensor = next(chain(self.parameters(), self.buffers()), None)  # not all of them: this is asked for often
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def passes(self) -> int:
        """Number of images that have passed through the trunk so far."""
        return sum(self._passes.values())

    @property
    def passes_of_thread(self) -> int:
        """Number of images that this thread has passed through the trunk so far."""
        return self._passes[get_ident()]

    def count_pass(self, images: int) -> None:
        """Add a number of images to ``passes``."""
        self._passes[get_ident()] += images

    def forward_features(self, images: Tensor) -> tuple[Tensor, tuple[Any, ...]]:
        """Return the feature maps of images, ``(n, C, h, w)``, and the extras: whatever else the head needs."""
        self.count_pass(len(images))
        layout = self.find_layout(images)
        output, *extras = self.trunk(images.clone() if self.overwrites_images else images)
        maps, others = layout.to_maps(output)
        return maps, (layout, others, *extras)

    def forward_head(self, maps: Tensor, extras: tuple[Any, ...]) -> Tensor:
        """Return the class scores ``(n, classes)`` of feature maps and extras."""
        layout, others, *more = extras
        logits: Tensor = self.head(layout.to_output(maps, others), *more)
        return logits

    def run_interpreted(self, interpreter: Callable[[nn.Module], fx.Interpreter], images: Tensor) -> Tensor:
        """Return the class scores of images, with trunk and head each run by an interpreter."""
        return self.run_replaced(lambda part: interpreter(part).run, images)

    def run_replaced(self, replace: Callable[[nn.Module], Callable[..., Any]], images: Tensor) -> Tensor:
        """Return the class scores of images, with trunk and head each replaced by a function of the same arguments."""
        self.count_pass(len(images))
        logits: Tensor = replace(self.head)(*replace(self.trunk)(images.clone()))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores of images, ``(n, classes)``."""
        return self.forward_head(*self.forward_features(images))

    def find_layout(self, images: Tensor) -> Layout:
        """Return the layout of the layer's output for images of this size.

        Raises:
            InputError: The places of the output are not known for this size, or the network does not take it.
        """
        size = (images.shape[2], images.shape[3])
        if self.has_fixed_size and size != self.size:
            raise InputError(f"it was loaded for images of {self.size[1]} x {self.size[0]}; load it for this size")
        if self.layout.places is None:
            return self.layout
        if size not in self._layouts:
            with torch.inference_mode(False), torch.no_grad():
                noise = torch.randn(2, 3, *size, dtype=images.dtype, generator=torch.Generator().manual_seed(0))
                layout = self.measure_layout(track_images(noise.to(images.device)))
            if layout is None:
                raise InputError(
                    f"the places of {self.layer} are not known for images of {size[1]} x {size[0]}; name another "
                    "--layer"
                )
            self._layouts[size] = layout
        return self._layouts[size]

    def measure_layout(self, images: PlaceTensor) -> Layout | None:
        """Return the layout of the layer's output for tracked images; None if it is not known."""
        return find_layout(self.trunk.forward(images)[0], len(images))


class GapClassifier(Classifier):
    """Features, global pooling, and at most one linear layer.

    With features ``F`` the logits are ``W mean(F) + b``, or ``mean(F)`` where the network's last convolution outputs
    one map per class and nothing follows the pooling. Global max pooling takes the maximum instead of the mean (GMP,
    Oquab et al., "Is object localization for free?", CVPR 2015), thresholded average pooling the mean of high values.

    Args:
        trunk: Maps images ``(n, 3, H, W)`` to a tuple of one tensor, which is pooled.
        linear: The layer after the pooling, ``C`` to classes; None where the features are one map per class.
        pooling: ``average``, ``max`` or ``thresholded``.
        layer: Name of the layer that is pooled.
        layout: Layout of that layer's output.
        size: Height and width of the images that the layout was found with.
        theta: Share of the maximum that counts in thresholded average pooling.
    """

    def __init__(
        self,
        trunk: nn.Module,
        linear: nn.Linear | None,
        pooling: Pooling,
        layer: str,
        layout: Layout,
        size: tuple[int, int],
        theta: float = THETA,
    ) -> None:
        super().__init__(trunk, nn.Identity() if linear is None else linear, layer, layout, size)
        self.linear = linear
        self.pooling = pooling
        self.theta = theta

    def features(self, images: Tensor) -> Tensor:
        """Return the features that are pooled, ``(n, C, h, w)``."""
        return self.forward_features(images)[0]

    def pool(self, features: Tensor) -> Tensor:
        """Return the input of the linear layer, ``(n, C)``."""
        return pool_maps(features, self.pooling, self.theta)

    def forward_head(self, maps: Tensor, extras: tuple[Any, ...] = ()) -> Tensor:
        """Return the class scores of features, ``(n, classes)``."""
        logits: Tensor = self.head(self.pool(maps))
        return logits

    def run_replaced(self, replace: Callable[[nn.Module], Callable[..., Any]], images: Tensor) -> Tensor:
        """Return the class scores of images, with the trunk replaced by a function of the same arguments."""
        self.count_pass(len(images))
        layout = self.find_layout(images)
        output, *_ = replace(self.trunk)(images.clone())
        return self.forward_head(layout.to_maps(output)[0])
