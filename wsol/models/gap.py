"""A classifier that ends in global average pooling, found inside any network by inspection."""

from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError

Pooling = Literal["average", "max"]
POOLINGS: dict[Pooling, type[nn.Module]] = {"average": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}


class GapClassifier(nn.Module):
    """Features, global pooling, and at most one linear layer.

    With features ``F`` the logits are ``W mean(F) + b``, or ``mean(F)`` where the network's last convolution gives one
    map a class and nothing follows the pooling. Global max pooling takes the maximum in place of the mean (GMP, Oquab
    et al., "Is object localization for free?", CVPR 2015).

    Args:
        backbone: Images ``(n, 3, H, W)`` to features ``(n, C, h, w)``, up to the pooling.
        linear: The layer after the pooling, ``C`` to classes; None where the features are the class maps.
        pooling: ``average`` or ``max``.
    """

    def __init__(self, backbone: nn.Module, linear: nn.Linear | None, pooling: Pooling = "average") -> None:
        super().__init__()
        self.backbone = backbone
        self.linear = linear
        self.pooling = pooling

    def features(self, images: Tensor) -> Tensor:
        """Returns what is pooled, ``(n, C, h, w)``."""
        features: Tensor = self.backbone(images)
        return features

    def pooled(self, features: Tensor) -> Tensor:
        """Returns what the linear layer takes, ``(n, C)``."""
        return features.mean((2, 3)) if self.pooling == "average" else features.amax((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """Returns the class scores of features, ``(n, classes)``."""
        pooled = self.pooled(features)
        return pooled if self.linear is None else self.linear(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the class scores of images, ``(n, classes)``."""
        return self.logits(self.features(images))


def find_gap(network: nn.Module, name: str) -> GapClassifier:
    """Finds the global pooling of a network and splits the network there.

    The network is traced symbolically and followed back from its output: through dropout and flattening, at most one
    linear layer or 1 x 1 convolution, to a pooling to 1 x 1 (average or max) or a mean over height and width. The parts
    share their tensors with ``network``.

    Args:
        network: In evaluation mode, as parts that only training uses are left out.
        name: What to call it in messages.

    Raises:
        InputError: It does not end in global pooling and at most one linear layer, or cannot be traced.
    """
    try:
        traced = fx.symbolic_trace(network)
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        raise InputError(
            f"{name}: its structure cannot be traced ({error}); write it without data-dependent control flow"
        ) from error
    modules = dict(traced.named_modules())
    node = _behind(traced.graph.output_node().args[0], modules)
    linear = _linear(_module(node, modules))
    if linear is not None:
        node = _behind(node.args[0], modules)
    pooling: Pooling = "max" if _is_global_max(node, modules) else "average"
    if pooling == "average" and not _is_global_average(node, modules):
        raise InputError(
            f"{name}: class activation maps need global average pooling and at most one linear layer at the end; "
            f"there stands {_describe(node, modules)}"
        )
    pooled = node.args[0]
    traced.graph.output_node().args = (pooled,)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    traced.delete_all_unused_submodules()
    return GapClassifier(traced, linear, pooling)


_PASSING = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)
_PASSING_CALLS = (torch.flatten, nn.functional.dropout, "flatten", "view", "reshape", "squeeze")


def _module(node: Any, modules: dict[str, nn.Module]) -> nn.Module | None:
    return modules[str(node.target)] if isinstance(node, fx.Node) and node.op == "call_module" else None


def _linear(module: nn.Module | None) -> nn.Linear | None:
    """Returns a layer that is linear on a pooled vector as a linear layer; a 1 x 1 convolution lends it its tensors."""
    if isinstance(module, nn.Linear):
        return module
    if (
        not isinstance(module, nn.Conv2d)
        or module.kernel_size != (1, 1)
        or module.groups != 1
        or module.padding != (0, 0)
    ):
        return None
    linear = nn.Linear(module.in_channels, module.out_channels, bias=module.bias is not None, device="meta")
    linear.weight = nn.Parameter(module.weight.detach().flatten(1))
    if module.bias is not None:
        linear.bias = nn.Parameter(module.bias.detach())
    return linear


def _behind(node: Any, modules: dict[str, nn.Module]) -> Any:
    """Returns what feeds a node, past everything that changes shape at most (dropout rests in evaluation mode)."""
    while isinstance(node, fx.Node) and (isinstance(_module(node, modules), _PASSING) or node.target in _PASSING_CALLS):
        node = node.args[0]
    return node


def _is_global_max(node: Any, modules: dict[str, nn.Module]) -> bool:
    module = _module(node, modules)
    return isinstance(module, nn.AdaptiveMaxPool2d) and module.output_size in (1, (1, 1))


def _is_global_average(node: Any, modules: dict[str, nn.Module]) -> bool:
    if not isinstance(node, fx.Node):
        return False
    module = _module(node, modules)
    if module is not None:
        return isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
    if node.target is nn.functional.adaptive_avg_pool2d:
        return argument(node, "output_size") in (1, (1, 1), [1, 1])
    if node.target in ("mean", torch.mean):
        return over_the_map(argument(node, "dim"))
    return False


def over_the_map(dims: Any) -> bool:
    """Says whether dimensions are height and width of ``(n, C, h, w)``."""
    return isinstance(dims, (list, tuple)) and {d % 4 for d in dims if isinstance(d, int)} == {2, 3}


def argument(node: fx.Node, name: str) -> Any:
    """Returns what a call gets beside its input, by position or by name."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get(name)


def _describe(node: Any, modules: dict[str, nn.Module]) -> str:
    module = _module(node, modules)
    if module is not None and isinstance(node, fx.Node):
        return f"{type(module).__name__} ({node.target})"
    target = getattr(node, "target", None)
    return str(getattr(target, "__name__", target or "something other than one tensor"))
