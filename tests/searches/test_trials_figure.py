"""The figure of a search."""

from itertools import pairwise

from wsol.searches.figure import trials_figure


def test_the_star_stands_on_the_best_trial() -> None:
    figure = trials_figure([("", "cam", [30.0, 34.0, 32.0], 0, 34.0)], False, "", "")
    (axes,) = figure.axes
    dots, star = axes.collections[-2:]
    assert star.get_offsets().tolist() == [dots.get_offsets()[1].tolist()]


def test_labels_of_long_networks_have_room() -> None:
    groups = [("timm/convnext_tiny.in12k_ft_in1k", method, [30.0, 31.0], 0, 31.0) for method in ("cam", "has", "adl")]
    figure = trials_figure(groups, True, "", "")
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
