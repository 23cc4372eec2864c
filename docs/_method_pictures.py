"""Pictures of all methods on one photograph, a picture for each kind of method."""

import copy
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from _small_transformer import SmallTransformer, distill
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import nn

import wsol
from wsol.datasets import Dataset, Sample, read_image
from wsol.methods import METHODS, find_method
from wsol.methods.base import unsupported_reason
from wsol.models import Model, Preprocessing, ZeroShotClassifier, find_architecture, find_classifier, load_model
from wsol.models.heads.acol import ACoLClassifiers, ACoLNetwork
from wsol.protocols import find_protocol

ROOT = Path(__file__).parents[1]
EFFICIENTNET = f"{ROOT / 'benchmarks' / 'efficientnet_lite0.py'}:make"
SIDE, COLUMNS = 224, 6
CLASS, CLASS_NAME = 967, "espresso"
CUP = (168.0, 17.0, 407.0, 307.0)  # drawn by hand, in pixels of the photograph
SETTINGS = {"ss-cam": "ss-cam:samples=2", "is-cam": "is-cam:samples=2", "rise": "rise:masks=2000"}  # of the many passes
SETTINGS |= {"clip-surgery": "clip-surgery:layers=2"}  # the transformer has no more
SETTINGS |= {"lost": "lost:map=similarity", "tokencut": "tokencut:map=eigenvector"}  # whose masks cover everything
THRESHOLD = 0.7  # of the second classifier of ACoL
CREDIT = "photograph by Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0, from scikit-image"
TRUE, BOX = "#2fe02f", "white"


def families() -> dict[str, list[str]]:
    """Return the registered methods by what they need, which is the page that describes them."""
    by_need: dict[str, list[str]] = {}
    for name in METHODS.names():
        by_need.setdefault(METHODS.get(name).needs.replace(" ", "-"), []).append(name)
    return by_need


def draw_family(family: str, photos: Path | None) -> Figure:
    """Draw the photograph and the map of every method of a family, each with its box at tau 0.2.

    Args:
        family: Name of the page.
        photos: Folder of the photographs that the small transformer learns from.
    """
    names = families()[family]
    rows = -(-(len(names) + 1) // COLUMNS)
    columns = min(len(names) + 1, COLUMNS)
    figure = Figure(figsize=(1.5 * columns, 1.75 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    with tempfile.TemporaryDirectory() as folder:
        dataset = photograph(Path(folder))
        draw_photograph(grid[0], dataset.samples[0])
        for axes, name in zip(grid[1:], names, strict=False):
            draw_map(axes, dataset.samples[0], *compute_map(find_model(name, family, photos), dataset, name))
            axes.set_title(name, fontsize=8)
            print(f"{family}: {name}", flush=True)
    for axes in grid:
        axes.set_axis_off()
    return figure


def find_model(method: str, family: str, photos: Path | None) -> Model:
    """Return the first network that a method applies to.

    Raises:
        SystemExit: It is the small transformer, and there are no photographs to train it on; or it is none.
    """
    makers = (
        lambda: efficientnet(family),
        efficientnet_with_relu,
        efficientnet_with_two_classifiers,
        lambda: small_transformer(photos),
        lambda: small_zero_shot(photos),
    )
    for make in makers:
        model = make()
        reason = unsupported_reason(find_method(SETTINGS.get(method, method)), model.network, model.classes)
        if reason is None:
            return model
    raise SystemExit(f"{method} applies to no network of the pictures: {reason}")


@cache
def efficientnet(family: str) -> Model:
    """Return EfficientNet-Lite0 at its pooled layer, for gradients at the block before it, where they differ."""
    return load_model(EFFICIENTNET, layer="_blocks.15" if family == "gradients" else None)


@cache
def efficientnet_with_relu() -> Model:
    """Return EfficientNet-Lite0 with ReLU in place of ReLU6."""
    network = find_architecture(EFFICIENTNET).build({}, None)
    for module in [*network.modules()]:
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    return as_model("efficientnet-lite0-relu", network, network.preprocessing)


@cache
def small_transformer(photos: Path | None) -> Model:
    """Return the small transformer as a model."""
    transformer = find_small_transformer(photos)
    return as_model("small-transformer", transformer, transformer.network.preprocessing)


@cache
def find_small_transformer(photos: Path | None) -> SmallTransformer:
    """Return the small transformer, trained on photographs."""
    if photos is None:
        raise SystemExit("give --photos DIR, a folder of photographs that the small transformer learns from")
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    network = find_architecture(EFFICIENTNET).build({}, None)
    return distill(network, files)


@cache
def small_zero_shot(photos: Path | None) -> Model:
    """Return the small transformer as a zero-shot classifier: the rows of its last layer are the text features."""
    transformer = find_small_transformer(photos)
    visual = copy.deepcopy(transformer)
    visual.head = nn.Identity()
    texts = nn.functional.normalize(transformer.head.weight.detach(), dim=1)
    network = ZeroShotClassifier(visual, texts, torch.tensor(100.0))
    return as_model("small-transformer-zero-shot", network, transformer.network.preprocessing)


@cache
def efficientnet_with_two_classifiers() -> Model:
    """Return EfficientNet-Lite0 with the classifiers of ACoL, which are both its own: layers 3 x 3 pass features on."""
    network = find_architecture(EFFICIENTNET).build({}, None)
    plain = find_classifier(network.eval(), "efficientnet-lite0")
    classes, width = plain.linear.weight.shape
    classifiers = ACoLClassifiers(width, classes, width, THRESHOLD)
    for each in (classifiers.a, classifiers.b):
        for layer in each.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.dirac_(layer.weight)
        each.maps.load_state_dict({"weight": plain.linear.weight[..., None, None], "bias": plain.linear.bias})
    features = nn.Sequential(plain.trunk, First())
    return as_model("efficientnet-lite0-acol", ACoLNetwork(features, classifiers), network.preprocessing)


class First(nn.Module):
    """Takes the first tensor of a tuple."""

    def forward(self, outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return it."""
        return outputs[0]


def as_model(name: str, network: nn.Module, preprocessing: Preprocessing) -> Model:
    """Return a network of 1,000 classes as a model."""
    classifier = find_classifier(network.eval(), name)
    classifier.requires_grad_(False)
    return Model(name, classifier, preprocessing, "made here", "0" * 64, classifier.classes)


def photograph(folder: Path) -> Dataset:
    """Return the photograph, a cup of coffee on a saucer, as a data set of one image."""
    path = folder / "coffee.png"
    Image.fromarray(data.coffee()).save(path)
    sample = Sample("coffee", CLASS, np.array([CUP]), "edges", path)
    names = tuple(CLASS_NAME if label == CLASS else f"class {label}" for label in range(1000))
    return Dataset("photograph", "test", (sample,), names)


def compute_map(model: Model, dataset: Dataset, method: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the map of the class in the frame of 224 x 224, in [0, 1], and its box at tau 0.2."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        result = wsol.evaluate(model, dataset=dataset, method=SETTINGS.get(method, method), bootstrap=0, out=out)
        raw_map = np.load(out / "maps.npy")[0, :1]
    (box,) = result.predictions.query("rank == 0")[["x0", "y0", "x1", "y1"]].to_numpy()
    return find_protocol("wsolevaluation").prepare(raw_map, (SIDE, SIDE))[0], box


def draw_photograph(axes: Axes, sample: Sample) -> None:
    """Draw the photograph with the box around the cup."""
    axes.imshow(read_image(sample)[0].resize((SIDE, SIDE)))
    x0, y0, x1, y1 = CUP
    draw_box(axes, (x0 * SIDE / 600, y0 * SIDE / 400, x1 * SIDE / 600, y1 * SIDE / 400), TRUE)
    axes.set_title("photograph", fontsize=8)


def draw_map(axes: Axes, sample: Sample, score_map: NDArray[np.float32], box: NDArray[np.float64]) -> None:
    """Draw a map over the photograph in gray, with its box."""
    axes.imshow(read_image(sample)[0].resize((SIDE, SIDE)).convert("L"), cmap="gray")
    axes.imshow(score_map, cmap="inferno", alpha=0.6)
    draw_box(axes, box, BOX)


def draw_box(axes: Axes, box: Sequence[float] | NDArray[np.float64], color: str) -> None:
    """Draw the outline of a box, in pixels."""
    x0, y0, x1, y1 = box
    axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.5))
