"""Layer-CAM."""

from dataclasses import dataclass

from torch import Tensor

from wsol.methods.base import METHODS, GradientMethod


@METHODS.register("layercam")
@dataclass(frozen=True)
class LayerCAM(GradientMethod):
    """Feature maps weighted at every place by their positive gradient there.

    Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP 2021, eq. 5 to 7:
    ``relu(sum_k relu(g_kij) A_kij)``. Costs what Grad-CAM costs.
    """

    def combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return the maps by the formula of the class."""
        return self.finish(self.products(features, gradients).sum(2))

    def products(self, features: Tensor, gradients: Tensor) -> Tensor:
        """Return ``relu(g_kij) A_kij``."""
        return gradients.relu().mul_(features)

    def finish(self, sums: Tensor) -> Tensor:
        """Return the positive part."""
        return sums.relu()
