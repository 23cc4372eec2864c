"""Make the pictures of the README and the documentation, and run the tutorial.

``python docs/make_pictures.py`` makes all of them, ``python docs/make_pictures.py report gradients`` only these two.
They are computed with the bundled network on generated images, on any machine. ``forward-passes`` takes half an hour on
two CPU cores, each of the others a few minutes. Needs ``pip install -e '.[slow-test]'`` and Chromium.
"""

import base64
import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import sync_playwright
from torch import Tensor, nn
from torchvision.models.vision_transformer import Encoder

import wsol
from wsol.datasets import Dataset, Sample, load_dataset, read_image
from wsol.models import Model, find_classifier, load_model
from wsol.protocols import find_protocol

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
IMAGES = ("test-000112", "test-000192")
METHODS = {
    "features": ("cam", "eigencam"),
    "gradients": ("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "gradcam-elementwise"),
    "image-gradients": ("backprop", "guided-backprop", "integrated-gradients", "fullgrad"),
    "forward-passes": (
        "scorecam",
        "ablationcam",
        "smoothgradcam++",
        "ss-cam:samples=1",
        "is-cam:samples=2",
        "rise:masks=1000",
        "occlusion",
    ),
    "attention": ("self-attention", "attention-rollout", "chefer", "ts-cam"),
}
TRUE, BOX = "#2fe02f", "white"


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    makers: dict[str, Callable[[], None]] = {"report": report, "overlay": overlay, "tutorial": tutorial}
    makers |= {family: partial(method_maps, family) for family in METHODS}
    PICTURES.mkdir(exist_ok=True)
    for name in names or makers:
        makers[name]()


def report() -> None:
    """Photograph the page of the run in the README."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / "synthetic-test-vgg16-gap-cam"
        wsol.evaluate("vgg16-gap", out=run)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1900}, color_scheme="light")
        page.goto((run / "report.html").as_uri())
        page.wait_for_load_state("networkidle")
        save(Image.open(io.BytesIO(page.screenshot())), "report", width=1000)
        browser.close()


def overlay() -> None:
    """Draw what ``wsol.explain`` draws of one image."""
    figure = wsol.show("test-000124", "vgg16-gap", dataset="synthetic", top=4)
    save(rasterize(figure, 150), "overlay", width=1200)


def method_maps(family: str) -> None:
    """Draw images and, next to each, the map of its class by each method of a family with the box at tau 0.2."""
    model = train_transformer() if family == "attention" else load_model("vgg16-gap")
    images = IMAGES[:1] if family == "forward-passes" else IMAGES
    dataset = load_dataset("synthetic")
    dataset = dataset.subset([i for i, sample in enumerate(dataset) if sample.image_id in images])
    columns = len(METHODS[family]) + 1
    figure = Figure(figsize=(1.5 * columns, 1.5 * len(images) + 0.25), layout="constrained")
    grid = figure.subplots(len(images), columns, squeeze=False)
    for sample, axes in zip(dataset, grid[:, 0], strict=True):
        draw_image(axes, sample)
    grid[0, 0].set_title("ground truth", fontsize=8)
    for column, method in enumerate(METHODS[family], 1):
        for row, (score_map, box) in enumerate(compute_maps(model, dataset, method)):
            draw_map(grid[row, column], dataset.samples[row], score_map, box)
        grid[0, column].set_title(method, fontsize=8)
    save(rasterize(figure, 100), f"methods-{family}")


class Transformer(nn.Module):
    """Two transformer layers on the last feature maps of the bundled network."""

    def __init__(self, trunk: nn.Module, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.project = nn.Linear(1024, 96)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 96))
        self.encoder = Encoder(197, 2, 4, 96, 192, 0.0, 0.0)
        self.head = nn.Linear(96, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.classify(self.trunk(images)[0])

    def classify(self, maps: Tensor) -> Tensor:
        """Return the logits of feature maps ``(n, 1024, 14, 14)``."""
        patches = self.project(maps.flatten(2).transpose(1, 2) / 10)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1)
        logits: Tensor = self.head(self.encoder(tokens)[:, 0])
        return logits


def train_transformer(images: int = 360, epochs: int = 5) -> Model:
    """Train the transformer layers on training images; the trunk stays as it is."""
    torch.manual_seed(0)
    model, dataset = load_model("vgg16-gap"), load_dataset("synthetic", split="train").limit(images)
    transformer = Transformer(model.network.trunk, model.classes)
    pixels = np.stack([np.asarray(read_image(sample)[0].resize((224, 224))) for sample in dataset])
    with torch.no_grad():
        batches = model.preprocessing.normalize(pixels, torch.device("cpu")).split(16)
        maps = torch.cat([model.network.trunk(batch)[0] for batch in batches])
    labels = torch.tensor([sample.label for sample in dataset])
    optimizer = torch.optim.AdamW([each for each in transformer.parameters() if each.requires_grad], 1e-3)
    for _ in range(epochs):
        for indices in torch.randperm(images).split(16):
            loss = nn.functional.cross_entropy(transformer.classify(maps[indices]), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    classifier = find_classifier(transformer.eval(), "transformer")
    return Model("transformer", classifier, model.preprocessing, "trained here", "0" * 64, model.classes)


def compute_maps(model: Model, dataset: Dataset, method: str) -> list[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Return, per image, the map of its own class in the frame of 224 x 224, in [0, 1], and the box at tau 0.2."""
    protocol = find_protocol("wsolevaluation")
    with tempfile.TemporaryDirectory() as folder:
        result = wsol.evaluate(model, dataset=dataset, method=method, out=Path(folder) / "run")
        raw_maps = np.load(Path(folder) / "run" / "maps.npy")
    boxes = result.predictions.query("rank == 0")[["x0", "y0", "x1", "y1"]].to_numpy()
    return [(protocol.prepare(maps[:1], (224, 224))[0], box) for maps, box in zip(raw_maps, boxes, strict=True)]


def draw_image(axes: Axes, sample: Sample) -> None:
    """Draw an image of 224 x 224 with its ground-truth boxes."""
    axes.imshow(read_image(sample)[0])
    for x0, y0, x1, y1 in sample.edges:
        axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=TRUE, linewidth=1.5))
    axes.set_axis_off()


def draw_map(axes: Axes, sample: Sample, score_map: NDArray[np.float32], box: NDArray[np.float64]) -> None:
    """Draw a map over its image in gray, with its box."""
    axes.imshow(read_image(sample)[0].convert("L"), cmap="gray")
    axes.imshow(score_map, cmap="inferno", alpha=0.6)
    x0, y0, x1, y1 = box
    axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=BOX, linewidth=1.5))
    axes.set_axis_off()


def rasterize(figure: Figure, dpi: int) -> Image.Image:
    """Return the pixels of a figure."""
    file = io.BytesIO()
    figure.savefig(file, dpi=dpi)
    return Image.open(file)


def save(picture: Image.Image, name: str, width: int | None = None) -> None:
    """Write a picture as WebP, reduced to ``width``."""
    picture = picture.convert("RGB")
    if width and width < picture.width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    path = PICTURES / f"{name}.webp"
    picture.save(path, quality=75, method=6)
    print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


def tutorial() -> None:
    """Run the tutorial and store its outputs in it, pictures reduced."""
    path = DOCS / "tutorial.ipynb"
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        nbclient.NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output["data"]:
                output["data"]["image/jpeg"] = to_jpeg(output["data"].pop("image/png"))
                output["metadata"] = {}
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def to_jpeg(png: str, width: int = 760) -> str:
    """Return a picture in Base64 as JPEG of at most ``width`` pixels."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((width, picture.height))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=75, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main(sys.argv[1:])
