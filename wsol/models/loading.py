"""Models by name, with their weights."""

from dataclasses import is_dataclass, replace
from pathlib import Path

import torch
from torch import nn

from wsol.errors import InputError
from wsol.models._headed import HeadedArchitecture
from wsol.models._hugging_face import HuggingFace
from wsol.models._open_clip import OpenClip
from wsol.models._timm import Timm
from wsol.models._user_file import UserArchitecture
from wsol.models.base import MODELS, Architecture, Model, is_same_name
from wsol.models.caffe import read_caffemodel
from wsol.models.checkpoint import check_finite, file_sha256, network_sha256, read_checkpoint
from wsol.models.classifier import Classifier
from wsol.models.heads.base import HEADS
from wsol.models.hooked import HookedClassifier
from wsol.models.hooked_layers import HookedLayers
from wsol.models.load_state import load_state
from wsol.models.prompts import Prompts
from wsol.models.source import LoadedNetwork, Source
from wsol.models.target_layer import SIDE, find_classifier
from wsol.models.unwrap import check_network, to_float32, unwrap
from wsol.registry import format_settings, with_settings


def load_model(
    name: str | None,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    layer: str | None = None,
    map_size: int | None = None,
    side: int | None = None,
    output: str | None = None,
    prompts: Prompts | None = None,
) -> Model:
    """Build a model and load its weights.

    Args:
        name: Registered name, see ``python -m wsol.list models``; ``timm/NAME``; ``open_clip/NAME``;
            ``hf/ORG/NAME``; ``FILE.py:FUNCTION``; None to take the
            name from the weights file, which those of ``wsol.train`` contain.
        weights: A ``.safetensors``, ``.pth`` or ``.caffemodel`` file, or the name of published weights,
            ``IMAGENET1K_V1``; None for weights that are bundled with this package, or that a user's own function loads.
        device: Device of the model.
        layer: Dotted name of the target layer, or several, separated by commas; None to find it.
        map_size: Side of the feature maps for a 224 x 224 image; None for that in the weights file, or the network's
            own.
        side: Side of the square images that the network is to take; None for that of the weights, or 224.
        output: Name or index of the output that holds the class scores, if the network returns several.
        prompts: Classes of a zero-shot classifier, and the texts about them; other networks ignore them.

    Returns:
        The model in evaluation mode. Its number of classes is that of the weights. A file that the authors published
        is recognized by its SHA-256 and gets their preprocessing; any other file gets the architecture's default.

    Raises:
        InputError: The name or the weights are unknown, unreadable, or do not fit.
    """
    if name is None:
        name = _read_model_name(weights)
    architecture = find_architecture(name)
    name = complete_name(name, architecture)
    loaded = _load(name, architecture, weights, map_size, prompts, device)
    network, cast_notes = to_float32(loaded.network, name)
    side = side or loaded.preprocessing.size or SIDE
    classifier = find_classifier(network, name, layer, side, output)
    classifier.requires_grad_(False).to(device).eval()
    return Model(
        name,
        classifier,
        loaded.preprocessing,
        loaded.weights,
        loaded.sha256,
        0 if vars(network).get("num_classes") == 0 else classifier.classes,
        loaded.class_names,
        (*loaded.notes, *cast_notes, *classifier.notes),
        layer and classifier.layer,
        map_size,
        loaded.categories,
        loaded.code_sha256 or architecture.code_sha256,
        side,
        output,
        type(loaded.network).__module__.partition(".")[0],
        loaded.prompts,
        loaded.recipe,
    )


def find_architecture(name: str) -> Architecture:
    """Find an architecture.

    Args:
        name: Registered name, with settings if it takes any, ``resnet18-tap:theta=0.2``; ``timm/NAME``,
            ``open_clip/NAME`` or ``hf/ORG/NAME`` for one of timm, open_clip or transformers; ``FILE.py:FUNCTION`` for a
            user's own. ``+HEAD`` after a name, ``resnet18-gap+acol:threshold=0.7``, is the network with the head of a
            training method.

    Raises:
        InputError: There is no such architecture or setting; the message suggests similar names, or says what is
            missing.
    """
    base, head = split_head(name)
    if head:
        return HeadedArchitecture(base, find_architecture(base), HEADS.find(head))
    if ".py:" in name:
        return UserArchitecture(name)
    source, _, rest = name.partition("/")
    sources: dict[str, type[Architecture]] = {"timm": Timm, "open_clip": OpenClip, "hf": HuggingFace}
    if rest and source in sources:
        return sources[source](rest)  # type: ignore[call-arg]  # each takes the name
    base, _, settings = name.partition(":")
    architecture = MODELS.get(base)
    if not settings:
        return architecture
    if not is_dataclass(architecture):
        raise InputError(f"model {base} takes no settings; leave out {settings!r:.80}")
    return with_settings(f"model {base}", architecture, settings)


def split_head(name: str) -> tuple[str, str]:
    """Split ``MODEL+HEAD:SETTINGS``; the second part is empty if the name has no head of a training method."""
    base, plus, head = name.rpartition("+")
    return (base, head) if plus and head.partition(":")[0] in HEADS.names() else (name, "")


def complete_name(name: str, architecture: Architecture) -> str:
    """Return a name with all settings of its architecture, if it takes any: ``resnet18-tap:theta=0.1``."""
    if isinstance(architecture, HeadedArchitecture):
        return f"{complete_name(architecture.name, architecture.base)}+{architecture.head.signature}"
    if not is_dataclass(architecture):
        return name
    return format_settings(name.partition(":")[0], architecture)


def optimize(network: Classifier, channels_last: bool, compiled: bool) -> None:
    """Change how a network runs, in place; results change by rounding at most.

    Args:
        network: A network to be run in evaluation mode.
        channels_last: Store the weights of convolutions with channels last.
        compiled: Compile the trunk.

    Raises:
        InputError: The network cannot be traced, and is to be compiled.
    """
    if compiled and isinstance(network, (HookedClassifier, HookedLayers)):
        raise InputError("a network that is read by hooks cannot be compiled; leave out --compile")
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if compiled:
        network.trunk.compile()


def _read_model_name(weights: str | Path | None) -> str:
    if weights is None or not Path(weights).is_file():
        fault = "" if weights is None else f"there is no weights file {weights}; "
        raise InputError(f"{fault}give --model, or --weights with a file of wsol.train, which names its model")
    metadata = read_checkpoint(Path(weights)).metadata
    if metadata is None:
        raise InputError(f"{weights} does not name its model; give --model")
    if ".py:" in metadata.architecture:  # a weights file must not decide which code is run
        raise InputError(
            f"{weights} was trained as {metadata.architecture!r:.200}, which would be run; give --model if you trust it"
        )
    return metadata.architecture


def _load(
    name: str,
    architecture: Architecture,
    weights: str | Path | None,
    map_size: int | None,
    prompts: Prompts | None,
    device: str | torch.device,
) -> LoadedNetwork:
    if isinstance(architecture, Source):
        if map_size is not None:
            raise InputError(f"{name} has a fixed map size; leave out --map-size")
        return architecture.load(weights, prompts, torch.device(device))
    path = _find_weights_file(name, weights, architecture)
    if path is not None and path.suffix == ".caffemodel":
        return _load_caffe(name, architecture, path, map_size)
    return _load_checkpoint(name, architecture, path, weights, map_size)


def _find_weights_file(name: str, weights: str | Path | None, architecture: Architecture) -> Path | None:
    """Return the weights file; None if the architecture comes with its weights."""
    published = [p.name for p in architecture.published_weights()]
    if weights is not None and str(weights) in published:
        return architecture.fetch(str(weights))
    if weights is not None and Path(weights).is_file():
        return Path(weights)
    if weights is None and (bundled := architecture.bundled_weights()) is not None:
        return bundled
    if weights is None and architecture.comes_with_weights:
        return None
    fault = "no weights" if weights is None else f"there is no weights file {weights}"
    raise InputError(
        f"{name}: {fault}; give --weights {' or '.join(['a .safetensors, .pth or .caffemodel file', *published])}"
    )


def _load_caffe(name: str, architecture: Architecture, path: Path, map_size: int | None) -> LoadedNetwork:
    """Read structure and weights from the file; the named architecture serves as a check."""
    if map_size is not None:
        raise InputError(f"{path} defines its own network; leave out --map-size")
    model = read_caffemodel(path)
    with torch.device("meta"):
        expected = _count_convolutions(architecture.build_for_training(1000))
    check_finite(model.network.state_dict(), path)
    if (count := _count_convolutions(model.network)) != expected:
        raise InputError(f"{path} has {count} convolutions, {name} has {expected}; fix --model or --weights")
    return LoadedNetwork(model.network, model.preprocessing, path.name, file_sha256(path))


def _load_checkpoint(
    name: str, architecture: Architecture, path: Path | None, weights: str | Path | None, map_size: int | None
) -> LoadedNetwork:
    if path is None:
        network = _to_evaluation(architecture.build({}, None, map_size), name)
        if any(tensor.is_meta for tensor in network.state_dict().values()):
            raise InputError(f"{name} is on the meta device, without weights; give --weights")
        note = f"no --weights given: {name} provides its own"
        return LoadedNetwork(network, architecture.preprocessing(), "own", network_sha256(network), notes=(note,))
    checkpoint = read_checkpoint(path)
    metadata = checkpoint.metadata
    if metadata and not is_same_name(metadata.architecture, name):
        raise InputError(f"{path} was trained as {metadata.architecture}, not {name}; fix or leave out --model")
    offered = architecture.published_weights()
    published = next((p for p in offered if p.matches(checkpoint.sha256, weights)), None)
    if published is None and weights in [p.name for p in offered]:
        raise InputError(f"{path} is not the file published as {weights}; delete it and try again")
    map_size = map_size or (metadata.map_size if metadata else None)
    network = _to_evaluation(architecture.build(checkpoint.state, published, map_size), name)
    load_state(network, checkpoint, name, needs_all=isinstance(architecture, HeadedArchitecture))
    source = metadata or published
    preprocessing = source.preprocessing if source else architecture.preprocessing()
    if preprocessing.size is None:
        preprocessing = replace(preprocessing, size=architecture.input_size(network))
    label = published.name if published else path.name
    notes = [*checkpoint.notes]
    if source is None and "transform_input" in vars(network):
        notes.append(
            f"{label} is not a file of torchvision: its input is not transformed as the published weights of {name} "
            "expect"
        )
    class_names = metadata.classes if metadata else ()
    categories = published.categories if published else ()
    return LoadedNetwork(
        network,
        preprocessing,
        label,
        checkpoint.sha256,
        class_names,
        tuple(notes),
        categories,
        recipe=metadata.recipe if metadata else None,
    )


def _to_evaluation(network: nn.Module, name: str) -> nn.Module:
    """Return a network, unwrapped, in evaluation mode.

    Raises:
        InputError: It cannot be evaluated.
    """
    network = unwrap(network)
    try:
        network.eval()
    except NotImplementedError as error:
        raise InputError(f"{name} is an exported graph of fixed mode; give the network that was exported") from error
    check_network(network, name)
    return network


def _count_convolutions(network: nn.Module) -> int:
    return sum(isinstance(module, nn.Conv2d) for module in network.modules())
