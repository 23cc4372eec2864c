"""LOST."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wsol.methods._components import select_component
from wsol.methods._projections import Heads, project_patches, projections_unsupported_reason
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("lost")
@dataclass(frozen=True)
class LOST(Method):
    """Patches similar to the one that is similar to the fewest, by their keys; the same map for every class.

    Siméoni et al., "Localizing Objects with Self-Supervised Transformers and no Labels", BMVC 2021, and the
    authors' code (valeoai/LOST). With the keys of all heads in the last layer of attention joined, as the linear layer
    projects them, and ``A = K K'``, the degree of a patch is the number of other patches p with ``A_ip > 0``. The seed
    s is the patch of lowest degree. Of the ``patches`` of lowest degree, those with ``A_sp > 0`` are the set S; a patch
    is foreground if its similarity to all of S, ``sum_p A_pi``, is above 0.

    ``map=component`` is what the paper localizes with: a mask of the foreground patches that are 4-connected to the
    seed. Its box at a tau of 0.5 is the published box, at the resolution that the protocol gives the network.
    ``map=similarity`` is the similarity to S. Of patches of one degree, the first ones, row by row, come first; in the
    authors' code, the sorting algorithm decides.

    Costs the layers after the target layer once more, a twelfth of the forward pass where a class token is classified
    after twelve layers (a second forward pass where the patches are), and one product of matrices.

    Attributes:
        patches: Number of patches of lowest degree that the set S is taken from.
        map: ``component`` or ``similarity``.
        features: ``keys``, ``queries`` or ``values``.
    """

    needs = "attention"
    class_specific = False
    patches: int = 100
    map: Literal["component", "similarity"] = "component"
    features: Literal["keys", "queries", "values"] = "keys"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.patches < 1:
            raise ValueError("patches must be 1 or more")
        if self.map not in ("component", "similarity"):
            raise ValueError(f"map {self.map!r} should be component or similarity")
        if self.features not in Heads._fields:
            raise ValueError(f"features {self.features!r} should be keys, queries or values")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or 1 for a component, of any sign for the similarity."""
        features = project_patches(forward, self.features)
        at_once = max(1, int(forward.memory / (_COPIES * 8 * (features.shape[1] * features.shape[2]) ** 2)))
        maps = torch.cat([self._expand_seed(each) for each in torch.split(features, at_once)])
        return maps.to(forward.features.dtype)[:, None].expand(-1, classes.shape[1], -1, -1)

    def _expand_seed(self, features: Tensor) -> Tensor:
        """Return the maps ``(n, h, w)`` of features ``(n, h, w, C)``."""
        grid, vectors = features.shape[1:3], features.double().flatten(1, 2)
        is_number = vectors.isfinite().all(2).all(1)[:, None, None]
        products = vectors @ vectors.transpose(1, 2)
        positive = products > 0
        degrees = positive.sum(2) - positive.diagonal(dim1=1, dim2=2).int()
        order = degrees.argsort(dim=1, stable=True)
        seeds, candidates = order[:, 0], order[:, : self.patches]
        of_seed = products.gather(1, seeds[:, None, None].expand(-1, 1, products.shape[2]))[:, 0]
        chosen = torch.zeros_like(of_seed).scatter(1, candidates, (of_seed.gather(1, candidates) > 0).double())
        similarity = (chosen[:, None] @ products).reshape(-1, *grid)
        maps = similarity if self.map == "similarity" else select_component(similarity > 0, seeds).double()
        return maps.masked_fill(~is_number, torch.nan)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require an attention among all tokens whose queries, keys and values can be told apart."""
        return projections_unsupported_reason(network)


_COPIES = 3  # of a matrix of patches x patches
