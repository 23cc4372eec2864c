"""The bundled network, compared with independently computed numbers.

The numbers are those of the image ``test-000000`` of ``synthetic``, computed by ``reference.compute_maps`` in double
precision: torch's convolutions with the stored weights, without the models and methods of this package.
"""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import wsol.models
from wsol.datasets import load_dataset
from wsol.methods import find_method, forward
from wsol.models import Model, load_model
from wsol.selfchecks.expect import assert_close, assert_equal
from wsol.selfchecks.outcome import Checks

SHA256 = "cfe102dd3e91f4021f69c7a84660e2a89a9da52cddce81d90d7cf48a99e8813e"
SCORES = (
    2.297935,
    0.589959,
    2.265082,
    -1.869473,
    -3.729546,
    -1.473595,
    1.309290,
    -0.034810,
    2.053931,
    -1.081407,
    -2.513003,
    2.007293,
)
MAP = """
0.040 -0.403 -0.683 -0.202 1.474 6.250 10.759 9.543 5.775 3.424 2.518 1.402 0.184 0.268
-1.216 -3.623 -4.979 -4.542 1.709 17.751 30.970 26.081 14.302 7.739 4.895 1.993 -0.289 -0.025
-1.734 -6.539 -9.616 -8.048 2.424 28.625 48.375 41.784 23.563 12.670 7.910 3.969 1.708 0.902
-1.777 -7.315 -10.997 -8.786 1.514 27.666 50.367 46.350 27.570 15.374 9.340 4.930 2.649 1.584
-0.707 -5.170 -8.601 -6.322 1.149 17.672 36.909 36.794 23.811 13.785 8.617 4.612 2.216 1.035
0.083 -2.620 -4.247 -2.514 1.676 8.509 19.807 20.419 13.547 8.317 5.007 1.670 -0.350 -0.153
0.452 -0.384 -0.985 -0.376 0.924 2.992 6.834 7.168 5.007 2.678 -0.151 -2.918 -4.146 -2.219
0.701 0.060 -0.710 -0.451 0.269 0.488 1.102 1.230 0.937 0.218 -1.832 -4.117 -5.258 -3.186
0.434 -0.836 -2.892 -3.583 -2.772 -1.794 -1.014 -0.583 -0.500 -1.218 -2.278 -3.087 -3.762 -1.868
-0.304 -2.737 -5.335 -7.460 -7.824 -6.472 -4.617 -3.366 -3.102 -3.272 -3.026 -2.202 -1.423 0.011
-0.896 -3.679 -7.135 -9.426 -10.731 -9.716 -6.995 -4.820 -4.224 -4.911 -4.875 -3.444 -1.702 0.028
-1.217 -4.275 -6.920 -8.512 -9.218 -7.797 -5.034 -3.079 -3.230 -4.769 -4.947 -4.182 -2.718 -0.595
-0.744 -2.962 -4.597 -5.025 -4.796 -2.773 -0.328 0.368 -0.311 -2.065 -2.919 -2.927 -2.205 -0.277
0.417 -0.132 -0.433 -0.163 0.356 1.019 1.468 1.267 1.086 0.733 0.127 -0.120 -0.068 0.482
"""
"""Map of class 11, the label of the image, ``(14, 14)``."""

# Single precision differs by 0.000002 and, in the map, by 0.00003, TF32 by 0.002 and 0.03; the map above is rounded to
# 0.0005.
SCORES_WITHIN, MAP_WITHIN = 0.0001, 0.002


@cache  # loading takes longer than running
def load_network(device: str) -> Model:
    """Load the bundled network to a device."""
    return load_model("vgg16-gap", device=device)


def _check_weights() -> None:
    file = Path(wsol.models.__file__).parent / "weights" / "vgg16-gap-synthetic.safetensors"
    assert_equal(hashlib.sha256(file.read_bytes()).hexdigest(), SHA256, "the SHA-256")
    assert_equal(load_network("cpu").sha256, SHA256, "the SHA-256 in signatures")


def run_network(device: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the class scores ``(12,)`` and the map ``(14, 14)`` of the class of the image."""
    (sample,) = load_dataset("synthetic", dataset_args={"images": "1"})
    model = load_network(device)
    pixels = np.empty((0, 0, 3), np.uint8) if sample.render is None else sample.render()
    result = forward(model.network, model.preprocessing.normalize(pixels[None], torch.device(device)))
    maps = find_method("cam").maps(result, torch.tensor([[sample.label]], device=device))
    return result.logits[0].cpu().numpy(), maps[0, 0].cpu().numpy()


def _check_cpu() -> None:
    check_numbers("cpu")


def check_numbers(device: str) -> None:
    """Compare class scores and map of the image on a device."""
    scores, score_map = run_network(device)
    assert_close(scores, SCORES, SCORES_WITHIN, f"the class score on {device}")
    assert_close(score_map, np.array(MAP.split(), np.float64).reshape(14, 14), MAP_WITHIN, f"the map on {device}")


RUNS_NETWORKS = True
CHECKS: Checks = {
    "bundled network: the published weights": _check_weights,
    "bundled network: class scores and map of an image": _check_cpu,
}
