"""Data sets whose classes are some of a network's, in another order, or both."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision.models
from safetensors.torch import save_file

import wsol
from wsol.datasets import Dataset, Sample, load_dataset
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.eval import main
from wsol.leaderboards.verify import verify_tables
from wsol.models import Model, load_model
from wsol.models.classes import check_classes
from wsol.models.imagenet import imagenet_synsets, is_imagenet
from wsol.runs.read import Evaluation, read_run

LETTERS = tuple("abcdefg")
PICKED = ("g", "b", "e")  # of the letters, in this order
OUTPUTS = (6, 1, 4)


@pytest.fixture
def images(csv_data: Path) -> Dataset:
    """Eight images of three classes, which are outputs 6, 1 and 4."""
    found = load_dataset("csv", csv_data)
    return replace(found, samples=tuple(replace(s, label=i % 3) for i, s in enumerate(found)), classes=PICKED)


def evaluate(model: Model, images: Dataset, **options: Any) -> Evaluation:
    return wsol.evaluate(model, dataset=images, device="cpu", batch_size=3, workers=1, **options)


def select(model: Model, outputs: list[int]) -> Model:
    """Return the network with these outputs alone, in this order."""
    network = model.network
    head = next(m for m in network.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        head.weight = torch.nn.Parameter(head.weight[outputs].clone(), requires_grad=False)
        head.bias = torch.nn.Parameter(head.bias[outputs].clone(), requires_grad=False)
    network.classes = len(outputs)
    return replace(model, classes=len(outputs))


def metric(result: Evaluation, name: str) -> float:
    return float(result.metrics.set_index("metric").loc[[name], "value"].iloc[0])


def test_the_network_of_these_classes_alone_gives_the_same(tiny_model: Model, images: Dataset) -> None:
    """Classes, scores, boxes and IoUs are those of a network that has no other outputs."""
    joined = evaluate(replace(tiny_model, class_names=LETTERS), images)
    alone = evaluate(select(tiny_model, [*OUTPUTS]), images)
    pd.testing.assert_frame_equal(joined.predictions, alone.predictions)
    pd.testing.assert_frame_equal(joined.metrics, alone.metrics)
    assert re.search(r"\|tiny:0{8}\+classes=mapped\(3/7\):[0-9a-f]{8}\|cam\|", joined.signature)
    assert "mapped" not in alone.signature
    assert [*joined.metadata.notes] == ["the 3 classes of csv are outputs of tiny by name; predictions are among these"]


def test_among_all_outputs_others_follow_the_classes(tiny_model: Model, images: Dataset) -> None:
    joined = evaluate(replace(tiny_model, class_names=LETTERS), images, rank_among="all")
    order = [*OUTPUTS, 0, 2, 3, 5]
    same = evaluate(select(tiny_model, order), images, assume_class_order=True)
    assert ",all):" in joined.signature
    class_ids = np.array([0, 1, 2, 3 + 0, 3 + 2, 3 + 3, 3 + 5])
    expected = same.predictions.assign(class_id=class_ids[same.predictions["class_id"].to_numpy()])
    pd.testing.assert_frame_equal(joined.predictions, expected)


def test_top_five_by_hand(tiny_model: Model, images: Dataset) -> None:
    """Every image has the scores 0 to 6: the outputs g, f, e, d, c, b, a come in this order."""
    head = next(m for m in tiny_model.network.modules() if isinstance(m, torch.nn.Linear))
    head.requires_grad_(False).weight.zero_()
    head.bias.copy_(torch.arange(7.0))
    model = replace(tiny_model, class_names=LETTERS)
    images = images.subset([0, 1, 2])  # a g, a b and an e
    among_three, among_all = evaluate(model, images), evaluate(model, images, rank_among="all")
    shown = [result.predictions.query("rank > 0")["class_id"].tolist() for result in (among_three, among_all)]
    assert shown == [3 * [0, 2, 1], 3 * [0, 3 + 5, 2, 3 + 3, 3 + 2]]
    assert metric(among_three, "top1_cls_err") == metric(among_all, "top1_cls_err") == pytest.approx(200 / 3)
    assert metric(among_three, "top5_cls_err") == 0
    assert metric(among_all, "top5_cls_err") == pytest.approx(100 / 3)  # b is the sixth
    exponentials = np.exp(np.arange(7.0))
    scores = [r.predictions.query("rank == 1")["score"].to_numpy() for r in (among_three, among_all)]
    np.testing.assert_allclose(scores[0], exponentials[6] / exponentials[[6, 1, 4]].sum(), rtol=1e-6)
    np.testing.assert_allclose(scores[1], exponentials[6] / exponentials.sum(), rtol=1e-6)


@pytest.mark.slow
def test_ten_crops_rank_the_classes_alone(tiny_model: Model, images: Dataset) -> None:
    joined = evaluate(replace(tiny_model, class_names=LETTERS), images, protocol="zhou2016")
    alone = evaluate(select(tiny_model, [*OUTPUTS]), images, protocol="zhou2016")
    pd.testing.assert_frame_equal(joined.predictions, alone.predictions)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gradcam", "layercam", "ablationcam"])
def test_other_methods(tiny_model: Model, images: Dataset, method: str) -> None:
    joined = evaluate(replace(tiny_model, class_names=LETTERS), images, method=method)
    alone = evaluate(select(tiny_model, [*OUTPUTS]), images, method=method)
    pd.testing.assert_frame_equal(joined.predictions, alone.predictions)


def test_a_chosen_tau_and_the_split_it_is_chosen_on(tiny_model: Model, images: Dataset, csv_data: Path) -> None:
    val = load_dataset("csv", csv_data, "val")
    val = replace(val, samples=tuple(replace(s, label=i % 3) for i, s in enumerate(val)), classes=PICKED)
    model = replace(tiny_model, class_names=LETTERS)
    joined = evaluate(model, images, tau="val", validation=val)
    assert joined.signature.count("mapped(3/7)") == 1 + joined.signature.count("(csv-val,")  # the same network
    with pytest.raises(InputError, match="validation images have other classes than the evaluated ones"):
        evaluate(model, images, tau="val", validation=replace(val, classes=PICKED[::-1]))
    alone = evaluate(select(tiny_model, [*OUTPUTS]), images, tau="val", validation=val)
    pd.testing.assert_frame_equal(joined.metrics, alone.metrics)


@pytest.mark.slow
def test_another_join_is_another_run(tiny_model: Model, images: Dataset, tmp_path: Path) -> None:
    model = replace(tiny_model, class_names=LETTERS)
    first = evaluate(model, images, out=tmp_path / "run", rank_among="all")
    with ThreadPoolExecutor(1) as pool:
        assert verify_tables(read_run(tmp_path / "run"), pool) == []
    assert evaluate(model, images, out=tmp_path / "run", rank_among="all", resume=True).signature == first.signature
    for other in (replace(images, classes=PICKED[::-1]), replace(images, classes=("g", "b", "f"))):
        with pytest.raises(InputError, match="mapped"):
            evaluate(model, other, out=tmp_path / "run", rank_among="all", resume=True)


def dataset(*names: str, synsets: tuple[str, ...] = ()) -> Dataset:
    sample = Sample("a", 0, as_boxes([[0, 0, 1, 1]]), "edges")
    return Dataset("folders", "test", (sample,), names, synsets=synsets)


def outputs_of(model: Model, images: Dataset, names: str | Path | None = None) -> tuple[int, ...] | None:
    found = check_classes(model, images, names=names).map
    return None if found is None else found.outputs


def test_permuted_classes_are_joined_and_the_same_order_is_not(tiny_model: Model) -> None:
    model = replace(tiny_model, class_names=LETTERS)
    assert outputs_of(model, dataset(*LETTERS[::-1])) == (6, 5, 4, 3, 2, 1, 0)
    assert check_classes(model, dataset(*LETTERS)).suffix == ""
    assert check_classes(model, dataset(*LETTERS), rank_among="all").suffix == ""
    assert outputs_of(model, dataset("a", "b")) == (0, 1)  # the first of several are some of several
    with pytest.raises(InputError, match=r"random was trained on other classes .*'x'"):
        check_classes(model, dataset(*"abcdefx"))
    with pytest.raises(
        InputError, match=r"^tiny has 7 classes, but folders has 8, and its class 'h', label 7, is not "
    ):
        check_classes(model, dataset(*"abcdefgh"))


def test_numbers_are_no_names(tiny_model: Model) -> None:
    model = replace(tiny_model, class_names=tuple("0123456"))
    for classes in ("012", "ab"):
        with pytest.raises(InputError, match=r"tiny has 7 classes, but folders has .; give weights"):
            check_classes(model, dataset(*classes))
    assert check_classes(model, dataset(*"012"), assume_order=True).assumed


def test_a_file_names_the_outputs(tiny_model: Model, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(LETTERS))
    assert outputs_of(tiny_model, dataset("d", "a"), names) == (3, 0)
    assert outputs_of(tiny_model, dataset(*LETTERS), names) is None
    names.write_text("3,0\n5,1\n")  # labels of a data set that has only numbers
    assert outputs_of(tiny_model, dataset("0", "1"), names) == (3, 5)
    with pytest.raises(InputError, match="tiny has 7 classes, but folders has 3, and its class '2', label 2, is not"):
        check_classes(tiny_model, dataset("0", "1", "2"), names=names)
    names.write_text("\n".join("bacdefg"))
    with pytest.raises(InputError, match=r"names.txt says that 'b' is output 0, but random has it as output 1"):
        check_classes(replace(tiny_model, class_names=LETTERS), dataset("d", "a"), names=names)
    with pytest.raises(InputError, match=r"tiny does not classify, .*; leave out --classes"):
        check_classes(replace(tiny_model, classes=0), dataset("d"), names=names)
    with pytest.raises(InputError, match="by name or taken in their order; give --classes or --assume-class-order"):
        wsol.evaluate(tiny_model, dataset=dataset("d"), classes=names, assume_class_order=True)
    with pytest.raises(InputError, match="rank_among is 'some'; give 'dataset' or 'all'"):
        wsol.evaluate(tiny_model, dataset=dataset("d"), rank_among="some")  # type: ignore[arg-type]  # the fault


def test_which_networks_have_the_classes_of_imagenet(tiny_model: Model) -> None:
    synsets = imagenet_synsets()
    three = dataset("x", "y", "z", synsets=(synsets[7], synsets[0], synsets[999]))
    from_torchvision = replace(tiny_model, classes=1000, library="torchvision")
    assert outputs_of(from_torchvision, three) == (7, 0, 999)
    assert "taken as ImageNet's classes, as in all of torchvision" in str(check_classes(from_torchvision, three).note)
    assert outputs_of(from_torchvision, dataset("hen", "goldfish, Carassius auratus")) == (8, 1)
    assert outputs_of(replace(tiny_model, classes=1000), three, "imagenet") == (7, 0, 999)
    others = (
        replace(from_torchvision, classes=999),
        replace(from_torchvision, library="mine"),
    )
    for model in others:
        assert not is_imagenet(model)
        with pytest.raises(InputError, match="classes, but folders has 3; give weights"):
            check_classes(model, three)
    named = replace(from_torchvision, class_names=tuple(f"c{i}" for i in range(1000)))
    assert not is_imagenet(named)
    moved = dataset(*synsets[::-1])
    assert outputs_of(from_torchvision, moved) == tuple(range(999, -1, -1))
    own = dataset(*(f"my class {i}" for i in range(1000)))  # weights of one's own in a network of torchvision
    assert check_classes(from_torchvision, own).suffix == ""


def test_loaded_networks_know_their_package(weights: Path, tmp_path: Path) -> None:
    assert load_model("squeezenet1_1", weights).library == "torchvision"
    own = tmp_path / "own.py"
    own.write_text("from tiny_net import TinyNet\n\n\ndef build():\n    return TinyNet()\n")
    assert load_model(f"{own}:build").library not in ("torchvision", "timm")


@pytest.mark.slow
def test_the_command_joins(weights: Path, csv_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = csv_data / "boxes.csv"
    table.write_text(re.sub(r"png,(\d)", lambda m: f"png,{PICKED[int(m[1]) % 3]}", table.read_text()))
    names = tmp_path / "names.txt"
    names.write_text("\n".join(LETTERS))
    options = ["--model", "squeezenet1_1", "--weights", str(weights), "--dataset", "csv", "--data-root", str(csv_data)]
    options += ["--device", "cpu", "--limit", "2", "--workers", "1", "--out", str(tmp_path / "run")]
    assert main([*options, "--classes", str(names), "--rank-among", "all"]) == 0
    assert "classes=mapped(3/7,all)" in capsys.readouterr().out


@pytest.mark.sample(2)
@pytest.mark.parametrize(("rank_among", "errors"), [("dataset", (30.0, 8.4)), ("all", (92.4, 77.8))])
def test_squeezenet_on_ten_classes_of_tiny_imagenet(real_data: Path, rank_among: Any, errors: Any) -> None:
    """Measured elsewhere, with an independent implementation."""
    result = wsol.evaluate(
        "squeezenet1_0",
        real_data / "weights" / "squeezenet1_0.safetensors",
        dataset="tiny-imagenet",
        data_root=real_data / "tiny-imagenet-200",
        device="cpu",
        rank_among=rank_among,
    )
    assert (metric(result, "top1_cls_err"), metric(result, "top5_cls_err")) == pytest.approx(errors, abs=0.2001)
    assert f"classes=mapped(10/1000{'' if rank_among == 'dataset' else ',all'})" in result.signature


def copy_kaggle(source: Path, root: Path, items: list[tuple[str, str]]) -> None:
    images, notes, sets = (
        Path("ILSVRC", *parts)
        for parts in (("Data", "CLS-LOC", "val"), ("Annotations", "CLS-LOC", "val"), ("ImageSets", "CLS-LOC"))
    )
    for folder in (images, notes, sets):
        (root / folder).mkdir(parents=True)
    for _, name in items:
        shutil.copy(source / images / f"{name}.JPEG", root / images)
        shutil.copy(source / notes / f"{name}.xml", root / notes)
    (root / sets / "val.txt").write_text("".join(f"{name} {i}\n" for i, (_, name) in enumerate(items, 1)))


def copy_folders(source: Path, root: Path, items: list[tuple[str, str]]) -> None:
    (root / "xml").mkdir(parents=True)
    for synset, name in items:
        (root / "val" / synset).mkdir(parents=True)
        shutil.copy(source / "ILSVRC/Data/CLS-LOC/val" / f"{name}.JPEG", root / "val" / synset)
        shutil.copy(source / "ILSVRC/Annotations/CLS-LOC/val" / f"{name}.xml", root / "xml")


@pytest.mark.slow
@pytest.mark.parametrize("copy", [copy_kaggle, copy_folders])
def test_squeezenet_on_ten_synsets_of_imagenet(real_data: Path, tmp_path: Path, copy: Callable[..., None]) -> None:
    """The first image of each of the first ten synsets, in both layouts, with a list of these ten."""
    source, root = real_data / "imagenet", tmp_path / "ten"
    found: dict[str, str] = {}
    for path in sorted((source / "ILSVRC/Annotations/CLS-LOC/val").glob("*.xml")):
        found.setdefault(re.findall(r"<name>(n\d{8})</name>", path.read_text())[0], path.stem)
    items = sorted(found.items())[:10]
    copy(source, root, items)
    lines = (source / "LOC_synset_mapping.txt").read_text().splitlines()
    (root / "LOC_synset_mapping.txt").write_text("".join(f"{s}\n" for s in lines if s.split()[0] in dict(items)))
    weights = real_data / "weights" / "squeezenet1_0.safetensors"
    result = wsol.evaluate("squeezenet1_0", weights, dataset="ilsvrc", data_root=root, device="cpu")
    assert metric(result, "top1_cls_err") == pytest.approx(10.0)
    assert metric(result, "gt_known_loc_acc") == pytest.approx(60.0)
    assert "classes=mapped(10/1000)" in result.signature


@pytest.mark.slow
def test_a_csv_file_of_synsets(tmp_path: Path, draw: Callable[..., Path]) -> None:
    """Any 1,000-class weights in a network of torchvision."""
    torch.manual_seed(0)
    save_file(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "any.safetensors")
    rows = ["image_id,label,x0,y0,x1,y1"]
    for i, synset in enumerate(("n02119789", "n01440764", "n03000684")):
        draw(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{synset},0,0,30,30")
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    options: dict[str, Any] = {"dataset": "csv", "data_root": tmp_path, "device": "cpu"}
    result = wsol.evaluate("squeezenet1_1", tmp_path / "any.safetensors", **options)
    assert "classes=mapped(3/1000)" in result.signature
    assert set(result.predictions["class_id"]) == {0, 1, 2}
