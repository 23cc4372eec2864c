"""Tests of evaluations of data sets that a program holds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wsol
from wsol.datasets import Dataset, from_items, load_dataset, read_image
from wsol.errors import ImageError
from wsol.models import Model


def as_items(images: Dataset) -> list[Any]:
    return [
        (np.asarray(read_image(sample)[0]), sample.label, sample.boxes, sample.mask() if sample.mask else None)
        for sample in images
    ]


@pytest.mark.slow
def test_images_in_memory_have_the_results_of_their_data_set(synthetic_model: Model) -> None:
    images = load_dataset("synthetic").limit(6)
    (corners,) = {sample.corners for sample in images}
    items = from_items(as_items(images), corners=corners, classes=images.classes)
    own = wsol.evaluate(synthetic_model, dataset=images, bootstrap=0)
    found = wsol.evaluate(synthetic_model, dataset=items, bootstrap=0)
    assert "pxap" in set(found.metrics["metric"])
    assert found.metrics.equals(own.metrics)
    one, two = (
        run.baselines[run.baselines["baseline"] != "random"] for run in (found, own)
    )  # its seed is the image id
    assert one.equals(two)
    assert found.signature.startswith("items-test#6:")


@pytest.mark.sample(3)
@pytest.mark.parametrize("kind", ["hugging face", "torchvision", "list"])
def test_worker_processes_fetch_the_images(synthetic_model: Model, tmp_path: Path, kind: str) -> None:
    """From 128 images on the images are decoded by forked processes."""
    images = load_dataset("synthetic").limit(130)
    (corners,) = {sample.corners for sample in images}
    rows: Any = [item[:3] for item in as_items(images)]
    more: dict[str, Any] = {}
    if kind == "hugging face":
        hub: Any = pytest.importorskip("datasets")
        columns = {
            "image": [Image.fromarray(image) for image, *_ in rows],
            "label": [label for _, label, _ in rows],
            "bbox": [boxes.tolist() for *_, boxes in rows],
        }
        rows = hub.Dataset.from_dict(columns).cast_column("image", hub.Image())
    elif kind == "torchvision":
        datasets = pytest.importorskip("torchvision.datasets")
        for i, (image, label, _) in enumerate(rows):
            folder = tmp_path / f"{label:02d}"
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:03d}.png")
        boxes = {f"{i:03d}": each for i, (_, _, each) in enumerate(rows)}
        rows = datasets.ImageFolder(str(tmp_path))
        more = {"read": lambda item: (*item, boxes[Path(item[0]).stem])}
        rows = rows.samples
    found = wsol.evaluate(
        synthetic_model,
        dataset=from_items(rows, corners=corners, classes=images.classes, **more),
        bootstrap=0,
        workers=2,
    )
    own = wsol.evaluate(synthetic_model, dataset=images, bootstrap=0)
    common = own.metrics[own.metrics["metric"].isin(found.metrics["metric"])].reset_index(drop=True)
    assert "pxap" not in set(found.metrics["metric"])
    if kind != "torchvision":  # its images come class by class, in which sums of floats may differ
        assert found.metrics.equals(common)
    np.testing.assert_allclose(found.metrics["value"], common["value"], rtol=1e-12)


def test_an_image_that_cannot_be_read_is_named_or_left_out(synthetic_model: Model) -> None:
    images = load_dataset("synthetic").limit(3)
    items = [item[:3] for item in as_items(images)]
    items[1] = (np.zeros((0, 4)), *items[1][1:])
    dataset = from_items(items, corners=images.samples[0].corners, classes=images.classes)
    with pytest.raises(ImageError, match=r"the image 000001 cannot be read .*array of shape"):
        wsol.evaluate(synthetic_model, dataset=dataset, bootstrap=0)
    run = wsol.evaluate(synthetic_model, dataset=dataset, bootstrap=0, skip_bad_images=True)
    assert list(run.metadata.skipped) == ["000001"]
