"""Any network of the package open_clip as a zero-shot classifier: ``open_clip/NAME``."""

import contextlib
import difflib
import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import InputError, first_line
from wsol.models.base import Preprocessing, PublishedWeights
from wsol.models.checkpoint import Checkpoint, read_checkpoint
from wsol.models.load_state import load_state
from wsol.models.prompts import Prompts
from wsol.models.source import LoadedNetwork, Source, require_prompts
from wsol.models.zero_shot import ZeroShotClassifier, encode_prompts

_QUICK = "-quickgelu"


class OpenClip(Source):
    """Builder of a zero-shot classifier on a network of ``open_clip.create_model``.

    Args:
        name: Name in ``open_clip.list_models``, such as ``ViT-B-16``.

    Raises:
        InputError: open_clip is not installed, or has no such model.
    """

    def __init__(self, name: str) -> None:
        try:
            self._open_clip: Any = importlib.import_module("open_clip")
        except ImportError as error:
            raise InputError(f"open_clip/{name} needs the package open_clip; pip install 'wsol[clip]'") from error
        names = self._open_clip.list_models()
        if name not in names:
            similar = " or ".join(difflib.get_close_matches(name, names, n=3))
            raise InputError(f"open_clip has no model {name!r}" + (f"; did you mean {similar}?" if similar else ""))
        self.name, self._name = f"open_clip/{name}", name

    def build(
        self, state: Mapping[str, Tensor], published: PublishedWeights | None, map_size: int | None = None
    ) -> nn.Module:
        dimensions = self._open_clip.get_model_config(self._name)["embed_dim"]
        visual = self._create("meta").visual
        return ZeroShotClassifier(visual, torch.empty(1000, dimensions), torch.empty(()))

    def preprocessing(self) -> Preprocessing:
        """Return that of all published weights, if they agree; else that of CLIP."""
        kinds = {(tuple(each["mean"]), tuple(each["std"])) for each in self._configs().values()}
        constants = importlib.import_module("open_clip.constants")
        clip = (tuple(constants.OPENAI_DATASET_MEAN), tuple(constants.OPENAI_DATASET_STD))
        return Preprocessing(*(kinds.pop() if len(kinds) == 1 else clip), self._side())

    def published_weights(self) -> tuple[PublishedWeights, ...]:
        return tuple(
            PublishedWeights(tag, "", Preprocessing(tuple(each["mean"]), tuple(each["std"]), self._side()))
            for tag, each in self._configs().items()
        )

    def fetch(self, name: str) -> Path:
        config = self._configs()[name]
        if bool(config.get("quick_gelu")) != self._is_quick():
            other = self._name.removesuffix(_QUICK) if self._is_quick() else self._name + _QUICK
            raise InputError(
                f"the weights {name} belong to the activation of open_clip/{other}, not of {self.name}; give --model "
                f"open_clip/{other}"
            )
        try:
            return Path(self._open_clip.download_pretrained(config))
        except Exception as error:  # no network, no such file, no access: each host has its own error types
            raise InputError(
                f"cannot download {self.name} {name} ({first_line(error)}); download it by hand and give --weights FILE"
            ) from error

    def load(self, weights: str | Path | None, prompts: Prompts | None, device: torch.device) -> LoadedNetwork:
        prompts = require_prompts(prompts, self.name)
        published = next((each for each in self.published_weights() if each.name == str(weights)), None)
        checkpoint = read_checkpoint(self._find_file(weights, published))
        clip = self._create().eval()
        state = self._convert(checkpoint, clip)
        load_state(clip, replace(checkpoint, stored=state), self.name, needs_all=True)
        features = encode_prompts(self._make_encoder(clip.to(device)), prompts)
        clip.to("cpu")
        bias = getattr(clip, "logit_bias", None)
        network = ZeroShotClassifier(
            clip.visual,
            features,
            clip.logit_scale.detach().exp().reshape(()),
            None if bias is None else bias.detach().reshape(()),
        )
        notes = [*checkpoint.notes, *prompts.notes]
        if published is None and not self._is_quick() and self._name + _QUICK in self._open_clip.list_models():
            notes.append(
                f"{checkpoint.path.name} does not say which activation it was trained with: {self.name} has GELU; "
                f"weights of OpenAI need open_clip/{self._name}{_QUICK}"
            )
        return LoadedNetwork(
            network.eval(),
            published.preprocessing if published else self.preprocessing(),
            published.name if published else checkpoint.path.name,
            checkpoint.sha256,
            prompts.classes,
            tuple(notes),
            prompts=prompts,
        )

    def _find_file(self, weights: str | Path | None, published: PublishedWeights | None) -> Path:
        if published is not None:
            return self.fetch(published.name)
        if weights is not None and Path(weights).is_file():
            return Path(weights)
        fault = "no weights" if weights is None else f"there is no weights file {weights}"
        names = ["a .safetensors or .pth file", *self._configs()]
        raise InputError(f"{self.name}: {fault}; give --weights {' or '.join(names)}")

    def _convert(self, checkpoint: Checkpoint, clip: nn.Module) -> dict[str, Tensor]:
        """Return weights under the names of the network; other programs and older versions name them differently."""
        state: dict[str, Tensor] = checkpoint.select(clip.state_dict())
        state = importlib.import_module("open_clip.convert").convert_state_dict(clip, state)
        model = importlib.import_module("open_clip.model")
        if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
            state = model.convert_to_custom_text_state_dict(state)
        for key in ("logit_scale", "logit_bias"):
            if key in state and getattr(clip, key, None) is not None:
                state[key] = state[key].reshape(getattr(clip, key).shape)
        return state

    def _make_encoder(self, clip: Any) -> Any:
        """Return the function from texts to their features."""
        try:
            with _quiet():
                tokenize = self._open_clip.get_tokenizer(self._name)
        except Exception as error:  # those that are not bundled with open_clip are downloaded
            raise InputError(f"the tokenizer of {self.name} cannot be loaded ({first_line(error)})") from error
        device = clip.logit_scale.device
        return lambda texts: clip.encode_text(tokenize(texts).to(device))

    def _configs(self) -> dict[str, Mapping[str, Any]]:
        tags = self._open_clip.list_pretrained_tags_by_model(self._name)
        return {tag: self._open_clip.get_pretrained_cfg(self._name, tag) for tag in tags}

    def _is_quick(self) -> bool:
        return bool(self._open_clip.get_model_config(self._name).get("quick_gelu"))

    def _side(self) -> int | None:
        size = self._open_clip.get_model_config(self._name)["vision_cfg"].get("image_size")
        return size if isinstance(size, int) else None

    def _create(self, device: str = "cpu") -> Any:
        try:
            with _quiet():
                clip = self._open_clip.create_model(
                    self._name, device=device, load_weights=False, pretrained_text=False
                )
        except Exception as error:  # the configuration of another package's text encoder is downloaded
            raise InputError(f"{self.name} cannot be built ({first_line(error)})") from error
        if getattr(clip.visual, "output_tokens", False):
            clip.visual.output_tokens = False
        return clip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what open_clip logs and warns of, and keep its logging from configuring the program's."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def reject(_: logging.LogRecord) -> bool:
        return False

    root.addHandler(handler)  # without one, each logged line would add a handler
    root.addFilter(reject)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(reject)
        root.removeHandler(handler)
