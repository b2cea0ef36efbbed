"""Which arrays of a model, or which of its layers, are one line in a figure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from mm_jax.reports.analysis import ArrayStats

MAX_ARRAYS = 12  # that are drawn one by one; of more, those of one kind together
MAX_KINDS = 8  # of arrays, before the vectors are drawn together


def group_arrays(arrays: Sequence[ArrayStats]) -> dict[str, list[str]]:
    """Return the names of many arrays by what a figure calls them; nothing for few, drawn alone.

    Those of one kind are together (group_names). Where kinds are more than MAX_KINDS, all
    vectors (biases, scales) are together, and where they still are more than MAX_ARRAYS the
    smallest.
    """
    if len(arrays) <= MAX_ARRAYS:
        return {}
    sizes = {array.name: array.size for array in arrays}
    groups = group_names(sizes)
    if len(groups) > MAX_KINDS:
        vectors = [array.name for array in arrays if len(array.shape) < 2]
        groups = group_names(name for name in sizes if name not in vectors)
        if vectors:
            groups[f"{len(vectors)} vectors"] = vectors
    if len(groups) > MAX_ARRAYS:
        largest = sorted(groups, key=lambda label: -sum(sizes[name] for name in groups[label]))
        kept = {label: groups[label] for label in groups if label in largest[: MAX_ARRAYS - 1]}
        rest = [name for label in groups if label not in kept for name in groups[label]]
        groups = kept | {f"{len(rest)} other arrays": rest}
    return groups


def group_names(names: Iterable[str]) -> dict[str, list[str]]:
    """Return names that differ in their first number only, by what they are called together.

    >>> group_names(["layer1.W", "layer1.b", "layer2.W", "head"])
    {'layer1–2.W': ['layer1.W', 'layer2.W'], 'layer1.b': ['layer1.b'], 'head': ['head']}
    """
    kinds: dict[str, dict[str, int]] = {}
    for name in names:
        number = re.search(r"\d+", name)
        kind = name if number is None else f"{name[: number.start()]}\0{name[number.end() :]}"
        kinds.setdefault(kind, {})[name] = 0 if number is None else int(number[0])
    groups = {}
    for kind, numbers in kinds.items():
        span = f"{min(numbers.values())}–{max(numbers.values())}"
        groups[kind.replace("\0", span) if len(numbers) > 1 else next(iter(numbers))] = [*numbers]
    return groups


def in_order(names: Iterable[str]) -> list[str]:
    """Return names in the order of their first number, which jit sorts as text.

    >>> in_order(["h1", "h10", "h2"])
    ['h1', 'h2', 'h10']
    """

    def number(name: str) -> int:
        return int((re.findall(r"\d+", name) or ["0"])[0])

    return sorted(names, key=number)


def span_text(values: Iterable[float]) -> str:
    """Return one number, or the lowest and the highest of several that are finite.

    >>> span_text([0.001]), span_text([0.001, math.inf, 0.02])
    ('1.0e-03', '1.0e-03 to 2.0e-02')
    """
    values = list(values)
    finite = [value for value in values if math.isfinite(value)]
    if len(values) == 1 or not finite:
        return f"{values[0]:.1e}"
    return f"{min(finite):.1e} to {max(finite):.1e}"


def grouped_text(numbers: Mapping[str, float], groups: Mapping[str, Sequence[str]]) -> str:
    """Return the number of each array; of those that are one line the lowest and the highest."""
    groups = groups or {name: [name] for name in numbers}
    spans = (
        f"{name} {span_text(numbers[array] for array in arrays)}" for name, arrays in groups.items()
    )
    some = any(len(arrays) > 1 for arrays in groups.values())
    return ", ".join(spans) + ("; arrays of one kind are one line" if some else "")
