"""LeGrad."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError
from wsol.methods._attention import AttentionRecorder, attention_unsupported_reason
from wsol.methods._blocks import Block, blocks_unsupported_reason, find_blocks
from wsol.methods._memory import max_batch_size
from wsol.methods.base import METHODS, Forward, Method
from wsol.models import Classifier
from wsol.models.graph import attention_kind


@METHODS.register("legrad")
@dataclass(frozen=True)
class LeGrad(Method):
    """Gradient of the class score of each block with respect to its attention.

    Bousselham et al., "LeGrad: An Explainability Method for Vision Transformers via Feature Formation Sensitivity",
    ICCV 2025: the mean of the tokens that leave block l, put through the network's own last normalization
    and classifier, has the score ``s_l``; the map is ``sum_l mean_heads,queries(relu(ds_l/dA_l))`` over the last
    blocks, at the keys that are patches. As in the authors' code, the mean is that of all tokens, and so are the
    queries, with class token and registers; for CLIP, the score includes projection and normalization. The code resizes
    the maps before it adds them, which comes to the same, and has another formula for networks that pool by attention,
    which are treated like all others here. Costs a second forward pass and, for each class, a backward pass from the
    end of each of these blocks to its attention.

    Attributes:
        layers: Number of last blocks that the maps are summed over.
    """

    needs = "attention"
    layers: int = 2

    def __post_init__(self) -> None:
        """Check that there is a block."""
        if self.layers < 1:
            raise ValueError("layers must be 1 or more")

    def maps(self, forward: Forward, classes: Tensor) -> Tensor:
        """Return maps with one value per patch, 0 or more."""
        blocks = find_blocks(forward.network, (forward.images.shape[2], forward.images.shape[3]))[-self.layers :]
        layout, rows = blocks[-1].layout, []
        for recorded, logits, chosen in _run_blocks(forward, classes, blocks):
            with torch.inference_mode(False), torch.enable_grad():
                scores = forward.target(logits, chosen.clone().repeat(len(blocks), 1)).sum(0).unbind()
            rows.append(torch.stack([_sum_gradients(recorded, score) for score in scores], 1))
        assert layout.places is not None  # tokens have positions
        patches = torch.cat(rows)[..., layout.places.to(forward.images.device)]
        return patches.reshape(*classes.shape, *layout.grid)

    def unsupported_reason(self, network: Classifier) -> str | None:
        """Require blocks of attention with residual additions, as many as are summed over."""
        return attention_unsupported_reason(network) or blocks_unsupported_reason(network, self.layers)


def _run_blocks(
    forward: Forward, classes: Tensor, blocks: tuple[Block, ...]
) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
    """Run the images again, and the end of the network on the mean token of each of the last blocks.

    Args:
        forward: A forward pass.
        classes: int64 ``(n, k)``.
        blocks: The last blocks of the network.

    Yields:
        For each chunk of images: the recorded attention of each block, the class scores of its mean token, block after
        block, ``(blocks n, classes)``, and the classes of the images.
    """
    size, (tokens,) = max_batch_size(forward, gradients=True), blocks[-1].layout.axes
    for images, chosen in zip(torch.split(forward.images, size), torch.split(classes, size), strict=True):
        recorded: list[Tensor] = []
        means: list[Tensor] = []
        with torch.inference_mode(False), torch.enable_grad():
            logits = forward.network.run_interpreted(
                lambda part: _BlockRecorder(part, blocks, recorded, means),  # noqa: B023  # runs now
                images,
            )
        if len(recorded) != len(blocks) or any(each.shape[-2:] != (tokens, tokens) for each in recorded):
            raise InputError("not all tokens attend to each other in the last blocks; use another method")
        yield recorded, logits, chosen


class _BlockRecorder(AttentionRecorder):
    """Interpreter that records the attention of some blocks, each with a graph of gradients of its own."""

    def __init__(self, part: nn.Module, blocks: tuple[Block, ...], recorded: list[Tensor], means: list[Tensor]) -> None:
        super().__init__(part, recorded, gradients=True)
        self.attentions = {block.attention for block in blocks}
        self.outputs = {block.output: block.layout for block in blocks}
        self.last, self.means = blocks[-1].output, means

    def run_node(self, n: fx.Node) -> Any:
        if attention_kind(n, self.module) is not None and n not in self.attentions:
            return fx.Interpreter.run_node(self, n)
        result = super().run_node(n)
        if (layout := self.outputs.get(n)) is None:
            return result
        self.means.append(result.mean(3 - layout.channel_axis, keepdim=True).expand_as(result))
        # What follows the last block runs on the mean tokens of all blocks, as if they were further images.
        return torch.cat(self.means) if n is self.last else result.detach()


def _sum_gradients(recorded: list[Tensor], score: Tensor) -> Tensor:
    """Return the positive gradients of a score, averaged over heads and queries and summed over layers: ``(n, t)``."""
    with torch.inference_mode(False):
        gradients = torch.autograd.grad(score, recorded, retain_graph=True)
    return torch.stack([each.relu().mean((1, 2)) for each in gradients]).sum(0)
