"""Weights to start a training from."""

from pathlib import Path

from torch import nn

from wsol.errors import InputError
from wsol.models._checkpoint import read_checkpoint
from wsol.models.base import MODELS, Preprocessing


def adopt(network: nn.Module, name: str, weights: str | Path) -> Preprocessing:
    """Takes over every tensor whose name and shape are the network's, in place; the rest keeps its random start.

    Args:
        network: To be trained.
        name: Its registered name; published weights are those of its backbone.
        weights: A file, or the name of published weights.

    Returns:
        What the weights expect.

    Raises:
        InputError: There are no such weights, or no tensor fits.
    """
    base = MODELS.get(name.removesuffix("-gap").removesuffix("-gmp"))
    offered = {p.name: p for p in base.published()}
    path = base.fetch(str(weights)) if str(weights) in offered else Path(weights)
    if not path.is_file():
        raise InputError(f"there is no weights file {weights}; give a file or {' or '.join(offered)}")
    checkpoint = read_checkpoint(path)
    own = network.state_dict()
    taken = {}
    for key, value in own.items():
        theirs = checkpoint.state.get(key, checkpoint.state.get(key.removeprefix("backbone.body.")))
        if theirs is not None and theirs.shape == value.shape:
            taken[key] = theirs
    if not any(own[key].dim() > 1 for key in taken):
        raise InputError(f"{path} has no layer that fits {name}; check --weights")
    network.load_state_dict(taken, strict=False)
    known = checkpoint.facts or next((p for p in offered.values() if checkpoint.sha256.startswith(p.digest)), None)
    return known.preprocessing if known else base.preprocessing()
