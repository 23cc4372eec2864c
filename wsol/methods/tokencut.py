"""TokenCut."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from wsol.methods._components import select_component
from wsol.methods._normalized_cut import cut_graphs
from wsol.methods._projections import Heads, project_patches, projections_unsupported_reason
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier


@METHODS.register("tokencut")
@dataclass(frozen=True)
class TokenCut(Method):
    """Normalized cut of the patches by their keys in the last layer of attention; the same map for every class.

    Wang et al., "Self-Supervised Transformers for Unsupervised Object Discovery using Normalized Cut", CVPR 2022,
    and the authors' code (YangtaoWANG95/TokenCut). The keys of all heads are joined, as the linear layer
    projects them. Two patches are connected by a weight of 1 if the cosine of their keys is above tau, else of 1e-5.
    With the weights W and their row sums D, y is the second smallest eigenvector of ``(D - W) y = lambda D y``,
    ``y' D y = 1``. The patches are split at the mean of y. The side of the seed, the patch with the largest magnitude
    of y, is the foreground: y has the sign that makes the seed positive.

    ``map=component`` is what the paper localizes with: a mask of the foreground patches that are 4-connected to the
    seed. Its box at a tau of 0.5 is the published box, at the resolution that the protocol gives the network.
    ``map=eigenvector`` is y. Where the magnitudes of several patches differ by rounding errors, the first patch, row
    by row, is the seed. Where the weights of all pairs are equal there is no cut, and the map is 0.

    Costs the layers after the target layer once more, a twelfth of the forward pass where a class token is classified
    after twelve layers (a second forward pass where the patches are), and the eigenvectors of a matrix of patches x
    patches in double precision.

    Attributes:
        tau: Cosine from which on two patches are alike.
        map: ``component`` or ``eigenvector``.
        features: ``keys``, ``queries`` or ``values``.
    """

    needs = "attention"
    class_specific = False
    tau: float = 0.2
    map: Literal["component", "eigenvector"] = "component"
    features: Literal["keys", "queries", "values"] = "keys"

    def __post_init__(self) -> None:
        """Check the settings."""
        if not -1 <= self.tau < 1:
            raise ValueError(f"tau {self.tau} should be a cosine, from -1 to less than 1")
        if self.map not in ("component", "eigenvector"):
            raise ValueError(f"map {self.map!r} should be component or eigenvector")
        if self.features not in Heads._fields:
            raise ValueError(f"features {self.features!r} should be keys, queries or values")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or 1 for a component, of any sign for the eigenvector."""
        features = project_patches(forward, self.features)
        at_once = max(1, int(forward.memory / (_COPIES * 8 * (features.shape[1] * features.shape[2]) ** 2)))
        maps = torch.cat([self._cut(each) for each in torch.split(features, at_once)])
        return maps.to(forward.features.dtype)[:, None].expand(-1, classes.shape[1], -1, -1)

    def _cut(self, features: Tensor) -> Tensor:
        """Return the maps ``(n, h, w)`` of features ``(n, h, w, C)``."""
        grid, vectors = features.shape[1:3], functional.normalize(features.double().flatten(1, 2), dim=2)
        is_number = vectors.isfinite().all(2).all(1)[:, None]
        similar = vectors @ vectors.transpose(1, 2) > self.tau
        pairs = similar.sum((1, 2)) - similar.diagonal(dim1=1, dim2=2).sum(1)
        is_uniform = (pairs == 0) | (pairs == similar.shape[1] * (similar.shape[1] - 1))
        vector = cut_graphs(torch.where(similar, 1.0, _WEAK).double())
        magnitude = vector.abs()
        seeds = (magnitude > (1 - _TIE) * magnitude.amax(1, keepdim=True)).int().argmax(1)
        is_negative = vector.gather(1, seeds[:, None]) <= vector.mean(1, keepdim=True)
        foreground = (vector > vector.mean(1, keepdim=True)) ^ is_negative
        if self.map == "component":
            maps = select_component(foreground.reshape(-1, *grid), seeds).flatten(1).double()
        else:
            maps = torch.where(is_negative, -vector, vector)
        maps = torch.where(is_uniform[:, None], 0, maps).masked_fill(~is_number, torch.nan)
        return maps.reshape(-1, *grid)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require an attention among all tokens whose queries, keys and values can be told apart."""
        return projections_unsupported_reason(network)


_WEAK = 1e-5  # epsilon of the paper, so that the graph is connected
_TIE = 1e-9
_COPIES = 6  # of a matrix of patches x patches
