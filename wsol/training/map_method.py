"""The method of ``wsol.eval`` that makes the score maps of a trained network."""

from pathlib import Path

from wsol.errors import InputError
from wsol.methods import find_method, fit_layers, unsupported_reason
from wsol.models import load_model
from wsol.training.methods import TrainMethod

_GENERAL = "gradcam"  # needs feature maps and gradients alone


def choose_map_method(model: str | None, weights: Path | None, train_method: TrainMethod) -> tuple[str, str | None]:
    """Choose the method for the score maps of a trained network, and say why it is not that of its training method.

    Args:
        model: The model as ``wsol.eval`` takes it; None for the one that the weights file names.
        weights: The weights file.
        train_method: The training method.

    Returns:
        The training method's own, and None; or one that applies to more networks, and the reason.
    """
    own = train_method.map_method
    try:
        network = load_model(model, weights).network
        reasons = {
            name: unsupported_reason(fit_layers(find_method(name), network), network, network.classes)
            for name in (own, _GENERAL)
        }
    except InputError:  # it cannot be evaluated by any method, as wsol.eval explains
        return own, None
    if reasons[own] is None or reasons[_GENERAL] is not None:
        return own, None
    return _GENERAL, f"{own} cannot be applied: {reasons[own]}"
