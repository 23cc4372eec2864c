"""Maps of a network whose weights are set by hand, so that the maps can be worked out on paper."""

import torch
from torch import Tensor, nn

from wsol.methods import Forward, find_method, forward
from wsol.models import find_classifier
from wsol.selfchecks.expect import assert_close
from wsol.selfchecks.outcome import Checks

_RED = torch.arange(16.0).reshape(4, 4)  # 0 to 15 row by row, with the mean 7.5
_GREEN = _RED.T.contiguous()
_WEIGHTS = [[1.0, 0], [0, 2], [0.5, -1]]
_BIASES = [0.5, -0.25, 3]


class _Network(nn.Module):
    """Takes red and green at every 56th pixel, averages both, and weights them for three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.pick = nn.Conv2d(3, 2, 1, stride=56, bias=False)
        self.fc = nn.Linear(2, 3)
        self.pick.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]])[..., None, None]
        self.fc.weight.data, self.fc.bias.data = torch.tensor(_WEIGHTS), torch.tensor(_BIASES)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores ``(n, 3)``."""
        scores: Tensor = self.fc(self.pick(images).mean((2, 3)))
        return scores


def _run_network() -> Forward:
    image = torch.zeros(1, 3, 224, 224)
    image[0, 0, ::56, ::56], image[0, 1, ::56, ::56] = _RED, _GREEN
    return forward(find_classifier(_Network().eval(), "three classes"), image)


_CLASSES = torch.arange(3)[None]
# The red map, twice the green map, and half the red map minus the green map.
_MAPS = torch.stack([_RED, 2 * _GREEN, _RED / 2 - _GREEN])


def _check_cam() -> None:
    result = _run_network()
    maps = find_method("cam").maps(result, _CLASSES)[0]
    assert_close(result.logits[0], (7.5 + 0.5, 15 - 0.25, 3.75 - 7.5 + 3), 0, "the class scores")
    assert_close(maps, _MAPS, 0, "the map")
    assert_close(maps.mean((1, 2)), result.logits[0] - torch.tensor(_BIASES), 1e-6, "the mean of the map")


def _check_gradcam() -> None:
    """Check that after global average pooling Grad-CAM is the positive part of CAM divided by the number of pixels."""
    assert_close(find_method("gradcam").maps(_run_network(), _CLASSES)[0], _MAPS.clamp(min=0) / 16, 1e-6, "the map")


RUNS_NETWORKS = True
CHECKS: Checks = {"cam: a network with weights set by hand": _check_cam, "gradcam: the same network": _check_gradcam}
