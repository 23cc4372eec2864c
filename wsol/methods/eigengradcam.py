"""EigenGradCAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, GradientMethod
from wsol.methods.eigencam import compute_principal_map


@METHODS.register("eigengradcam")
@dataclass(frozen=True)
class EigenGradCAM(GradientMethod):
    """First principal component of the products of feature maps and their gradients: Eigen-CAM for a class.

    With the products ``g_kij A_kij`` as a matrix P of places x channels, less the mean of each channel, and
    ``P = U S V'``, the map is ``P v_1``. It has no paper: the package grad-cam introduced it, and leaves the sign to
    chance. Here the sign is chosen so that the map agrees with the sum over channels, which is HiResCAM: their scalar
    product is positive. Costs what Grad-CAM costs, and for each class what Eigen-CAM costs.

    Attributes:
        centered: Whether the mean of each channel is subtracted first, as in the package.
    """

    centered: bool = True

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return compute_principal_map((gradients * features)[:, 0], self.centered)[:, None]
