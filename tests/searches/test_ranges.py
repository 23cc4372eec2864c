"""Draws of trials: their distribution, and that they depend on seed, number and name alone."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, pearsonr, uniform

from wsol.errors import InputError
from wsol.searches.config import Candidate
from wsol.searches.ranges import Range, parse_range

TRIALS = range(1, 1001)
RATE, BLUR = Range("uniform", (0, 1)), Range("log-uniform", (1e-5, 1))


def draws(drawn: Range, seed: int = 0, name: str = "rate") -> list[Any]:
    return [drawn.draw(seed, trial, name) for trial in TRIALS]


def test_uniform_and_log_uniform_draws_follow_their_distribution() -> None:
    values = draws(Range("uniform", (-2, 3)))
    assert kstest(values, uniform(-2, 5).cdf).pvalue > 0.05
    rates = draws(BLUR)
    assert kstest(np.log10(rates), uniform(-5, 5).cdf).pvalue > 0.05
    assert kstest(rates, uniform(0, 1).cdf).pvalue < 1e-6


def test_every_integer_and_every_choice_is_drawn_equally_often() -> None:
    counts = np.bincount(draws(Range("integer", (2, 5))), minlength=7)
    assert counts[[0, 1, 6]].sum() == 0
    assert chisquare(counts[2:6]).pvalue > 0.05
    chosen = draws(Range("choice", ("a", 0.5, True)))
    assert chisquare([sum(value is each for value in chosen) for each in ("a", 0.5, True)]).pvalue > 0.05


def test_a_draw_is_what_numpy_draws_from_the_same_stream() -> None:
    for trial in (1, 2, 30):
        stream = np.random.default_rng(np.random.SeedSequence([7, trial, *b"has.rate"]))
        assert Range("uniform", (0, 1)).draw(7, trial, "has.rate") == pytest.approx(stream.random(), rel=5.1e-4)


def test_trials_names_and_seeds_draw_independently() -> None:
    rate, momentum, other = draws(RATE), draws(RATE, name="momentum"), draws(RATE, seed=1)
    for first, second in ((rate, momentum), (rate, other), (rate[1:], rate[:-1])):
        assert abs(pearsonr(first, second).statistic) < 0.1


@given(st.permutations(range(1, 9)), st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_neither_order_nor_other_settings_change_a_trial(order: list[int], seed: int) -> None:
    one = Candidate("net", "has", "net", {"learning_rate": BLUR}, {"rate": RATE})
    more = {"weight_decay": BLUR, "learning_rate": BLUR, "momentum": 0.5}
    other = Candidate("deep", "has", "deep", more, {"grid": Range("integer", (2, 8)), "rate": RATE})
    alone = {trial: one.draw(seed, trial) for trial in sorted(order)}
    beside = {trial: other.draw(seed, trial) for trial in order}
    for trial, drawn in alone.items():
        assert [*drawn] == ["learning_rate", "has.rate"]
        assert {name: beside[trial][name] for name in drawn} == drawn
        assert "momentum" not in beside[trial]


@given(st.floats(1e-9, 1e9), st.floats(1.0001, 1e6), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_values_are_inside_and_have_four_digits(low: float, factor: float, trial: int) -> None:
    for kind in ("uniform", "log-uniform"):
        value = Range(kind, (low, low * factor)).draw(0, trial, "x")
        assert low <= value <= low * factor
        assert value in (low, low * factor) or math.isclose(value, float(f"{value:.4g}"), rel_tol=1e-12)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"log-uniform": [1, 1e-5]}, "rate: log-uniform goes from 1 to 1e-05; give the lower end first"),
        ({"uniform": [1, 1]}, "rate: uniform goes from 1 to 1; give the lower end first"),
        ({"log-uniform": [0, 1]}, "rate: log-uniform begins at 0; give a lower end above 0"),
        ({"uniform": [0, 1, 2]}, r"rate: uniform is \[0, 1, 2\]; give two numbers, the lower and the upper end"),
        ({"uniform": [0, math.inf]}, r"rate: uniform is \[0, inf\]; give two numbers"),
        ({"uniform": [False, True]}, r"rate: uniform is \[False, True\]; give two numbers"),
        ({"integer": [0.5, 4]}, r"rate: integer is \[0.5, 4\]; give two integers"),
        ({"choice": []}, r"rate: choice is \[\]; give a list of values"),
        ({"choice": "ab"}, "rate: choice is 'ab'; give a list of values"),
        ({"normal": [0, 1]}, "rate has the keys normal; give one of uniform, log-uniform, integer, choice"),
        ({"uniform": [0, 1], "choice": [1]}, "rate has the keys uniform, choice; give one of"),
        ({}, "rate has the keys none; give one of"),
    ],
)
def test_what_is_no_range_is_one_sentence(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        parse_range(table, "rate")
