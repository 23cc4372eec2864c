"""The pages that reproduce Choe et al., CVPR 2020: commands, networks and numbers, as far as that needs no data."""

import argparse
import csv
import re
import shlex
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wsol.eval import _make_parser as make_eval_parser
from wsol.models import find_architecture, find_classifier
from wsol.protocols import PROTOCOLS
from wsol.train import _make_parser as make_train_parser
from wsol.train import main
from wsol.training import Recipe, Stage
from wsol.training.optimizer import make_optimizer

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reproduce"
CLASSES = {"cub": 200, "ilsvrc": 1000, "openimages30k": 100}
TITLES = {"vgg16-wsolevaluation": "VGG16", "inception_v3-wsolevaluation": "InceptionV3", "resnet50": "ResNet50"}
LAYERS = {"VGG16": ["conv6", "fc"], "InceptionV3": ["SPG_A3_1b", "SPG_A3_2b", "SPG_A4"], "ResNet50": ["layer4", "fc"]}


def commands(page: str, name: str) -> list[list[str]]:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(rf"^python -m wsol\.{name} (.*)$", text, re.M)]


def parse(page: str) -> list[tuple[argparse.Namespace, argparse.Namespace]]:
    trainings = [make_train_parser().parse_args(words) for words in commands(page, "train")]
    return list(zip(trainings, [make_eval_parser().parse_args(w) for w in commands(page, "eval")], strict=True))


def published(page: str) -> dict[tuple[str, str], str]:
    path = ROOT / "wsol" / "leaderboards" / "literature" / "choe2020.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == page]
    return {(row["method"], row["model"]): row["value"] for row in rows}


@pytest.mark.parametrize("page", CLASSES)
def test_every_network_is_trained_and_evaluated(page: str) -> None:
    pairs = parse(page)
    assert [training.model for training, _ in pairs] == [*TITLES]
    for training, run in pairs:
        assert run.weights == str(training.out / f"{training.model}.safetensors")
        for name in ("dataset", "data_root", "dataset_args"):
            assert getattr(run, name) == getattr(training, name)
        assert training.dataset == page
        assert (run.method, run.tau, run.split) == ("cam", "val", "test")
        assert PROTOCOLS.find(run.protocol).signature == "wsolevaluation:step=0.001,norm=minmax"
        assert training.weights in [each.name for each in find_architecture(training.model).published_weights()]


def authors_recipe(model: str, learning_rate: float, epochs: int = 50, every: int = 15) -> Recipe:
    return replace(
        Recipe((Stage(epochs, 224, 32),), nesterov=True, decay_all=True, warm_up=0),
        learning_rate=learning_rate,
        weight_decay=1e-4 if model == "resnet50" else 5e-4,
        schedule=f"step:every={every},factor=0.1,offset=1",
        layer_rates=dict.fromkeys(LAYERS[TITLES[model]], 10.0),
        augmentation="resize-crop-flip:resize=256",
        head_gradient="plain",
        head_start="normal",
    )


@pytest.mark.parametrize("page", CLASSES)
def test_the_recipes_are_those_of_the_authors(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr("wsol.training.train", lambda **given: found.append(given))
    assert [main(words) for words in commands(page, "train")] == [0, 0, 0]
    epochs, every = (50, 15) if page == "cub" else (10, 3)
    for model, given in zip(TITLES, found, strict=True):
        recipe = given["recipe"]
        assert recipe == authors_recipe(model, recipe.learning_rate, epochs, every)
        # Powers of ten before epochs 15, 30, 45, or 3, 6, 9, counted from one.
        rates = [recipe.learning_rate_at(epoch / epochs, recipe.stages[0], epoch) for epoch in range(epochs)]
        drops = [sum(n <= epoch + 1 for n in range(every, epochs + 1, every)) for epoch in range(epochs)]
        assert rates == pytest.approx([recipe.learning_rate / 10**drop for drop in drops])
        assert given["precision"] == "float32"


def in_their_classifier(model: str, name: str) -> bool:
    """Their rule: the names that contain a pattern, which are the features, except for ResNet, where they are not."""
    if model == "resnet50":
        return any(pattern in name for pattern in ("layer4.", "fc."))
    features = ["features."] if model.startswith("vgg") else ["Mixed", "Conv2d_1", "Conv2d_2", "Conv2d_3", "Conv2d_4"]
    return not any(pattern in name for pattern in features)


@pytest.mark.slow
def test_networks_have_the_maps_and_the_classifier_of_the_authors() -> None:
    trainings = [training for page in CLASSES for training, _ in parse(page)]
    networks = {(each.model, each.map_size): dict(each.layer_rates) for each in trainings}
    assert len(networks) == 4  # ResNet50 with two map sizes
    for (model, side), multiples in networks.items():
        assert all(dict(each.layer_rates) == multiples for each in trainings if each.model == model)
        with torch.device("meta"):
            network = find_architecture(model).build_for_training(200, side, from_scratch=False)
            assert find_classifier(network.eval(), model).features(torch.zeros(1, 3, 224, 224)).shape[2:] == (
                side,
                side,
            )
            groups = make_optimizer(network, Recipe(layer_rates=multiples, decay_all=True))
        rates = {id(parameter): group["multiple"] for group in groups.param_groups for parameter in group["params"]}
        for name, parameter in network.named_parameters():
            assert rates[id(parameter)] == (10 if in_their_classifier(model, name) else 1), name


@pytest.mark.parametrize("page", CLASSES)
def test_the_values_are_those_of_the_bundled_literature(page: str) -> None:
    text, values = (PAGES / f"{page}.md").read_text(encoding="utf-8"), published(page)
    metric = "PxAP" if page == "openimages30k" else "MaxBoxAccV2"
    for title in LAYERS:
        assert f"### {title}: {metric} {values['cam', title]}\n" in text
    for method in ("cam", "has", "acol", "spg", "adl", "cutmix"):
        assert f"| `{method}` | " + " | ".join(values[method, title] for title in LAYERS) + " |\n" in text
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    assert re.search(rf"\]\({page}\.md\), {metric} \| " + r" \| ".join(values["cam", title] for title in LAYERS), index)


def test_the_search_trains_the_same_networks_by_the_same_recipe() -> None:
    names = ("search-cub", "search-cub-acol", "search-cub-spg")
    table, *others = (tomllib.loads((PAGES / f"{name}.toml").read_text(encoding="utf-8")) for name in names)
    arguments = vars(parse("cub")[0][0])
    for other in others:
        differing = {key for key in {*table, *other} if table.get(key) != other.get(key)}
        assert differing == {"out", "models", "train_methods"}
        rates = [entry.get("weight_decay") for entry in other["models"]]
        assert rates == [entry.get("weight_decay") for entry in table["models"]]
    for key, value in table["training"].items():
        assert key in arguments or key in {field.name for field in fields(Recipe)}
        if not isinstance(value, dict) and key != "validation":
            assert value == arguments[key]
    assert table["dataset_args"] == arguments["dataset_args"]
    assert {entry["model"]: [*entry["layer_rates"]] for entry in table["models"]} == {
        model: LAYERS[title] for model, title in TITLES.items()
    }
    for page in ("ilsvrc", "openimages30k"):
        (lines,) = re.findall(r"^```toml\n(.*?)^```$", (PAGES / f"{page}.md").read_text(encoding="utf-8"), re.S | re.M)
        changed = tomllib.loads(lines)
        training, _ = parse(page)[0]
        assert changed["dataset_args"] == training.dataset_args
        assert changed["training"] == {"epochs": training.epochs, "schedule": training.schedule}
