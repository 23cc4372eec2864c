"""From a name and weights to a model."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError, first_line
from wsol.io.display import printable
from wsol.models._timm import Timm
from wsol.models._user_file import UserArchitecture
from wsol.models.base import MODELS, Architecture, Model, Preprocessing
from wsol.models.caffe import read_caffemodel
from wsol.models.checkpoint import Checkpoint, check_finite, file_sha256, network_sha256, read_checkpoint
from wsol.models.classifier import Classifier
from wsol.models.global_pooling import GapClassifier
from wsol.models.graph import trace
from wsol.models.target_layer import find_classifier


def load_model(
    name: str | None,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    layer: str | None = None,
    map_size: int | None = None,
) -> Model:
    """Build a model and loads its weights.

    Args:
        name: Registered name, see ``python -m wsol.list models``; ``timm/NAME``; ``FILE.py:FUNCTION``; None where the
            weights file says it, as those of ``wsol.train`` do.
        weights: A ``.safetensors`` or ``.pth`` file, or the name of published weights, ``IMAGENET1K_V1``; None for
            those that come with this package, or that a user's own function loads.
        device: Where to put it.
        layer: Dotted name of the target layer; None to find it.
        map_size: Side of the maps of a 224 x 224 image; None for that in the weights file, or the network's own.

    Returns:
        The model in evaluation mode. Its number of classes is that of the weights. A file that the authors published
        is known by its SHA-256 and gets their preprocessing; any other file gets the architecture's usual one.

    Raises:
        InputError: Name or weights are unknown, unreadable, or do not fit.
    """
    if name is None:
        name = _name(weights)
    architecture = find_architecture(name)
    path = _file(name, weights, architecture)
    if path is not None and path.suffix == ".caffemodel":
        found = _from_caffe(name, architecture, path, map_size)
    else:
        found = _from_checkpoint(name, architecture, path, weights, map_size)
    classifier = find_classifier(found.network, name, layer)
    classifier.requires_grad_(False).to(device).eval()
    classes = 0 if vars(found.network).get("num_classes") == 0 else _classes(classifier, device)
    facts = (found.preprocessing, found.weights, found.sha256, classes, found.class_names, found.notes)
    return Model(name, classifier, *facts, layer, map_size)


@dataclass(frozen=True)
class _Found:
    """A network with its weights, and what ``Model`` says of them."""

    network: nn.Module
    preprocessing: Preprocessing
    weights: str
    sha256: str
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _from_caffe(name: str, architecture: Architecture, path: Path, side: int | None) -> _Found:
    """Take structure and weights from the file; the named architecture only says what it should be."""
    if side is not None:
        raise InputError(f"{path} brings its own network; leave out --map-size")
    model = read_caffemodel(path)
    with torch.device("meta"):
        wanted = _convolutions(architecture.build_for_training(1000))
    check_finite(model.network.state_dict(), path)
    if (given := _convolutions(model.network)) != wanted:
        raise InputError(f"{path} holds {given} convolutions, {name} has {wanted}; mend --model or --weights")
    return _Found(model.network, model.preprocessing, path.name, file_sha256(path))


def _convolutions(network: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in network.modules())


def _from_checkpoint(
    name: str, architecture: Architecture, path: Path | None, weights: str | Path | None, side: int | None
) -> _Found:
    if path is None:
        network = architecture.build({}, None, side).eval()
        note = f"no --weights: those that {name} comes with"
        return _Found(network, architecture.preprocessing(), "own", network_sha256(network), notes=(note,))
    checkpoint = read_checkpoint(path)
    facts = checkpoint.facts
    if facts and facts.architecture != name:
        raise InputError(f"{path} was trained as {facts.architecture}, not {name}; mend or leave out --model")
    offered = architecture.published()
    published = next((p for p in offered if p.matches(checkpoint.sha256, weights)), None)
    if published is None and weights in [p.name for p in offered]:
        raise InputError(f"{path} is not the file published as {weights}; delete it and try again")
    network = architecture.build(checkpoint.state, published, side or (facts.map_size if facts else None)).eval()
    _fill(network, checkpoint, name)
    known = facts or published
    label = published.name if published else path.name
    notes = []
    if published is None and facts is None and "transform_input" in vars(network):
        notes.append(
            f"{label} is no file of torchvision's: its input is not transformed as {name}'s own weights want it"
        )
    preprocessing = known.preprocessing if known else architecture.preprocessing()
    return _Found(network, preprocessing, label, checkpoint.sha256, facts.classes if facts else (), tuple(notes))


def _name(weights: str | Path | None) -> str:
    if weights is None or not Path(weights).is_file():
        raise InputError("give --model, or --weights with a file that wsol.train wrote, which names its model")
    facts = read_checkpoint(Path(weights)).facts
    if facts is None:
        raise InputError(f"{weights} does not say what network it is for; give --model")
    if ".py:" in facts.architecture:  # a file of weights must not say what is run
        raise InputError(
            f"{weights} was trained as {facts.architecture!r:.200}, which would be run; give --model if you trust it"
        )
    return facts.architecture


def _classes(classifier: Classifier, device: str | torch.device) -> int:
    if isinstance(classifier, GapClassifier) and classifier.linear is not None:
        return classifier.linear.out_features
    with torch.inference_mode():
        return int(classifier(torch.zeros(1, 3, 224, 224, device=device)).shape[1])


def _file(name: str, weights: str | Path | None, architecture: Architecture) -> Path | None:
    offered = [p.name for p in architecture.published()]
    if weights is not None and str(weights) in offered:
        return architecture.fetch(str(weights))
    if weights is not None and Path(weights).is_file():
        return Path(weights)
    if weights is None and (bundled := architecture.bundled_weights()) is not None:
        return bundled
    if weights is None and architecture.comes_with_weights:
        return None
    fault = "no weights" if weights is None else f"there is no weights file {weights}"
    raise InputError(
        f"{name}: {fault}; give --weights {' or '.join(['a .safetensors, .pth or .caffemodel file', *offered])}"
    )


def _fill(network: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    own = network.state_dict()
    used = _used(network, name)
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
    for key, value in own.items():
        if value.is_floating_point() and key in state and not state[key].is_floating_point():
            raise InputError(f"{checkpoint.path}: {key} holds {state[key].dtype}, not real numbers; save float tensors")
    try:
        network.load_state_dict(state, strict=False)
    except (RuntimeError, NotImplementedError) as error:  # kinds of numbers that torch only keeps
        raise InputError(
            f"{checkpoint.path} cannot be loaded into {name} ({first_line(error)}); save float32 tensors"
        ) from error
    check_finite(own, checkpoint.path)


def _used(network: nn.Module, name: str) -> set[str]:
    """Return the tensors that evaluation needs: those of training alone, such as GoogLeNet's heads, may be missing."""
    traced = fx.GraphModule(network, trace(network, name).graph)  # with the parts that it calls
    alive = {tensor.data_ptr() for tensor in (*traced.parameters(), *traced.buffers())}
    return {key for key, value in network.state_dict().items() if value.data_ptr() in alive}


_LONGEST = 80


def _some(items: Iterable[str]) -> str:
    items = [printable(item)[:_LONGEST] for item in items]  # a file may call them anything
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def find_architecture(name: str) -> Architecture:
    """Find an architecture.

    Args:
        name: Registered name; ``timm/NAME`` for one of timm's; ``FILE.py:FUNCTION`` for a user's own.

    Raises:
        InputError: There is none; the message says what is near, or missing.
    """
    if name.startswith("timm/"):
        return Timm(name.removeprefix("timm/"))
    if ".py:" in name:
        return UserArchitecture(name)
    return MODELS.get(name)


def optimize(network: Classifier, channels_last: bool, compiled: bool) -> None:
    """Change how a network runs, in place; results change by rounding at most.

    Args:
        network: To be run in evaluation mode.
        channels_last: Lay out the weights of convolutions for channels last.
        compiled: Compile the layers below the target layer.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if compiled:
        network.trunk.compile()
