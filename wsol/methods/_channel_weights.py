"""Methods that weight whole feature maps by numbers from further passes of the network."""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from wsol.methods._forward import Forward
from wsol.methods.base import Method
from wsol.methods.cam import weigh_channels, weighted_sum


class ChannelWeights(Method):
    """Base class of methods whose map is ``relu(sum_k w_k A_k)``, with one weight for each feature map."""

    needs = "forward passes"
    reads_layer = True

    @abstractmethod
    def weights(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return the weights ``(n, k, C)`` of the feature maps for classes ``(n, k)``."""

    @torch.no_grad()
    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps of the size of the features."""
        return self.finish(weighted_sum(self.weights(forward, classes), forward.features))

    @torch.no_grad()
    def weigh(self, forward: Forward, classes: Tensor) -> Iterator[Tensor]:
        """Yield ``w_k A_k``."""
        yield from weigh_channels(self.weights(forward, classes), forward.features)

    def finish(self, sums: Tensor) -> Tensor:
        """Return the positive part."""
        return sums.relu()
