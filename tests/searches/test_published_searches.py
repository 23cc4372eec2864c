"""The searches of Choe et al., CVPR 2020, in ``docs/reproduce``: what they draw, and what they train."""

from pathlib import Path

import pytest
import torch

from wsol.models import find_architecture
from wsol.searches.config import Candidate, read_search
from wsol.searches.ranges import Range
from wsol.searches.trials import make_trial
from wsol.training.methods import find_train_method
from wsol.training.optimizer import check_layer_rates, make_optimizer

FILES = sorted((Path(__file__).parents[2] / "docs" / "reproduce").glob("*.toml"))
NETWORKS = ["vgg16-wsolevaluation", "inception_v3-wsolevaluation", "resnet50"]
UNIT, RATES = Range("uniform", (0, 1)), Range("log-uniform", (1e-5, 1))
DRAWN = {
    "cam": set(),
    "has": {"has.rate", "has.grid"},
    "cutmix": {"cutmix.probability", "cutmix.alpha"},
    "adl": {"adl.rate", "adl.threshold"},
    "acol": {"acol.threshold"},
    "spg": set(),
}
"""Settings of the methods that are drawn, beside learning rate and map size."""


def candidates() -> list[Candidate]:
    return [each for path in FILES for each in read_search(path).candidates]


def test_every_method_meets_every_network_in_folders_of_its_own() -> None:
    assert len({read_search(path).out for path in FILES}) == len(FILES) == 3
    pairs = [(each.method, each.model) for each in candidates()]
    assert sorted(pairs) == sorted((method, model) for method in DRAWN for model in NETWORKS)


def test_the_ranges_are_those_of_the_paper() -> None:
    for each in candidates():
        assert each.training["learning_rate"] == RATES
        assert each.training["map_size"] == Range("choice", (14, 28))
        for name in ("rate", "threshold", "probability"):
            assert each.settings.get(name, UNIT) == UNIT
    grid = next(each.settings["grid"] for each in candidates() if each.method == "has")
    assert [*grid.values] == [round(28 / (i + 0.5)) for i in range(28)]  # sides of a cell, evenly spaced in (0, 1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_trial_is_valid(path: Path) -> None:
    config = read_search(path)
    assert (config.trials, config.seeds, config.by) == (30, 3, "max_box_acc_v2")
    for candidate in config.candidates:
        tasks = [make_trial(config, candidate, trial, config.by, {}) for trial in range(1, config.trials + 1)]
        assert {*tasks[0].drawn} == {"learning_rate", "map_size"} | DRAWN[candidate.method]
        assert {task.training["map_size"] for task in tasks} == {14, 28}
        assert {task.recipe.schedule for task in tasks} == {"step:every=15,factor=0.1,offset=1"}
        assert {task.recipe.nesterov and task.recipe.decay_all for task in tasks} == {True}
        assert {task.request["schedule"] for task in tasks} == {"step:every=15,factor=0.1,offset=1"}


def has_their_tenfold_rate(method: str, model: str, name: str) -> bool:
    """Their rule: all but the features, which are named by patterns; for ResNet, what has one of two patterns.

    In their network of SPG on VGG16, the features end with conv3; with ResNet, new layers of ACoL and SPG fit no
    pattern.
    """
    if model == "resnet50":
        return "layer4." in name or (name.startswith("fc.") and method not in ("acol", "spg"))
    if model.startswith("inception"):
        return "Mixed_" not in name and "Conv2d_" not in name
    first, _, rest = name.partition(".")
    return first != "features" or (method == "spg" and int(rest.partition(".")[0]) >= 17)


@pytest.mark.slow
@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_builds_with_the_layer_rates_of_the_authors(model: str) -> None:
    methods, networks = [], {}
    for each in (each for each in candidates() if each.model == model):
        task = make_trial(read_search(FILES[0]), each, 1, "max_box_acc_v2", {})
        named = task.method.name_network(model)
        with torch.device("meta"):
            if named not in networks:
                side = task.training["map_size"]
                networks[named] = find_architecture(named).build_for_training(200, side, from_scratch=False)
            network = networks[named]
            task.method.prepare(network.eval(), model, 224)
            check_layer_rates(network, task.recipe)
            groups = make_optimizer(network, task.recipe).param_groups
        rates = {id(parameter): group["multiple"] for group in groups for parameter in group["params"]}
        for name, parameter in network.named_parameters():
            expected = 10 if has_their_tenfold_rate(each.method, model, name) else 1
            assert rates[id(parameter)] == expected, (each.method, name)
        methods.append(each.method)
    assert sorted(methods) == sorted(DRAWN)


def test_spg_has_the_channels_of_the_authors() -> None:
    """Their A has 512 channels with VGG16, 1024 with Inception, and only a last layer with ResNet."""
    found = {each.model: each.settings for each in candidates() if each.method == "spg"}
    methods = {
        model: find_train_method(f"spg:{','.join(f'{k}={v}' for k, v in settings.items())}" if settings else "spg")
        for model, settings in found.items()
    }
    assert [(methods[model].channels, methods[model].width) for model in NETWORKS] == [
        (512, 512),
        (1024, 512),
        (0, 1024),
    ]
