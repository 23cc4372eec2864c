"""The maps of a network that was trained by ACoL."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier
from wsol.models.heads.acol import ACoLClassifiers, normalize


@METHODS.register("acol")
@dataclass(frozen=True)
class ACoL(Method):
    """Maximum of the normalized maps of two classifiers, the second of which does not see where the first looks.

    Zhang et al., "Adversarial Complementary Learning for Weakly Supervised Object Localization", CVPR 2018, section
    3.2: ``max(minmax(A_c), minmax(B_c))`` at each place, with A's map of class c, and B's map of class c for features
    that are zero where ``minmax(A_c)`` is the network's threshold or more. Each class has its own erased features, as
    in the code of Choe et al. (CVPR 2020); a constant map is zero here, and not a number there. Applies to networks
    that ``wsol.train --train-method acol`` has trained; their class scores are those of A. Costs classifier A once
    more, and classifier B for each class.
    """

    needs = "features"
    takes_target = False
    reads_layer = False

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps in [0, 1] of the size of the features, with a maximum of 1 unless both maps are constant."""
        classifiers, features = forward.network.acol, forward.features
        assert isinstance(classifiers, ACoLClassifiers)  # see unsupported_reason
        a, b = classifiers.a, classifiers.b
        with torch.no_grad():
            first = normalize(a.map_classes(a(features), classes))
            maps = []
            for columns, normalized in zip(*self._split(forward, classes, first), strict=True):
                n, k = columns.shape
                repeated = features[:, None].expand(n, k, *features.shape[1:]).flatten(0, 1)
                erased = classifiers.erase(repeated, normalized.flatten(0, 1)[:, None])
                second = b.map_classes(b(erased), columns.reshape(n * k, 1))
                maps.append(torch.maximum(normalized, normalize(second).view(normalized.shape)))
        return maps[0] if len(maps) == 1 else torch.cat(maps, 1)

    def _split(self, forward: Forward, classes: Tensor, maps: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return classes and A's maps in parts for which erased features and B's layers fit into the memory budget."""
        classifiers, features = forward.network.acol, forward.features
        assert isinstance(classifiers, ACoLClassifiers)
        places = features[:, 0].numel() * features.element_size()
        size = (features.shape[1] + 2 * classifiers.b.maps.in_channels) * places
        together = max(1, int(forward.memory / size))
        return torch.split(classes, together, 1), torch.split(maps, together, 1)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require the two classifiers, on features that are the target layer."""
        if network.acol is None:
            return (
                "it needs the two classifiers of a network that wsol.train --train-method acol has trained, without "
                "--layer; use cam or another method"
            )
        return None
