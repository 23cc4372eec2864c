"""Networks with the head of a training method: ``resnet18-gap+acol:threshold=0.7``."""

from collections.abc import Mapping

from torch import Tensor, nn

from wsol.models.base import Architecture, Preprocessing, PublishedWeights
from wsol.models.heads.base import Head


class HeadedArchitecture(Architecture):
    """Builder of a network of another architecture with the head of a training method.

    Args:
        name: Name of the other architecture.
        base: That architecture.
        head: The head.
    """

    def __init__(self, name: str, base: Architecture, head: Head) -> None:
        self.name, self.base, self.head = name, base, head
        self.code_sha256 = base.code_sha256

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        classes = self.head.count_classes(state) or _CLASSES
        # The features may have other layers where they were trained from scratch.
        networks = [self._build(classes, map_size, from_scratch, False) for from_scratch in (False, True)]
        return max(networks, key=lambda network: len(state.keys() & network.state_dict().keys()))

    def build_for_training(self, classes: int, map_size: int | None = None, from_scratch: bool = True) -> nn.Module:
        return self._build(classes, map_size, from_scratch, True)

    def export_state(self, network: nn.Module) -> dict[str, Tensor]:
        return self.head.export_state(network)

    def preprocessing(self) -> Preprocessing:
        return self.base.preprocessing()

    def _build(self, classes: int, map_size: int | None, from_scratch: bool, for_training: bool) -> nn.Module:
        network = self.base.build_for_training(classes, map_size, from_scratch)
        return self.head.attach(network, self.name, classes, for_training)


_CLASSES = 1000
