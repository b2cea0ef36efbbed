"""Groups of arrays: each array is in one, and a figure has few of them."""

import itertools
import math

import numpy as np
import pytest

from mm_jax.reports.analysis import array_stats
from mm_jax.reports.plots.groups import MAX_ARRAYS, group_arrays, group_names, grouped_text


def stats(shapes):
    return array_stats((name, np.ones(shape)) for name, shape in shapes.items())


def layers(count, shapes):
    return {f"layer{i + 1}.{k}": shape for i in range(count) for k, shape in shapes.items()}


BLOCK = {
    f"{part}.{kind}": (4, 4) if kind == "W" else (4,)
    for part in ("qkv", "out", "up", "down")
    for kind in "Wb"
}


def test_few_arrays_are_drawn_alone():
    names = [f"W{i}" for i in range(MAX_ARRAYS)]
    assert group_arrays(stats(dict.fromkeys(names, (2, 2)))) == {}


def test_arrays_of_one_kind_are_together_and_their_layers_are_counted_as_numbers():
    groups = group_arrays(stats({"C": (2, 2)} | layers(11, {"W": (2, 2), "b": (2,)})))
    assert list(groups) == ["C", "layer1–11.W", "layer1–11.b"]
    assert groups["layer1–11.W"] == [f"layer{i + 1}.W" for i in range(11)]
    assert group_names(["wte", "wte2"]) == {"wte": ["wte"], "wte2": ["wte2"]}


def test_vectors_of_many_kinds_are_one_group():
    arrays = stats({"wte": (9, 4), "wpe": (9, 4), "scale": (4,)} | layers(2, BLOCK))
    groups = group_arrays(arrays)
    assert list(groups) == [
        *("wte", "wpe", "layer1–2.qkv.W", "layer1–2.out.W", "layer1–2.up.W", "layer1–2.down.W"),
        "9 vectors",
    ]
    assert groups["9 vectors"][0] == "scale"


@pytest.mark.parametrize("count", [13, 40])
def test_whatever_the_names_there_are_few_groups_with_each_array_once(count):
    shapes = {chr(97 + i % 26) * (1 + i // 26): (i + 1, 2) for i in range(count)}
    groups = group_arrays(stats(shapes))
    assert len(groups) == MAX_ARRAYS
    assert sorted(itertools.chain(*groups.values())) == sorted(shapes)
    largest = list(shapes)[-(MAX_ARRAYS - 1) :]
    assert list(groups) == [*largest, f"{count - MAX_ARRAYS + 1} other arrays"]


def test_arrays_of_one_kind_are_described_together():
    numbers = {"W1": 0.1, "W2": 0.02, "W3": math.inf, "b": math.nan}
    text = grouped_text(numbers, {"W1–3": ["W1", "W2", "W3"], "b": ["b"]})
    assert text == "W1–3 2.0e-02 to 1.0e-01, b nan; arrays of one kind are one line"
    assert grouped_text(numbers, {}) == "W1 1.0e-01, W2 2.0e-02, W3 inf, b nan"
