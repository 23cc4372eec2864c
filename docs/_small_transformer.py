"""A small vision transformer made from EfficientNet-Lite0, for the pictures of methods that need attention.

No package brings the weights of a vision transformer. This one has two layers on feature maps of EfficientNet-Lite0,
whose classifier it shares, reduced to ``WIDTH`` dimensions; its attention learns, without labels, from the classes that
EfficientNet-Lite0 predicts for photographs: ``distill``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.vision_transformer import Encoder

GRID, WIDTH, HEADS, LAYERS = 14, 192, 6, 2
BATCH = 32


class SmallTransformer(nn.Module):
    """Two transformer layers and a linear classifier on the feature maps of a network.

    Args:
        network: EfficientNet-Lite0, with its preprocessing.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.early, self.late = nn.Conv2d(112, WIDTH, 1), nn.Conv2d(1280, WIDTH, 1, bias=False)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.encoder = Encoder(GRID**2 + 1, LAYERS, HEADS, WIDTH, 2 * WIDTH, 0.1, 0.1)
        self.head = nn.Linear(WIDTH, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.classify(*self.features(images))

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last feature maps of 14 x 14, ``(n, 112, 14, 14)``, and those that are pooled, of 7 x 7."""
        x = self.network._swish(self.network._bn0(self.network._conv_stem(images)))
        for block in self.network._blocks[:11]:
            x = block(x)
        early = x
        for block in self.network._blocks[11:]:
            x = block(x)
        return early, self.network._swish(self.network._bn1(self.network._conv_head(x)))

    def classify(self, early: Tensor, late: Tensor) -> Tensor:
        """Return the logits of feature maps."""
        late = nn.functional.interpolate(self.late(late), scale_factor=2.0, mode="bilinear")
        patches = (self.early(early) + late).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1)
        logits: Tensor = self.head(self.encoder(tokens)[:, 0])
        return logits

    def teach(self, early: Tensor, late: Tensor) -> Tensor:
        """Return the classes that the network predicts from its feature maps."""
        classes: Tensor = self.network._fc(late.mean((2, 3))).argmax(1)
        return classes

    @torch.no_grad()
    def initialize(self, late: Tensor) -> None:
        """Start as the network does: the class token is the mean of the patches, which hold their own class scores.

        The patches are the principal components of the class scores at all places, the last layer's values the patches,
        and the classifier turns components into scores.

        Args:
            late: Feature maps of photographs, ``(n, 1280, 7, 7)``.
        """
        classifier, places = self.network._fc, late[:, :, ::2, ::2].permute(0, 2, 3, 1).reshape(-1, 1280).float()
        scores = places @ classifier.weight.T
        mean = scores.mean(0)
        components = torch.linalg.eigh((scores - mean).T @ (scores - mean))[1][:, -WIDTH:]
        self.late.weight.copy_((components.T @ classifier.weight)[:, :, None, None])
        nn.init.normal_(self.early.weight, std=0.02)
        self.early.bias.copy_(-components.T @ mean)
        self.head.weight.copy_(components)
        self.head.bias.copy_(classifier.bias + mean)
        for layer in self.encoder.layers:
            nn.init.normal_(layer.mlp[3].weight, std=0.005)
            nn.init.normal_(layer.self_attention.out_proj.weight, std=0.005)
        layer.self_attention.in_proj_weight[2 * WIDTH :].copy_(torch.eye(WIDTH))
        layer.self_attention.out_proj.weight.copy_(torch.eye(WIDTH))
        pooled = self.late(late.float().mean((2, 3), keepdim=True)).flatten(1) + self.early.bias
        self.encoder.ln.weight.fill_(pooled.std())


def distill(network: nn.Module, photos: Sequence[Path], epochs: int = 2) -> SmallTransformer:
    """Train the transformer layers to predict the classes that EfficientNet-Lite0 predicts.

    Args:
        network: EfficientNet-Lite0, with its preprocessing.
        photos: Image files; every tenth is held out, for the agreement that is printed.
        epochs: Passes over the photographs.
    """
    torch.manual_seed(0)
    transformer = SmallTransformer(network)
    early, late = _compute_features(transformer, photos)
    held_out = torch.arange(len(early)) % 10 == 0
    transformer.initialize(late[~held_out])
    _print_agreement("before training", transformer, early[held_out], late[held_out])
    train = (~held_out).nonzero().flatten()
    parameters = [*transformer.early.parameters(), *transformer.encoder.parameters(), transformer.class_token]
    optimizer = torch.optim.AdamW(parameters, 5e-4, weight_decay=0.05)
    steps = epochs * -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, total_steps=steps)
    transformer.encoder.train()
    for _ in range(epochs):
        for indices in train[torch.randperm(len(train))].split(BATCH):
            maps = early[indices].float(), late[indices].float()
            loss = nn.functional.cross_entropy(transformer.classify(*maps), transformer.teach(*maps))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    transformer.eval()
    _print_agreement("after training", transformer, early[held_out], late[held_out])
    return transformer


@torch.no_grad()
def _print_agreement(when: str, transformer: SmallTransformer, early: Tensor, late: Tensor) -> None:
    transformer.encoder.eval()
    maps = [(one.float(), other.float()) for one, other in zip(early.split(BATCH), late.split(BATCH), strict=True)]
    same = [transformer.classify(*each).argmax(1) == transformer.teach(*each) for each in maps]
    share = 100 * torch.cat(same).float().mean()
    print(f"{when}: the class of EfficientNet-Lite0 on {share:.0f} % of {len(early)} held-out photographs", flush=True)


@torch.no_grad()
def _compute_features(transformer: SmallTransformer, photos: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Return the feature maps of all photographs, in half precision."""
    batches = []
    for start in range(0, len(photos), BATCH):
        images = [Image.open(path).convert("RGB").resize((224, 224)) for path in photos[start : start + BATCH]]
        pixels = np.stack([np.array(image) for image in images])
        maps = transformer.features(transformer.network.preprocessing.normalize(pixels, torch.device("cpu")))
        batches.append([each.half() for each in maps])
    early, late = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return early, late
