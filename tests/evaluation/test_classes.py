"""A network is evaluated on its own classes, in their order, or the command says why it is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torchvision.models

import wsol
from wsol.datasets import Dataset, Sample
from wsol.datasets.base import as_boxes
from wsol.errors import InputError
from wsol.eval import main
from wsol.evaluation.suite import run_suite
from wsol.models import Model
from wsol.models.base import MODELS
from wsol.models.classes import check_classes, find_moved

FIX = (
    "give weights that were trained on these classes, --classes FILE with the names of the network's outputs, or "
    "--assume-class-order if label i of the data set is output i"
)


def dataset(*names: str, label: int = 0) -> Dataset:
    sample = Sample("a", label, as_boxes([[0, 0, 1, 1]]), "edges")
    return Dataset("folders", "test", (sample,), names)


def network(model: Model, *outputs: str) -> Model:
    return replace(model, class_names=outputs, classes=len(outputs))


@pytest.mark.parametrize(
    ("outputs", "classes", "moved"),
    [
        (("cat", "dog"), ("cat", "dog"), None),
        (("cat", "dog"), ("dog", "cat"), (0, 1)),
        (("cat", "dog", "fox"), ("cat", "fox"), (2, 1)),  # one class less moves those behind it
        (("cat", "dog", "fox"), ("cat", "dog"), None),  # the first ones alone
        (("tench", "goldfish"), ("goldfish, Carassius auratus", "tench, Tinca tinca"), (0, 1)),
        (("Great_White_Shark", "tench"), ("great white shark, man-eater", "Tench"), None),
        (("crane", "cat", "crane"), ("cat", "crane", "dog"), (1, 0)),  # the bird and the machine
        (("crane", "dog", "crane"), ("dog0", "crane", "cat"), None),  # which of the two proves nothing
        (("n01440764", "n01443537"), ("tench", "goldfish"), None),
        ((), ("cat", "dog"), None),
    ],
)
def test_a_class_that_has_another_number(
    outputs: tuple[str, ...], classes: tuple[str, ...], moved: tuple[int, int] | None
) -> None:
    assert find_moved(outputs, classes) == moved


def test_what_is_refused_and_what_may_be_assumed(tiny_model: Model) -> None:
    seven = tiny_model
    with pytest.raises(InputError, match=f"^tiny has 7 classes, but folders has 2; {FIX} of the network$"):
        check_classes(seven, dataset("cat", "dog"), assume_order=False)
    note = "tiny has 7 classes, but folders has 2: label i is taken as output i, as --assume-class-order says"
    assert check_classes(seven, dataset("cat", "dog"), assume_order=True).note == note
    assert check_classes(seven, dataset(*"abcdefg"), assume_order=True).note is None
    with pytest.raises(InputError, match="tiny has 7 classes, but folders has 9"):
        check_classes(seven, dataset(*"abcdefghi"), assume_order=False)
    assert check_classes(seven, dataset(*"abcdefghi", label=6), assume_order=True).note is not None
    with pytest.raises(InputError, match=r"folders has the label 7 \(h\), for which tiny with its 7 classes "):
        check_classes(seven, dataset(*"abcdefghi", label=7), assume_order=True)

    named = network(tiny_model, "cat", "dog")
    assert check_classes(named, dataset("cat", "dog"), assume_order=False).note is None
    with pytest.raises(InputError, match=f"random was trained on other .*class 1 is 'dog', not 'fox'; {FIX}"):
        check_classes(named, dataset("cat", "fox"), assume_order=False)
    assert check_classes(named, dataset("0", "1"), assume_order=True).note is not None
    with pytest.raises(InputError, match=r"another order .*: 'cat' is output 0 of random, but label 1 of"):
        check_classes(named, dataset("dog", "cat"), assume_order=True)  # what is proven wrong cannot be assumed


def test_a_network_that_does_not_classify_fits_all_classes(tiny_model: Model) -> None:
    assert check_classes(replace(tiny_model, classes=0), dataset("cat", "dog"), assume_order=False).note is None


def test_published_weights_on_their_classes_in_another_order(tiny_model: Model, real_data: Path) -> None:
    """torchvision spells two of the names of ImageNet differently from the list that ILSVRC comes with."""
    categories = torchvision.models.SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"]
    published = MODELS.get("squeezenet1_0").published_weights()[0]
    assert published.categories == tuple(categories)
    model = replace(tiny_model, classes=1000, categories=published.categories)
    lines = (real_data / "imagenet" / "LOC_synset_mapping.txt").read_text().splitlines()
    names = [line.partition(" ")[2] for line in lines]
    assert check_classes(model, dataset(*names), assume_order=False).note is None
    assert check_classes(model, dataset(*(f"n{i:08d}" for i in range(1000))), assume_order=False).note is None
    with pytest.raises(InputError, match="in another order than the classes of folders: 'tench' is output 0 of"):
        check_classes(model, dataset(*sorted(names, key=str.casefold)), assume_order=True)
    with pytest.raises(InputError, match=r"'American lobster' is output 122 of .*, but label 1 of folders"):
        check_classes(model, dataset("tench", "American lobster"), assume_order=True)
    with pytest.raises(InputError, match=r"have other names than .*has a name that several classes have"):
        check_classes(model, dataset(*sorted(names, key=str.casefold)))  # two cranes


@pytest.fixture
def three_classes(tmp_path: Path, draw: Callable[..., Path]) -> Path:
    """A CSV file whose labels are synsets."""
    root = tmp_path / "three"
    rows = ["image_id,label,x0,y0,x1,y1,split"]
    for i, synset in enumerate(("n01440764", "n02119789", "n03000684")):
        draw(root / f"{i}.png")
        rows += [f"{i}.png,{synset},0,0,30,30,{split}" for split in ("test", "val")[i == 2 :][:1]]
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root


def test_the_command_refuses(
    three_classes: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "squeezenet1_1", "--weights", str(weights), "--dataset", "csv"]
    options += ["--data-root", str(three_classes), "--device", "cpu"]
    assert main([*options, "--out", str(tmp_path / "refused")]) == 2
    assert f"squeezenet1_1 has 7 classes, but csv has 3; {FIX}" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()


@pytest.mark.slow
def test_a_suite_refuses_and_the_leaderboard_carries_the_note(
    three_classes: Path, weights: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.toml"
    text = f'weights = "{weights}"\ndatasets = ["csv"]\ndata_root = "{three_classes}"\nmodels = ["squeezenet1_1"]\n'
    suite.write_text(f'out = "{tmp_path / "runs"}"\ndevice = "cpu"\n{text}')
    (row,) = run_suite(suite).to_dict("records")
    assert row["state"] == "failed"
    assert f"csv has 3; {FIX}" in row["failure"]
    suite.write_text(f"assume_class_order = true\n{suite.read_text()}")
    assert [*run_suite(suite)["state"]] == ["new"]

    note = "squeezenet1_1 has 7 classes, but csv has 3: label i is taken as output i, as --assume-class-order says"
    board = wsol.leaderboard(tmp_path / "runs")
    assert board.table["note"].tolist() == [note]
    assert board.table["model"].str.endswith("+assume-class-order").all()
    assert note in board.markdown
    assert "assume" in board.latex


def test_the_split_that_tau_is_chosen_on_is_checked_too(tiny_model: Model, csv_data: Path, three_classes: Path) -> None:
    test, val = (
        wsol.datasets.load_dataset("csv", root, split) for root, split in ((csv_data, "test"), (three_classes, "val"))
    )
    with pytest.raises(InputError, match="tiny has 7 classes, but csv has 3"):
        wsol.evaluate(tiny_model, dataset=test, validation=val, tau="val", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cub", "oxford-pets"])
def test_an_imagenet_network_on_other_real_classes(name: str, real_data: Path) -> None:
    folder = {"cub": "CUB_200_2011", "oxford-pets": "oxford-iiit-pet"}[name]
    weights = real_data / "weights" / "squeezenet1_0.safetensors"
    options = {"dataset": name, "data_root": real_data / folder, "limit": 2, "device": "cpu"}
    with pytest.raises(InputError, match=f"squeezenet1_0 has 1000 classes, but {name} has .* is not among them; {FIX}"):
        wsol.evaluate("squeezenet1_0", weights, **options)
    result = wsol.evaluate("squeezenet1_0", weights, **options, assume_class_order=True)
    assert "+assume-class-order|" in result.signature
