"""Prompts of zero-shot classifiers: names, templates, files, and their hash."""

from pathlib import Path

import pytest

from wsol.errors import InputError
from wsol.models import Prompts
from wsol.models.find_prompts import find_prompts
from wsol.models.imagenet import imagenet_synsets
from wsol.models.prompts import TEMPLATES


def test_texts_in_order() -> None:
    prompts = Prompts(("001.Black_Cat", "dog, hound"), templates=("a {}.", "the {}!"))
    assert prompts.names == ("black cat", "dog")
    assert prompts.texts == ["a black cat.", "the black cat!", "a dog.", "the dog!"]


@pytest.mark.slow
def test_clip80_are_those_of_clip() -> None:
    open_clip = pytest.importorskip("open_clip")
    expected = {template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES}
    assert len(TEMPLATES["clip80"]) == len(expected) == 80
    assert set(TEMPLATES["clip80"]) == expected


@pytest.mark.slow
def test_clips_names_of_imagenet() -> None:
    open_clip = pytest.importorskip("open_clip")
    synsets = imagenet_synsets()
    some = [synsets[517], synsets[0], synsets[134]]
    prompts = find_prompts(["crane", "tench", "crane"], some, "clip")
    assert prompts is not None
    assert prompts.names == ("construction crane", "tench", "crane bird")
    assert prompts.classes == ("crane", "tench", "crane")
    alone = find_prompts((), class_names="clip")
    assert alone is not None
    assert alone.names == alone.classes == tuple(open_clip.IMAGENET_CLASSNAMES)


def test_signature_depends_on_everything() -> None:
    one = Prompts(("cat", "dog"), templates=("a {}.",))
    others = [
        Prompts(("dog", "cat"), templates=("a {}.",)),
        Prompts(("cat", "dog"), ("cat", "hound"), ("a {}.",)),
        Prompts(("Cat", "dog"), ("cat", "dog"), ("a {}.",)),
        Prompts(("cat", "dog"), templates=("a {}.", "the {}.")),
        Prompts(("cat", "dog")),
    ]
    assert len({each.suffix for each in (one, *others)}) == 6
    assert one.suffix == Prompts(("cat", "dog"), templates=("a {}.",)).suffix
    assert one.suffix.startswith("+text:")


def test_equal_names_are_noted() -> None:
    assert "crane" in Prompts(("crane", "hen", "crane")).notes[1]
    assert len(Prompts(("crane", "hen")).notes) == 1


def test_files(tmp_path: Path) -> None:
    names, templates = tmp_path / "names.txt", tmp_path / "templates.txt"
    names.write_text("house cat\nwolf\n\n")
    templates.write_text("my {}\nyour {}\n")
    prompts = find_prompts(("cat", "dog"), class_names=names, templates=templates)
    assert prompts is not None
    assert (prompts.classes, prompts.names) == (("cat", "dog"), ("house cat", "wolf"))
    assert prompts.templates == ("my {}", "your {}")
    without = find_prompts((), class_names=names, templates="photo")
    assert without is not None
    assert without.texts == ["a photo of a house cat.", "a photo of a wolf."]
    assert find_prompts(()) is None


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ("cat\n", "a {}", r"has 1 names, but the data set has 2 classes"),
        ("cat\n\ndog\n", "a {}", r"names.txt, line 2: the line is empty"),
        ("", "a {}", r"names.txt is empty"),
        ("cat\ndog", "a photo", r"the template 'a photo' should have {} once"),
        ("cat\ndog", "{} and {}", r"should have {} once"),
        ("cat\ndog", "a {0} {}", r"should have {} once"),
    ],
)
def test_faulty_files(tmp_path: Path, names: str, templates: str, message: str) -> None:
    (tmp_path / "names.txt").write_text(names)
    (tmp_path / "templates.txt").write_text(templates)
    with pytest.raises(InputError, match=message):
        find_prompts(("a", "b"), class_names=tmp_path / "names.txt", templates=tmp_path / "templates.txt")


def test_missing_files_and_names() -> None:
    with pytest.raises(InputError, match="names ImageNet's 1,000 classes"):
        find_prompts(["cat"], ["n99999999"], "clip")
    with pytest.raises(InputError, match=r"gone.txt is no file; .* or clip80 or photo"):
        find_prompts(("a", "b"), templates="gone.txt")
    with pytest.raises(InputError, match=r"gone.txt is no file; .* or clip"):
        find_prompts(("a", "b"), class_names="gone.txt")
    with pytest.raises(InputError, match="'0', which is no name"):
        _ = Prompts(("0", "1")).texts
    with pytest.raises(InputError, match="'n01440764', which is no name"):
        _ = Prompts(("cat", "n01440764")).texts
    with pytest.raises(InputError, match="1 class names for 2 classes"):
        Prompts(("cat", "dog"), ("cat",))
