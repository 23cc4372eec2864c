"""Image classifiers and CLIPs of the package transformers: ``hf/ORG/NAME``."""

import contextlib
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.models._hugging_face_images import find_side, read_image_processor
from wsol.models.base import PublishedWeights
from wsol.models.checkpoint import Checkpoint, check_finite, file_sha256, read_checkpoint
from wsol.models.class_lists import shorten
from wsol.models.imagenet import COUNT, imagenet_names
from wsol.models.prompts import Prompts
from wsol.models.source import LoadedNetwork, Source, require_prompts
from wsol.models.unwrap import to_float32
from wsol.models.zero_shot import ZeroShotClassifier, encode_prompts

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_FILES = ("*.json", "*.txt", "*.model", "model*.safetensors")
_OTHER_FILES = ("*/*", "*fp16*", "*non_ema*")
_MAX_SHOWN = 3


class HuggingFace(Source):
    """Builder of a network of transformers, of the class that its ``config.json`` names.

    ``...ForImageClassification`` is a classifier, and its ``id2label`` its classes. A network with image and text
    features, such as ``CLIPModel``, is a zero-shot classifier. Any other one has no classifier. Code that comes with
    the weights is not run, and weights are read without pickle's code.

    Args:
        name: ``ORG/NAME``, as on the Hugging Face Hub.

    Raises:
        InputError: transformers is not installed.
    """

    def __init__(self, name: str) -> None:
        try:
            self._transformers: Any = importlib.import_module("transformers")
        except ImportError as error:
            raise InputError(f"hf/{name} needs the package transformers; pip install 'wsol[hf]'") from error
        self.name, self._name = f"hf/{name}", name

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        """Return the network without weights; its configuration is downloaded unless it is cached."""
        config = self._read_config(self._name)
        network = self._find_class(config)(config).to("meta")
        if not _has_texts(network):
            return network if _classifies(network) else _WithoutClassifier(network)
        return ZeroShotClassifier(_ImageFeatures(network), torch.empty(1000, config.projection_dim), torch.empty(()))

    def input_size(self, network: nn.Module) -> int | None:
        config = next(each.config for each in network.modules() if hasattr(each, "config"))
        return find_side(config)

    def load(self, weights: str | Path | None, prompts: Prompts | None, device: torch.device) -> LoadedNetwork:
        folder, files = self._find_files(weights)
        config = self._read_config(str(folder), local_files_only=True)
        checkpoints = [read_checkpoint(each) for each in files]
        network, notes = self._read_network(config, checkpoints)
        network, cast_notes = to_float32(network, self.name)
        preprocessing, image_notes = read_image_processor(self._transformers, folder, config, self.name)
        arguments: dict[str, Any] = {}
        loaded: nn.Module = network
        if _has_texts(network):
            prompts = require_prompts(prompts, self.name)
            arguments = {"class_names": prompts.classes, "prompts": prompts}
            image_notes = (*image_notes, *prompts.notes)
            loaded = self._make_zero_shot(network, prompts, folder, device)
        elif _classifies(network):
            names = _read_labels(config)
            arguments = {"categories" if _are_imagenet(names) else "class_names": names}
        else:
            loaded = _WithoutClassifier(network)
        return LoadedNetwork(
            loaded.eval(),
            preprocessing,
            files[0].name if len(files) == 1 else f"{len(files)} files",
            _join_sha256([each.sha256 for each in checkpoints]),
            notes=(*(note for each in checkpoints for note in each.notes), *notes, *cast_notes, *image_notes),
            code_sha256=file_sha256(folder / _CONFIG),
            **arguments,
        )

    def _find_files(self, weights: str | Path | None) -> tuple[Path, list[Path]]:
        """Return the folder of the configuration and the files of the weights."""
        if weights is not None and Path(weights).is_file():
            return self._check_folder(Path(weights).parent), [Path(weights)]
        if weights is not None and not Path(weights).is_dir():
            raise InputError(f"{self.name}: there is no file or folder {weights}; fix or leave out --weights")
        folder = self._check_folder(self._download() if weights is None else Path(weights))
        if (folder / _INDEX).is_file():
            return folder, self._read_index(folder)
        if (folder / _WEIGHTS).is_file():
            return folder, [folder / _WEIGHTS]
        raise InputError(f"{self.name}: {folder} has no {_WEIGHTS}; give --weights FILE in the folder of {_CONFIG}")

    def _check_folder(self, folder: Path) -> Path:
        if not (folder / _CONFIG).is_file():
            raise InputError(f"{self.name}: {folder} has no {_CONFIG}; put it beside the weights")
        return folder

    def _read_index(self, folder: Path) -> list[Path]:
        try:
            names = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
            if any(Path(name).name != name for name in names):  # beside the index, and nowhere else
                raise ValueError("it names files of other folders")
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise InputError(f"{folder / _INDEX} is no index of weights ({first_line(error)}); restore it") from error
        return [folder / name for name in sorted(names)]

    def _download(self) -> Path:
        try:
            hub: Any = importlib.import_module("huggingface_hub")
            return Path(hub.snapshot_download(self._name, allow_patterns=_FILES, ignore_patterns=_OTHER_FILES))
        except Exception as error:  # no network, no such repository, no access: the hub has its own error types
            raise InputError(
                f"cannot download {self._name} ({first_line(error)}); download it by hand and give --weights FOLDER"
            ) from error

    def _read_config(self, source: str, **arguments: Any) -> Any:
        try:
            with self._quiet():
                return self._transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, **arguments)
        except Exception as error:  # no network, no such repository, a malformed or unknown configuration
            raise InputError(f"{self.name}: {_CONFIG} cannot be read ({first_line(error):.200})") from error

    def _find_class(self, config: Any) -> Any:
        names = getattr(config, "architectures", None) or ["nothing"]
        kind: Any = getattr(self._transformers, str(names[0]), None)
        is_network = isinstance(kind, type) and issubclass(kind, self._transformers.PreTrainedModel)
        if not is_network:
            raise InputError(f"{self.name}: its {_CONFIG} names {names[0]!r:.80}, which is no network of transformers")
        if kind.main_input_name != "pixel_values" and not hasattr(kind, "get_image_features"):
            raise InputError(f"{self.name} is a {names[0]}, which takes no images; give an image classifier or a CLIP")
        return kind

    def _read_network(self, config: Any, checkpoints: list[Checkpoint]) -> tuple[nn.Module, list[str]]:
        """Return the network with its weights, and remarks; transformers knows the names of its older versions."""
        kind = self._find_class(config)
        state = {key: value for each in checkpoints for key, value in each.stored.items()}
        try:
            with self._quiet():
                network, report = kind.from_pretrained(
                    None, config=config, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True
                )
        except Exception as error:  # a configuration that contradicts itself raises anything
            raise InputError(f"{self.name} cannot be built ({first_line(error):.200})") from error
        faults = []
        if missing := sorted(report["missing_keys"]):
            faults.append(f"missing in the file: {_list(missing)}")
        if mismatched := sorted(str(each[0]) for each in report["mismatched_keys"]):
            faults.append(f"of another shape: {_list(mismatched)}")
        path = checkpoints[0].path
        if faults:
            raise InputError(f"{path} does not fit {self.name}: {'; '.join(faults)}; check {_CONFIG} and --weights")
        check_finite(network.state_dict(), path)
        unexpected = sorted(report["unexpected_keys"])
        return network, [f"{path.name} holds tensors that {self.name} ignores: {_list(unexpected)}"] * bool(unexpected)

    def _make_zero_shot(self, network: Any, prompts: Prompts, folder: Path, device: torch.device) -> nn.Module:
        try:
            with self._quiet():
                tokenizer = self._transformers.AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
        except Exception as error:  # no such files, or of a kind that needs another package
            raise InputError(f"{self.name}: {folder} has no usable tokenizer ({first_line(error):.200})") from error
        longest = network.config.text_config.max_position_embeddings
        # SigLIP reads its text features at the last position, so that all texts have to be as long as in training.
        padding = "max_length" if network.config.model_type.startswith("siglip") else "longest"

        def encode(texts: list[str]) -> Tensor:
            tokens = tokenizer(texts, padding=padding, truncation=True, max_length=longest, return_tensors="pt")
            inputs = {key: tokens[key].to(device) for key in ("input_ids", "attention_mask") if key in tokens}
            return _to_tensor(network.get_text_features(**inputs))

        network.eval().to(device)
        features = encode_prompts(encode, prompts)
        network.to("cpu")
        bias = getattr(network, "logit_bias", None)
        return ZeroShotClassifier(
            _ImageFeatures(network),
            features,
            network.logit_scale.detach().exp().reshape(()),
            None if bias is None else bias.detach().reshape(()),
        )

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Turn off what transformers logs, and its progress bars."""
        log = self._transformers.utils.logging
        verbosity, has_bars = log.get_verbosity(), log.is_progress_bar_enabled()
        log.set_verbosity(log.CRITICAL)
        log.disable_progress_bar()
        try:
            yield
        finally:
            log.set_verbosity(verbosity)
            if has_bars:
                log.enable_progress_bar()


class _ImageFeatures(nn.Module):
    """The image features of a network that has those of texts too.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, images: Tensor) -> Tensor:
        """Return image features, ``(n, d)``."""
        return _to_tensor(self.network.get_image_features(pixel_values=images))


class _WithoutClassifier(nn.Module):
    """A network without class scores; its outputs are those of the class token, or the mean of its maps.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.num_classes = 0

    def forward(self, images: Tensor) -> Tensor:
        """Return one feature vector for each image."""
        last: Tensor = self.network(pixel_values=images).last_hidden_state
        return last[:, 0] if last.dim() == 3 else last.mean((2, 3))


def _to_tensor(features: Any) -> Tensor:
    """Return the features that a network returns, as transformers 5 does, with other outputs."""
    found: Tensor = getattr(features, "pooler_output", features)
    return found


def _classifies(network: nn.Module) -> bool:
    return "ForImageClassification" in type(network).__name__


def _has_texts(network: nn.Module) -> bool:
    names = ("get_image_features", "get_text_features", "logit_scale")
    return not _classifies(network) and all(hasattr(network, name) for name in names)


def _read_labels(config: Any) -> tuple[str, ...]:
    """Return the names of the outputs; none where transformers made them up."""
    labels = [str(label) for _, label in sorted(config.id2label.items())]
    return () if all(label == f"LABEL_{i}" for i, label in enumerate(labels)) else tuple(labels)


def _are_imagenet(names: tuple[str, ...]) -> bool:
    """Return whether names are those of ImageNet's classes in their order, although some are spelled differently."""
    if len(names) != COUNT:
        return False
    return sum(shorten(one) == shorten(other) for one, other in zip(names, imagenet_names(), strict=True)) > 0.8 * COUNT


def _join_sha256(digests: list[str]) -> str:
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more
