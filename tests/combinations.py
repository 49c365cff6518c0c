"""All combinations of settings, of which the fast tests take a few that hold every pair."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest


def combinations(*choices: Iterable[Any], strength: int = 2) -> list[Any]:
    """Return the product of the choices, marked slow but for some in which any two values meet at least once.

    Args:
        choices: Values of each argument.
        strength: How many values are to meet: with 1, each occurs.
    """
    everything = list(itertools.product(*map(list, choices)))
    pairs = {
        number: set(itertools.combinations(enumerate(map(repr, case)), strength))
        for number, case in enumerate(everything)
    }
    missing, fast = set[Any]().union(*pairs.values()), set[int]()
    while missing:
        fast.add(best := max(pairs, key=lambda number: len(pairs[number] & missing)))
        missing -= pairs[best]
    return [
        case if number in fast else pytest.param(*case, marks=pytest.mark.slow)
        for number, case in enumerate(everything)
    ]


def fast_first(n_fast: int, choices: Iterable[Any]) -> list[Any]:
    """Return the choices, marked slow but for the first ones, which stand for the others in the fast tests."""
    return [
        choice if number < n_fast else pytest.param(choice, marks=pytest.mark.slow)
        for number, choice in enumerate(choices)
    ]
