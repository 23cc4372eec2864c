"""The signature covers everything that decides a number, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import wsol
from wsol.datasets import Dataset, Mask, Sample, load_dataset, with_content
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.plan import prepare
from wsol.io.python_file import run_file
from wsol.models import Model, Preprocessing, load_model
from wsol.runs.signature import Signature, keep_common_images

OWN = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 4, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, 4, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )
"""


def save_mask(path: Path, box: tuple[int, int, int, int]) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A data set of three classes with images, object masks and ignored pixels, weights, and a network of one's own."""
    folder = tmp_path / "inputs"
    (folder / "lists" / "test").mkdir(parents=True)
    names = [f"{i}.png" for i in range(3)]
    generator = np.random.default_rng(0)
    for i, name in enumerate(names):
        save_mask(folder / "masks" / name, (5, 5, 30 + i, 30))
        save_mask(folder / "masks" / f"ignored-{name}", (30, 0, 60, 10))
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / "images" / name)
    lists = {
        "image_ids": names,
        "class_labels": [f"{name},{i}" for i, name in enumerate(names)],
        "localization": [f"{name},{name},ignored-{name}" for name in names],
    }
    for name, lines in lists.items():
        (folder / "lists" / "test" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "own.py").write_text(OWN)
    network = run_file(folder / "own.py", "")[0].make()
    save_file(network.state_dict(), folder / "net.safetensors")
    return folder


def arguments(folder: Path) -> dict[str, Any]:
    return {
        "model": f"{folder / 'own.py'}:make",
        "weights": folder / "net.safetensors",
        "dataset": "metadata",
        "data_root": folder / "lists",
        "dataset_args": {"images": str(folder / "images"), "masks": str(folder / "masks")},
        "device": "cpu",
    }


def sign(folder: Path, **changes: Any) -> str:
    """Return the signature of a run, without running it."""
    return str(prepare(EvalConfig(**{**arguments(folder), **changes})).request["request"])


def flip_byte(path: Path, at: int = -20) -> None:
    """Change one byte of a file, but not its size."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def retrain(path: Path) -> None:
    state = load_file(path)
    state["6.bias"][0] += 1
    save_file(state, path)


FILES: dict[str, Callable[[Path], None]] = {
    "the bytes of an image": lambda folder: flip_byte(folder / "images" / "1.png"),
    "the size of an image": lambda folder: (folder / "images" / "1.png").write_bytes(b"\0" * 99) and None,
    "which image is whose": lambda folder: swap(folder / "images" / "0.png", folder / "images" / "1.png"),
    "the pixels of an object": lambda folder: save_mask(folder / "masks" / "1.png", (5, 5, 33, 30)),
    "inner pixels of an object, with the same box": lambda folder: punch(folder / "masks" / "1.png"),
    "the ignored pixels": lambda folder: save_mask(folder / "masks" / "ignored-2.png", (0, 0, 0, 0)),
    "whether pixels are ignored": lambda folder: edit(folder / "lists/test/localization.txt", ",ignored-1.png", ","),
    "a label": lambda folder: edit(folder / "lists/test/class_labels.txt", "0.png,0", "0.png,1"),
    "the weights": lambda folder: retrain(folder / "net.safetensors"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "the number of images": {"limit": 2},
    "the precision": {"precision": "bfloat16"},
    "the layer": {"layer": "1", "method": "gradcam"},
    "the method": {"method": "gradcam"},
    "a setting of the method": {"method": "gradcam:relu=false"},
    "the protocol": {"protocol": "exact"},
    "a setting of the protocol": {"protocol": "wsolevaluation:step=0.01"},
    "a setting of the protocol that is rarely changed": {"protocol": "wsolevaluation:delta=0.7"},
    "the crops": {"protocol": "zhou2016:crops=1"},
    "the threshold": {"tau": 0.3},
    "the rule of the threshold": {"tau": "oracle"},
}


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def punch(path: Path) -> None:
    with Image.open(path) as mask:
        values = np.array(mask)
    values[10:12, 10:12] = 0
    Image.fromarray(values).save(path)


@pytest.mark.sample(3)
@pytest.mark.parametrize("change", FILES.values(), ids=FILES.keys())
def test_another_file_gives_another_signature(inputs: Path, change: Callable[[Path], None]) -> None:
    before = sign(inputs)
    change(inputs)
    assert sign(inputs) != before


@pytest.mark.slow
def test_other_options_give_another_signature(inputs: Path) -> None:
    signatures = [sign(inputs), *(sign(inputs, **options) for options in OPTIONS.values())]
    assert len({*signatures}) == 1 + len(OPTIONS)


def test_another_normalization_gives_another_signature(inputs: Path) -> None:
    model = load_model(f"{inputs / 'own.py'}:make", inputs / "net.safetensors")
    others = [
        Preprocessing(),
        Preprocessing(mean=(0.5, 0.5, 0.5)),
        Preprocessing(std=(0.5, 0.5, 0.5)),
        Preprocessing(mean=(0.406, 0.456, 0.485)),
        Preprocessing(std=(0.229, 0.224, 0.2250001)),
    ]
    signatures = [
        sign(inputs, model=replace(model, preprocessing=preprocessing), weights=None) for preprocessing in others
    ]
    assert len({*signatures}) == len(others)
    assert signatures[0] == sign(inputs)  # ImageNet's are not shown
    assert all(re.search(r"\+norm:[0-9a-f]{8}\|", signature) for signature in signatures[1:])


def test_the_order_of_classes_that_was_assumed_is_in_the_signature(inputs: Path) -> None:
    before = sign(inputs)
    assert sign(inputs, assume_class_order=True) == before  # the number of classes is the same: nothing was assumed
    edit(inputs / "lists/test/class_labels.txt", "2.png,2", "2.png,1")
    assumed = Signature.parse(sign(inputs, assume_class_order=True))
    assert assumed.model == f"{Signature.parse(before).model}+assume-class-order"


def test_the_code_of_a_network_of_ones_own_is_in_the_signature(inputs: Path, tmp_path: Path) -> None:
    before, without = sign(inputs), sign(inputs, weights=None)
    copy = shutil.copy(inputs / "own.py", tmp_path / "own.py")
    assert sign(inputs, model=f"{copy}:make") == before
    edit(inputs / "own.py", "nn.ReLU(),\n        nn.Adaptive", "nn.GELU(),\n        nn.Adaptive")
    assert sign(inputs) != before  # although the weights are the same, the network is another
    assert sign(inputs, weights=None) != without


def test_masks_that_the_protocol_ignores_are_not_in_the_signature(inputs: Path) -> None:
    before = sign(inputs, protocol="zhou2016")
    assert "+masks" in sign(inputs)
    assert "+masks" not in before
    save_mask(inputs / "masks" / "ignored-2.png", (0, 0, 0, 0))
    assert sign(inputs, protocol="zhou2016") == before


def test_what_changes_no_number_is_not_in_the_signature(inputs: Path) -> None:
    options = [
        {"batch_size": 1, "workers": 1, "memory": 0.5},
        {"channels_last": True, "skip_bad_images": True},
        {"out": "elsewhere", "resume": True},
    ]
    assert {sign(inputs, **each) for each in options} == {sign(inputs)}


@pytest.mark.slow
def test_the_same_inputs_elsewhere_later_and_in_another_process(inputs: Path, tmp_path: Path) -> None:
    before = sign(inputs)
    moved = tmp_path / "moved" / "further"
    shutil.copytree(inputs, moved)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    code = f"""
from pathlib import Path
from wsol.evaluation.config import EvalConfig
from wsol.evaluation.plan import prepare
folder = Path({str(moved)!r})
print(prepare(EvalConfig(
    f"{{folder / 'own.py'}}:make", folder / "net.safetensors", dataset="metadata", data_root=folder / "lists",
    dataset_args={{"images": str(folder / "images"), "masks": str(folder / "masks")}}, device="cpu",
)).request["request"])
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.stdout.strip() == before


@pytest.mark.slow
def test_a_finished_run_has_the_signature_and_keeps_the_fingerprints(inputs: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "run", tmp_path / "again"
    result = wsol.evaluate(**arguments(inputs), out=out)
    assert result.signature == sign(inputs)
    assert "pxap" in set(result.metrics["metric"])
    masked = {"dataset": "metadata", "data_root": inputs / "lists", "dataset_args": arguments(inputs)["dataset_args"]}
    assert wsol.score(run=out, out=again, **masked).signature == result.signature
    without = wsol.score(run=out)
    assert without.signature == re.sub(r"\+masks:\w+", "", result.signature)  # a run stores no masks
    save_mask(inputs / "masks" / "ignored-2.png", (0, 0, 0, 0))
    changed = wsol.score(run=out, **masked).signature
    assert len({changed, without.signature, result.signature}) == 3
    with pytest.raises(InputError, match=r"holds another run \(dataset: metadata.*\+masks:.*, not metadata.*\+masks"):
        wsol.evaluate(**arguments(inputs), out=out)
    flip_byte(inputs / "images" / "1.png")
    with pytest.raises(InputError, match="was evaluated on other images or boxes"):
        wsol.score(run=out, **masked)


def write_files(folder: Path, count: int) -> Dataset:
    folder.mkdir()
    samples = []
    for i in range(count):
        (folder / f"{i:03d}.png").write_bytes(f"the content of file {i:03d}".encode())
        samples.append(Sample(f"{i:03d}", 0, as_boxes([[0, 0, 1, 1]]), "edges", folder / f"{i:03d}.png", (4, 4)))
    return Dataset("x", "test", tuple(samples), ("only",))


def test_all_bytes_of_all_images_on_request(tmp_path: Path) -> None:
    data = write_files(tmp_path / "files", 200)

    def sign_images() -> tuple[str, str]:
        return with_content(data).signature, with_content(data, all_images=True).signature

    sampled, exact = sign_images()
    assert exact.startswith(f"{sampled}.")  # so that a run of either kind can be compared with one of the other
    assert keep_common_images([sampled, exact]) == [sampled, sampled]
    flip_byte(tmp_path / "files" / "001.png")  # one that is not read by default: 64 of 200 are
    assert sign_images()[0] == sampled
    assert sign_images()[1] != exact
    flip_byte(tmp_path / "files" / "001.png")
    assert sign_images() == (sampled, exact)
    for i in (0, 3):  # the first images that are
        flip_byte(tmp_path / "files" / f"{i:03d}.png")
        assert sign_images()[0] != sampled
        flip_byte(tmp_path / "files" / f"{i:03d}.png")
    (tmp_path / "files" / "001.png").write_bytes(b"longer than the file that was there before")
    assert sign_images()[0] != sampled


def test_without_image_files_there_is_no_fingerprint_of_images(tmp_path: Path) -> None:
    data = write_files(tmp_path / "files", 3)
    signature = with_content(data).signature
    shutil.rmtree(tmp_path / "files")
    alone = with_content(data).signature
    assert alone == data.signature
    assert keep_common_images([signature, alone]) == [alone, alone]
    os.mkfifo(tmp_path / "pipe")  # whoever reads it would wait forever
    assert with_content(replace(data, samples=(replace(data.samples[0], path=tmp_path / "pipe"),))).content.images == ""


def test_images_and_masks_in_memory_take_part_with_their_pixels() -> None:
    def build(pixel: int, inside: bool) -> str:
        pixels, mask = np.full((4, 4, 3), pixel, np.uint8), Mask(np.full((4, 4), inside), np.zeros((4, 4), bool))
        sample = Sample("a", 0, as_boxes([[0, 0, 4, 4]]), "edges", mask=lambda: mask, render=lambda: pixels)
        return with_content(Dataset("x", "test", (sample,), ("only",))).signature

    assert len({build(0, True), build(1, True), build(0, False)}) == 3
    assert build(0, True) == build(0, True)


def test_generated_images_are_covered_by_name_and_origin() -> None:
    data = load_dataset("synthetic", dataset_args={"images": "2"})
    assert with_content(data).signature == f"{data.signature}+masks"
    other = load_dataset("synthetic", dataset_args={"images": "2", "distractors": "3"})  # the boxes are the same
    assert with_content(other).signature != with_content(data).signature


def test_masks_of_coco_and_pets(tmp_path: Path, draw: Callable[..., Path]) -> None:
    draw(tmp_path / "a.png", (60, 40))

    def sign_polygon(right: int) -> str:
        polygon = [2, 2, right, 2, right, 30, 2, 30]
        annotation = {"image_id": 1, "category_id": 1, "bbox": [2, 2, 40, 28], "segmentation": [polygon], "id": 1}
        content = {
            "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
            "annotations": [annotation],
            "categories": [{"id": 1, "name": "thing"}],
        }
        (tmp_path / "coco.json").write_text(json.dumps(content))
        return with_content(load_dataset("coco", tmp_path, dataset_args={"annotations": "coco.json"})).signature

    assert sign_polygon(42) == sign_polygon(42) != sign_polygon(41)
    home = tmp_path / "oxford-iiit-pet"
    draw(home / "images" / "Beagle_1.jpg", (60, 40))
    for name in ("trainval", "test"):
        (home / "annotations").mkdir(exist_ok=True)
        (home / "annotations" / f"{name}.txt").write_text("Beagle_1 1 2 1\n" if name == "test" else "")
    trimap = np.full((40, 60), 2, np.uint8)
    trimap[5:20, 5:20] = 1
    (home / "annotations" / "trimaps").mkdir()

    def sign_trimap(border: int) -> str:
        trimap[20:22] = border
        Image.fromarray(trimap).save(home / "annotations" / "trimaps" / "Beagle_1.png")
        return with_content(load_dataset("oxford-pets", tmp_path)).signature

    assert sign_trimap(2) == sign_trimap(2) != sign_trimap(3)  # only which pixels are ignored


def test_a_loaded_model_needs_no_file(synthetic_model: Model) -> None:
    config = EvalConfig(synthetic_model, dataset="synthetic", limit=2, device="cpu")
    field = Signature.parse(str(prepare(config).request["request"])).dataset
    assert re.fullmatch(r"synthetic-test#2:[0-9a-f]{8}\+masks", field)
