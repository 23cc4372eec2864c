"""The optimizer of a recipe: which parameters have which learning rate and weight decay."""

import torch
from torch import nn

from wsol.errors import InputError
from wsol.training.recipe import Recipe


def check_layer_rates(module: nn.Module, recipe: Recipe) -> None:
    """Check that the layers with a learning rate of their own exist.

    Args:
        module: Module that is to be trained.
        recipe: The recipe.

    Raises:
        InputError: A layer does not exist, or has no parameters.
    """
    names = [name for name, _ in module.named_parameters()]
    for layer in recipe.layer_rates:
        if not any(_is_in(name, layer) for name in names):
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise InputError(f"--layer-rate: no layer {layer!r:.80} has parameters; the outermost layers are {known}")


def make_optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Return SGD with the parameters of a module in groups.

    Each group has its ``weight_decay``, and as ``multiple`` its multiple of the learning rate.

    Args:
        module: Module whose parameters are trained.
        recipe: The recipe.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in module.named_parameters():
        decayed = recipe.decay_all or parameter.dim() > 1  # the others are biases and normalization
        groups.setdefault((_find_multiple(name, recipe), decayed), []).append(parameter)
    return torch.optim.SGD(
        [
            {"params": parameters, "weight_decay": recipe.weight_decay if decayed else 0.0, "multiple": multiple}
            for (multiple, decayed), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def _find_multiple(name: str, recipe: Recipe) -> float:
    """Return the multiple of the learning rate of a parameter: that of the longest layer name that fits."""
    fitting = [layer for layer in recipe.layer_rates if _is_in(name, layer)]
    return float(recipe.layer_rates[max(fitting, key=len)]) if fitting else 1.0


def _is_in(name: str, layer: str) -> bool:
    return f"{name}.".startswith(f"{layer}.")
