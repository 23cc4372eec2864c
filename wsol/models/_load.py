"""From a name and weights to a model."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models._checkpoint import Checkpoint, read_checkpoint
from wsol.models.base import MODELS, Architecture, Model
from wsol.models.gap import GapClassifier, find_gap


def load_model(name: str | None, weights: str | Path | None = None, device: str | torch.device = "cpu") -> Model:
    """Builds a model and loads its weights.

    Args:
        name: Registered name, see ``python -m wsol.list models``; None where the weights file says it, as those of
            ``wsol.train`` do.
        weights: A ``.safetensors`` or ``.pth`` file, or the name of published weights, ``IMAGENET1K_V1``; None for
            those that come with this package.
        device: Where to put it.

    Returns:
        The model in evaluation mode. Its number of classes is that of the weights. A file that the authors published
        is known by its SHA-256 and gets their preprocessing; any other file gets the architecture's usual one.

    Raises:
        InputError: Name or weights are unknown, unreadable, or do not fit.
    """
    if name is None:
        name = _name(weights)
    architecture = MODELS.get(name)
    checkpoint = read_checkpoint(_file(name, weights, architecture))
    facts = checkpoint.facts
    if facts and facts.architecture != name:
        raise InputError(
            f"{checkpoint.path} was trained as {facts.architecture}, not {name}; mend or leave out --model"
        )
    offered = architecture.published()
    published = next((p for p in offered if checkpoint.sha256.startswith(p.digest)), None)
    if published is None and weights in [p.name for p in offered]:
        raise InputError(f"{checkpoint.path} is not the file published as {weights}; delete it and try again")
    network = architecture.build(checkpoint.state, published, facts.map_size if facts else None).eval()
    classifier = find_gap(network, name)
    # What only training uses, such as the auxiliary heads of GoogLeNet, may be missing.
    alive = {tensor.data_ptr() for tensor in (*classifier.parameters(), *classifier.buffers())}
    used = {key for key, value in network.state_dict().items() if value.data_ptr() in alive}
    _fill(network, checkpoint, used, name)
    known = facts or published
    preprocessing = known.preprocessing if known else architecture.preprocessing()
    label = published.name if published else checkpoint.path.name
    classifier.requires_grad_(False).to(device).eval()
    notes = []
    if published is None and facts is None and "transform_input" in vars(network):
        notes.append(
            f"{label} is no file of torchvision's: its input is not transformed as {name}'s own weights want it"
        )
    classes = _classes(classifier, device)
    names = facts.classes if facts else ()
    return Model(name, classifier, preprocessing, label, checkpoint.sha256, classes, names, tuple(notes))


def _name(weights: str | Path | None) -> str:
    if weights is None or not Path(weights).is_file():
        raise InputError("give --model, or --weights with a file that wsol.train wrote, which names its model")
    facts = read_checkpoint(Path(weights)).facts
    if facts is None:
        raise InputError(f"{weights} does not say what network it is for; give --model")
    return facts.architecture


def _classes(classifier: GapClassifier, device: str | torch.device) -> int:
    if classifier.linear is not None:
        return classifier.linear.out_features
    with torch.inference_mode():
        return int(classifier(torch.zeros(1, 3, 224, 224, device=device)).shape[1])


def _file(name: str, weights: str | Path | None, architecture: Architecture) -> Path:
    offered = [p.name for p in architecture.published()]
    if weights is not None and str(weights) in offered:
        return architecture.fetch(str(weights))
    if weights is not None and Path(weights).is_file():
        return Path(weights)
    if weights is None and (bundled := architecture.bundled()) is not None:
        return bundled
    fault = "no weights" if weights is None else f"there is no weights file {weights}"
    raise InputError(f"{name}: {fault}; give --weights {' or '.join(['a .safetensors or .pth file', *offered])}")


def _fill(network: nn.Module, checkpoint: Checkpoint, used: set[str], name: str) -> None:
    own = network.state_dict()
    state = checkpoint.state
    faults = []
    missing = [key for key in own if key not in state and key in used and not key.endswith("num_batches_tracked")]
    if missing:
        faults.append(f"missing in the file: {_some(missing)}")
    unknown = [key for key in state if key not in own]
    if unknown:
        faults.append(f"unknown to the network: {_some(unknown)}")
    shapes = [
        f"{key} is {_shape(state[key])}, not {_shape(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if shapes:
        faults.append(f"of another shape: {_some(shapes)}")
    if faults:
        raise InputError(f"{checkpoint.path} does not fit {name}: {'; '.join(faults)}; check --model and --weights")
    try:
        network.load_state_dict(state, strict=False)
    except (RuntimeError, NotImplementedError) as error:  # sparse, quantised and meta tensors
        raise InputError(
            f"{checkpoint.path} cannot be loaded into {name} ({error}); save dense float tensors"
        ) from error


def _some(items: Iterable[str]) -> str:
    items = list(items)
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
