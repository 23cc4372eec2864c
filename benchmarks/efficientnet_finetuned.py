"""EfficientNet-Lite0 with ImageNet weights and a new linear layer, as a user's own network file to be fine-tuned.

    python -m wsol.train --model benchmarks/efficientnet_finetuned.py:make --dataset cub --data-root DIR

Needs the packages that ``efficientnet_lite0.py`` names.
"""

import efficientnet_lite0
from torch import nn


def make(classes: int = 1000) -> nn.Module:
    """Build the network; for another number of classes than ImageNet's, its linear layer is new and starts at zero."""
    network = efficientnet_lite0.make()
    if classes != network._fc.out_features:
        network._fc = nn.Linear(network._fc.in_features, classes)
        nn.init.zeros_(network._fc.weight)
        nn.init.zeros_(network._fc.bias)
    return network
