"""The figures of a comparison, read back from their lines, outlines and texts."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from PIL import Image

from wsol.comparison.figures import accuracy_figure, iou_figure
from wsol.reports.canvas import PngFigure

LONG = "resnet50-" + "a-very-long-name-" * 12 + "gradcam"
NAMES = ["one", "_grad$cam$", LONG]
CURVES = pd.DataFrame({"tau": [0, 0.25, 0.5, 0.75], **{name: [10.0 + i, 50, 30, 0] for i, name in enumerate(NAMES)}})


def texts(figure: PngFigure) -> list[Text]:
    """Return the texts around the plot, including the axis labels."""
    FigureCanvasAgg(figure).draw()
    axes = figure.axes[-1]
    return [*figure.axes[0].texts, axes.xaxis.label, axes.yaxis.label]


def test_accuracy_over_tau() -> None:
    figure = accuracy_figure(CURVES, [0.25, 0.5, 0.0], 0.5, "signature")
    axes = figure.axes[-1]
    lines, dots = axes.lines[::2], axes.lines[1::2]
    for i, (line, name) in enumerate(zip(lines, NAMES, strict=True)):
        np.testing.assert_array_equal(line.get_xydata(), CURVES[["tau", name]])
        assert line.get_color() == dots[i].get_color()
    assert [dot.get_xydata().tolist() for dot in dots] == [[[0.25, 50]], [[0.5, 30]], [[0, 12]]]
    written = [text.get_text() for text in texts(figure)]
    assert {"50.0 % at tau 0.250", "30.0 % at tau 0.500", "12.0 % at tau 0.000", "signature"} <= {*written}


def test_histograms_of_iou() -> None:
    values = {"a": [0, 0.04, 0.3, 0.5, 0.5, 0.97, 1.0, np.nan], "b": [0.31] * 8}
    figure = iou_figure({name: np.array(column) for name, column in values.items()}, [0.3, 0.3], "signature")
    axes = figure.axes[-1]
    first, second = axes.findobj(StepPatch)
    shares, edges, _ = first.get_data()
    expected = np.zeros(20)
    expected[[0, 6, 10, 19]] = 25, 12.5, 25, 25  # an IoU of 0.3 is a hit, right of the line; NaN is in no bin
    np.testing.assert_array_equal(shares, expected)
    assert edges[6] == 0.3
    assert second.get_data()[0][6] == 100
    assert axes.lines[0].get_xdata() == [0.3, 0.3]
    assert {"62.5 % hits", "100.0 % hits"} <= {text.get_text() for text in texts(figure)}


@pytest.mark.parametrize("runs", [2, 23])
def test_names_are_text_and_fit_however_long_and_many_they_are(runs: int) -> None:
    names = [*NAMES[1:], "\x1b[31mred\nline", *(f"run {i}" for i in range(runs))]
    figure = iou_figure({name: np.array([0.1, 0.6]) for name in names}, [0.5] * len(names), "signature " + LONG)
    drawn = texts(figure)
    written = [text.get_text() for text in drawn]
    assert "_grad$cam$" in written
    assert "\\x1b[31mred line" in written
    (long,) = (text for text in written if text.startswith("resnet50-a-very"))
    assert "…" in long
    assert long.endswith("-gradcam")
    paper = figure.bbox
    for text in drawn:
        extent = text.get_window_extent()
        assert extent.x0 >= paper.x0
        assert extent.x1 <= paper.x1
        assert extent.y0 >= paper.y0
        assert extent.y1 <= paper.y1
    lines = sorted(text.get_window_extent().y0 for text in drawn if text.get_text().endswith(" hits"))
    assert len(lines) == len(names)
    assert (np.diff(lines) > 20).all()  # pixels: no two lines of the legend overlap


def test_28_runs_have_different_styles() -> None:
    names = [f"run {i}" for i in range(28)]
    figure = iou_figure({name: np.array([0.1]) for name in names}, [0.5] * 28, "")
    looks = {(to_hex(patch.get_edgecolor()), patch.get_linestyle()) for patch in figure.axes[-1].findobj(StepPatch)}
    assert len(looks) == 28


def test_styles_differ_without_color_vision() -> None:
    """Two runs differ in lightness (CIE L*, by ten or more), not in hue alone, or in their dashes."""
    figure = iou_figure({f"run {i}": np.array([0.1]) for i in range(7)}, [0.5] * 7, "")
    looks = [(patch.get_edgecolor(), patch.get_linestyle()) for patch in figure.axes[-1].findobj(StepPatch)]
    for i, (color, dash) in enumerate(looks):
        for other, other_dash in looks[:i]:
            assert dash != other_dash or abs(lightness(color) - lightness(other)) > 10


def lightness(color: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    y = float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_the_file_has_the_signature_and_ignores_the_users_style() -> None:
    plain = accuracy_figure(CURVES, [0.25] * 3, 0.5, "sig").to_png({"signature": "a|b"})
    with Image.open(io.BytesIO(plain)) as picture:
        assert picture.info["signature"] == "a|b"
        assert picture.size[0] > 1000
    with plt.style.context("dark_background"):
        assert accuracy_figure(CURVES, [0.25] * 3, 0.5, "sig").to_png({"signature": "a|b"}) == plain
