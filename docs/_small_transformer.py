"""A small vision transformer that learns from EfficientNet-Lite0, for the pictures of methods that need attention.

No package brings the weights of a vision transformer. This one has two layers on feature maps of EfficientNet-Lite0 and
learns, without labels, to predict its pooled features from photographs, see ``distill``. The classifier of
EfficientNet-Lite0 turns these into scores of the 1,000 classes of ImageNet.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.models.vision_transformer import Encoder

GRID, WIDTH, HEADS, LAYERS = 14, 192, 6, 2


class SmallTransformer(nn.Module):
    """Two transformer layers and a linear classifier on the feature maps of a network.

    Args:
        network: EfficientNet-Lite0.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.project = nn.Linear(112 + 1280, WIDTH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.encoder = Encoder(GRID**2 + 1, LAYERS, HEADS, WIDTH, 2 * WIDTH, 0.0, 0.0)
        self.predict = nn.Linear(WIDTH, 1280)
        self.head = nn.Linear(WIDTH, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.head(self.encode(*self.features(images)))
        return logits

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last feature maps of 14 x 14, ``(n, 112, 14, 14)``, and the pooled ones, ``(n, 1280, 7, 7)``."""
        x = self.network._swish(self.network._bn0(self.network._conv_stem(images)))
        for block in self.network._blocks[:11]:
            x = block(x)
        early = x
        for block in self.network._blocks[11:]:
            x = block(x)
        return early, self.network._swish(self.network._bn1(self.network._conv_head(x)))

    def encode(self, early: Tensor, late: Tensor) -> Tensor:
        """Return the class token after all layers, ``(n, WIDTH)``."""
        late = nn.functional.interpolate(late, scale_factor=2.0, mode="bilinear")
        patches = self.project(torch.cat([early, late], 1).flatten(2).transpose(1, 2))
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1)
        encoded: Tensor = self.encoder(tokens)[:, 0]
        return encoded

    def join_heads(self) -> None:
        """Make the classifier that of the network on the predicted features."""
        classifier = self.network._fc
        with torch.no_grad():
            self.head.weight.copy_(classifier.weight @ self.predict.weight)
            self.head.bias.copy_(classifier.weight @ self.predict.bias + classifier.bias)


def distill(network: nn.Module, photos: Sequence[Path], epochs: int = 12) -> SmallTransformer:
    """Train the transformer layers to predict the pooled features of EfficientNet-Lite0; its layers stay as they are.

    Args:
        network: EfficientNet-Lite0, with its preprocessing.
        photos: Image files; every tenth is held out, for the agreement that is printed.
        epochs: Passes over the photographs and their mirror images.
    """
    torch.manual_seed(0)
    transformer = SmallTransformer(network.requires_grad_(False).eval())
    early, late = _compute_features(transformer, photos)
    held_out = torch.arange(len(early)) % 20 < 2  # photo and mirror image
    train = (~held_out).nonzero().flatten()
    parameters = [each for name, each in transformer.named_parameters() if not name.startswith(("network.", "head."))]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=epochs * -(-len(train) // 32))
    for epoch in range(epochs):
        losses = []
        for indices in train[torch.randperm(len(train))].split(32):
            maps = early[indices].float(), late[indices].float()
            loss = _distance(transformer, *maps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)
    transformer.eval().join_heads()
    with torch.no_grad():
        same = [
            transformer.head(transformer.encode(a.float(), b.float())).argmax(1)
            == network._fc(b.float().mean((2, 3))).argmax(1)
            for a, b in zip(early[held_out].split(32), late[held_out].split(32), strict=True)
        ]
    print(
        f"the same class as EfficientNet-Lite0 on {100 * torch.cat(same).float().mean():.0f} % of held-out photographs"
    )
    return transformer


def _distance(transformer: SmallTransformer, early: Tensor, late: Tensor) -> Tensor:
    """Return the cross-entropy of the class probabilities, and the distance of the features."""
    pooled = late.mean((2, 3))
    predicted = transformer.predict(transformer.encode(early, late))
    classify = transformer.network._fc
    soft = classify(pooled).softmax(1)
    return nn.functional.cross_entropy(classify(predicted), soft) + nn.functional.mse_loss(predicted, pooled)


def _compute_features(transformer: SmallTransformer, photos: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Return the feature maps of all photographs, each followed by its mirror image, in half precision."""
    batches = []
    for start in range(0, len(photos), 16):
        images = [Image.open(path).convert("RGB").resize((224, 224)) for path in photos[start : start + 16]]
        pixels = np.stack([np.array(each) for image in images for each in (image, ImageOps.mirror(image))])
        with torch.no_grad():
            maps = transformer.features(transformer.network.preprocessing.normalize(pixels, torch.device("cpu")))
        batches.append([each.half() for each in maps])
    early, late = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return early, late
