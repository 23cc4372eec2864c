"""What a search file may say, and the sentence about what it may not."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from search_stubs import Stubs

import wsol
from wsol.errors import InputError
from wsol.searches.config import read_search
from wsol.searches.ranges import Range
from wsol.searches.trials import make_trial

WHOLE = """
dataset_args = { images = 12, size = 32, object_scale = 0.6 }
trials = 4
models = ["squeezenet1_1-gap"]
[training]
learning_rate = { log-uniform = [1e-3, 0.4] }
[train_methods.cam]
"""
DOCS = Path(__file__).parents[2] / "docs" / "search.md"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_text(text: str) -> Path:
        path = tmp_path / "search.toml"
        path.write_text(text)
        return path

    return write_text


def test_defaults(write: Callable[[str], Path]) -> None:
    config = read_search(write(WHOLE.replace("trials = 4", "")))
    assert (config.trials, config.seeds, config.seed, config.by) == (30, 3, 0, None)
    assert config.out == Path("results/search")
    assert config.data["dataset"] == "synthetic"
    assert config.data["dataset_args"]["size"] == "32"
    (candidate,) = config.candidates
    assert (candidate.network, candidate.method, candidate.settings) == ("squeezenet1_1-gap", "cam", {})
    assert candidate.training == {"learning_rate": Range("log-uniform", (1e-3, 0.4))}


def test_a_model_overrides_the_training_and_every_method_meets_every_model(write: Callable[[str], Path]) -> None:
    text = WHOLE.replace('["squeezenet1_1-gap"]', '["a", { model = "a", name = "b", epochs = { integer = [1, 9] } }]')
    text = text.replace("[training]", "[training]\nepochs = 5") + "[train_methods.blur]\nrate = { uniform = [0, 1] }\n"
    config = read_search(write("out = 'there'\n" + text))
    assert config.out == Path("there")
    assert read_search(write(text), "here").out == Path("here")
    candidates = config.candidates
    assert [(each.network, each.method) for each in candidates] == [(n, m) for n in "ab" for m in ("cam", "blur")]
    assert {each.model for each in candidates} == {"a"}
    assert [each.training["epochs"] for each in candidates] == [5, 5, *[Range("integer", (1, 9))] * 2]
    assert candidates[1].settings == {"rate": Range("uniform", (0, 1))}


def test_options_of_the_recipe_and_settings_of_a_method_for_one_model(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stubs(monkeypatch)
    own = '{ model = "a", layer_rates = { fc = 10, "body.x" = 2 }, train_methods = { blur = { grid = 9 } } }'
    text = WHOLE.replace('["squeezenet1_1-gap"]', f'["b", {own}]') + "[train_methods.blur]\ngrid = 5\nrate = 0.1\n"
    text = text.replace("[training]", '[training]\nnesterov = true\nschedule = "step:every=2"\nhead_start = "normal"')
    text = text.replace(
        "[training]", "[training]\naugmentation = { choice = ['shift-flip-color', 'resize-crop-flip'] }"
    )
    text = text.replace("trials = 4", "trials = 1\nseeds = 0\nby = 'max_box_acc_v2'")
    plain, changed = (
        next(each for each in read_search(write(text)).candidates if (each.network, each.method) == (name, "blur"))
        for name in "ba"
    )
    assert (plain.settings, changed.settings) == ({"grid": 5, "rate": 0.1}, {"grid": 9, "rate": 0.1})
    tasks = {
        (name, trial): make_trial(read_search(write(text)), each, trial, "mean_iou", {})
        for name, each in (("b", plain), ("a", changed))
        for trial in range(1, 9)
    }
    recipe = tasks["a", 1].recipe
    assert (recipe.nesterov, recipe.schedule, recipe.head_start) == (True, "step:every=2", "normal")
    assert recipe.layer_rates == {"fc": 10, "body.x": 2}
    assert tasks["b", 1].recipe.layer_rates == {}
    assert {task.recipe.augmentation for task in tasks.values()} == {"shift-flip-color", "resize-crop-flip"}
    request = tasks["a", 1].request
    assert request["layer_rates"] == "{'body.x': 2.0, 'fc': 10.0}"
    assert request["schedule"] == "step:every=2,factor=0.1,offset=0"
    assert request["train_method"] == "blur:grid=9,rate=0.1"
    assert "layer_rates" not in tasks["b", 1].request
    wsol.search(write(text), out=tmp_path / "out")
    with pytest.raises(
        InputError, match=r"a-cam-001 holds a trial with layer_rates = \{'body.x': 2.0, 'fc': 10.0\}, not"
    ):
        wsol.search(write(text.replace("fc = 10", "fc = 5")), out=tmp_path / "out")
    swapped = text.replace('fc = 10, "body.x" = 2', '"body.x" = 2, fc = 10')
    assert swapped != text
    assert len(wsol.search(write(swapped), out=tmp_path / "out").trials) == 4  # the order of the layers is free


def test_the_files_of_the_documentation_are_read(write: Callable[[str], Path]) -> None:
    found = re.findall(r"^```toml\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.S | re.M)
    assert found
    for text in found:
        config = read_search(write(text))
        assert all(each.draw(config.seed, 1) for each in config.candidates)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("trials", "trails"), "search.toml: unknown key 'trails'; did you mean trials"),
        (("= 4", "= 0"), "search.toml: trials is 0; give an integer of 1 or more"),
        (("= 4", "= 4\nseeds = -1"), "search.toml: seeds is -1; give an integer of 0 or more"),
        (("= 4", "= '4'"), "search.toml: trials is '4'; give an integer"),
        (("[training]", "[training"), "search.toml is no TOML file: "),
        (("trials = 4", "split = 'test'"), "trials are chosen on the split val and never on test; leave out split"),
        (("[training]", "[evaluation]\nsplit = 'test'\n[training]"), "never on test; leave out split"),
        (("[training]", "[evaluation]\ntau = 0.2\n[training]"), "tau is the best one on val in every trial"),
        (("[training]", "[evaluation]\ndata_root = 'x'\n[training]"), "evaluation: unknown key 'data_root'"),
        (("[training]", "[evaluation]\nlimit = 'x'\n[training]"), "evaluation: limit is 'x'; give an integer"),
        (("learning_rate", "learning-rate"), "training: unknown key 'learning-rate'; did you mean learning_rate"),
        (("[1e-3, 0.4]", "[0.4, 1e-3]"), "training: learning_rate: log-uniform goes from 0.4 to 0.001; give the lower"),
        (("learning_rate", "epochs"), "training: epochs is drawn by log-uniform [0.001, 0.4], such as 0.5; give"),
        (
            ("[training]", "[training]\nfreeze = { choice = ['all'] }"),
            "training: freeze is drawn by choice ['all'], such as 'all'; give 'features'",
        ),
        (("[training]", "[training]\nworkers = true"), "training: workers is True; give an integer"),
        (("[training]", "[training]\nnesterov = 1"), "training: nesterov is 1; give true or false"),
        (("[training]", "[training]\nhead_start = 'x'"), "training: head_start is 'x'; give 'zero' or 'normal'"),
        (("[training]", "[training]\nlayer_rates = 10"), "training: layer_rates is 10; give a table of numbers, such"),
        (
            ("[training]", "[training]\nlayer_rates = { uniform = [1, 2] }"),
            "training: layer_rates is {'uniform': [1, 2]}; give a table of numbers, such as { fc = 10",
        ),
        (("[training]", "[training]\nlayer_rates = { body.x = 2 }"), "layer_rates is {'body': {'x': 2}}; give a table"),
        (
            ('["squeezenet1_1-gap"]', '[{ model = "a", train_methods = { has = { grid = 2 } } }]'),
            "entry 1 of models: train_methods: unknown key 'has'; known: cam",
        ),
        (
            ('["squeezenet1_1-gap"]', '[{ model = "a", train_methods = 1 }]'),
            "entry 1 of models: train_methods is 1; give a table",
        ),
        (
            ('["squeezenet1_1-gap"]', '[{ model = "a", train_methods = { cam = { x = [1] } } }]'),
            "entry 1 of models: train_methods.cam: x is [1]; give a number",
        ),
        (('["squeezenet1_1-gap"]', '[{ modle = "a" }]'), "entry 1 of models: unknown key 'modle'; did you mean model"),
        (('models = ["squeezenet1_1-gap"]', ""), "search.toml: no model is given; give at least one, such as models"),
        (('["squeezenet1_1-gap"]', "[]"), "models is []; give a list with at least one model"),
        (('["squeezenet1_1-gap"]', "[{ map_size = 7 }]"), "entry 1 of models: {'map_size': 7} is neither a string nor"),
        (('["squeezenet1_1-gap"]', '[{ model = "a", epoch = 7 }]'), "entry 1 of models: unknown key 'epoch'; did you"),
        (('["squeezenet1_1-gap"]', '["a", "A"]'), "would have the folders A-cam; give one of them a name"),
        (("[train_methods.cam]", ""), "no training method is given; give at least one as a table, [train_methods.cam]"),
        (("[train_methods.cam]", "[train_methods]\ncam = 1"), "cam is 1; give a table, [train_methods.cam]"),
        (
            ("[train_methods.cam]", "[train_methods.blur]\nrate = { uniform = [1, 0] }"),
            "train_methods.blur: rate: uniform goes from 1 to 0",
        ),
        (("[train_methods.cam]", "[train_methods.cam]\nx = [1]"), "train_methods.cam: x is [1]; give a number"),
        (("{ log-uniform = [1e-3, 0.4] }", "0.1"), "squeezenet1_1-gap with cam has no range, so that its 4 "),
    ],
)  # fmt: skip
def test_what_is_no_search_is_one_sentence(
    write: Callable[[str], Path], change: tuple[str, str], sentence: str
) -> None:
    assert change[0] in WHOLE
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        read_search(write(WHOLE.replace(*change)))
    assert str(caught.value).startswith(str(write(WHOLE)))
    assert "\n" not in str(caught.value).partition("no TOML file")[0]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("[train_methods.cam]", "[train_methods.bluer]"), "unknown training method 'bluer'; did you mean blur"),
        (("[train_methods.cam]", "[train_methods.blur]\nrat = 1"), "training method blur: unknown setting 'rat=1'; it"),
        (
            ("[train_methods.cam]", "[train_methods.blur]\ngrid = { uniform = [1, 8] }"),
            "search.toml: train_methods.blur: training method blur: grid cannot be",
        ),
        (("[training]", "[training]\nlayer_rates = { fc = '10' }"), "learning rate of fc is '10'; give a number of at"),
        (("learning_rate", "momentum = { uniform = [1, 2] }\nlearning_rate"), "search.toml: training: momentum is 1."),
        (
            ("[training]", "[training]\nlayer_rates = { fc = 'x' }"),
            "search.toml: training: the multiple of the learning rate of fc is 'x'; give a number",
        ),
        (("[training]", "[training]\nschedule = 'cosin'"), "search.toml: training: unknown schedule 'cosin'"),
        (("trials = 4", 'trials = 4\nby = "max_box_ac"'), "unknown metric 'max_box_ac'; did you mean"),
        (("trials = 4", 'trials = 4\nby = "pixel_auc"'), "set attribution = true in [evaluation]"),
        (("trials = 4", 'dataset = "cubs"'), "unknown data set 'cubs'"),
        (("[training]", "[evaluation]\nprotocol = 'wsol'\n[training]"), "toml: evaluation: unknown protocol 'wsol'"),
        (
            ('["squeezenet1_1-gap"]', '["b", { model = "a", epochs = 0 }]'),
            "search.toml: training or entry 2 of models: epochs is 0; give an integer of 1 or more",
        ),
        (
            ('["squeezenet1_1-gap"]', '["b", { model = "a", train_methods = { cam = { x = 1 } } }]'),
            "search.toml: train_methods.cam or entry 2 of models: training method cam: unknown setting 'x=1'",
        ),
        (
            ("trials = 4", 'dataset = "cub"\ndata_root = "none"'),
            "search.toml: cub: there is no folder none; give data_root the folder of the data set, whose layout is "
            "described by `python -m pydoc wsol.datasets.cub`, or download it by --download of wsol.eval",
        ),
        (("[training]", "[evaluation]\nbatch_size = 0\n[training]"), "toml: evaluation: batch_size is 0; give 1 or"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_used_are_found_before_the_first_training(
    write: Callable[[str], Path],
    change: tuple[str, str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    stubs = Stubs(monkeypatch)
    with pytest.raises(InputError, match=re.escape(sentence)):
        wsol.search(write(WHOLE.replace(*change)), out=tmp_path / "out")
    assert stubs.trained == []
    assert not (tmp_path / "out").exists()


def test_a_network_that_cannot_be_trained_is_found_before_the_first_training(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    for model, sentence in (("squeezenet1_7", "unknown model"), ("squeezenet1_1-gap", "map_size")):
        text = WHOLE.replace('["squeezenet1_1-gap"]', f'[{{ model = "{model}", map_size = 15 }}]')
        place = rf"search\.toml: entry 1 of models \({model}\) with train_methods\.cam: "
        with pytest.raises(InputError, match=f"{place}.*{sentence}"):
            wsol.search(write(text), out=tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_map_method_that_does_not_apply_is_found_before_the_first_training(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    nets = """
import torch
def dense(classes=12):
    return torch.nn.Sequential(torch.nn.Conv2d(3, 6, 8, 8), torch.nn.Flatten(), torch.nn.Linear(96, classes))
def strided(classes=12):
    body = torch.nn.Conv2d(3, 6, 3, 4, 1), torch.nn.ReLU(), torch.nn.Conv2d(6, 6, 3, 4, 1), torch.nn.ReLU()
    return torch.nn.Sequential(*body, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(6, classes))
"""
    (tmp_path / "nets.py").write_text(nets)
    for name, sizes, sentence in (
        ("dense", "[32]", "class activation maps need class scores that are linear"),
        ("strided", "[16, 32]", "the maps of 2 are 1 x 1 for images of 16 x 16; use larger images or map_size, or"),
    ):
        entry = f'{{ model = "{tmp_path / "nets.py"}:{name}", name = "n", image_size = {{ choice = {sizes} }} }}'
        with pytest.raises(InputError, match=rf"\(n\) with train_methods.cam and method of evaluation: .*{sentence}"):
            wsol.search(write(WHOLE.replace('"squeezenet1_1-gap"', entry)), out=tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_without_masks_max_box_acc_v2_decides_and_pxap_cannot(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, csv_data: Path
) -> None:
    table = (csv_data / "boxes.csv").read_text()
    (csv_data / "boxes.csv").write_text(table.replace(",test\n", ",train\n"))  # there is no test split at all
    Stubs(monkeypatch)
    text = f'seeds = 0\ndataset = "csv"\ndata_root = "{csv_data}"\n' + re.sub("dataset_args.*", "", WHOLE)
    assert wsol.search(write(text), out=tmp_path / "out").by == "max_box_acc_v2"
    with pytest.raises(InputError, match=r"search.toml: pxap needs masks, which csv does not have on val"):
        wsol.search(write('by = "pxap"\n' + text), out=tmp_path / "other")
