"""What makes a network faster without making it another one."""

import torch

from wsol.models.classifier import Classifier


def optimise(network: Classifier, channels_last: bool, compiled: bool) -> None:
    """Changes how a network runs, in place; results change by rounding at most.

    Args:
        network: To be run in evaluation mode.
        channels_last: Lay out the weights of convolutions for channels last.
        compiled: Compile the layers below the target layer.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if compiled:
        network.below.compile()
