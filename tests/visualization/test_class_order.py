"""A photo's classes have the names of a data set only if that has the network's classes."""

from dataclasses import replace

from wsol.models import Model
from wsol.visualization.class_names import class_names


def test_names_of_a_data_set_with_the_same_classes(tiny_model: Model) -> None:
    three = replace(tiny_model, classes=3)
    published = replace(three, categories=("tench", "goldfish", "hen"))
    of_dataset = ("tench, Tinca tinca", "goldfish, Carassius auratus", "hen")
    assert class_names(three, of_dataset) == of_dataset
    assert class_names(three, of_dataset[:2]) == ()  # another number of classes: others
    assert class_names(published, of_dataset) == of_dataset
    assert class_names(published, of_dataset[::-1]) == published.categories
    assert class_names(replace(published, class_names=("a", "b", "c")), of_dataset) == ("a", "b", "c")
