import dataclasses
import math
from typing import Annotated, Literal

import pytest

from mm_jax.config.base import Between, Choices, Count, InputError, OneOf, Seed, check_path, flag


@dataclasses.dataclass(frozen=True)
class Inner(Choices):
    depth: Count = 1


@dataclasses.dataclass(frozen=True)
class Sample(Choices):
    """One field of each kind that our choices have."""

    count: Count = 1
    seed: Seed = 0
    share: Annotated[float, Between(0, 1)] = 0.5
    rate: Annotated[float, Between(0, open_low=True)] | Literal["auto"] = 1.0
    limit: Annotated[int | None, Between(1, 9)] = None
    color: Annotated[str, OneOf(("red", "blue"))] = "red"
    mode: Literal["sweep", "grid"] = "sweep"
    plain: str = ""
    on: bool = False
    inner: Inner = Inner()


GOOD = [
    ("count", [1, 2**31 - 1]),
    ("seed", [0, 2**32 - 1]),
    ("share", [0.0, 0.25, 1.0]),
    ("rate", [1e-30, 7.5, "auto"]),
    ("limit", [None, 1, 9]),
    ("color", ["red", "blue"]),
    ("mode", ["sweep", "grid"]),
    ("plain", ["", "any text"]),
    ("on", [False, True]),
]
BAD = [
    ("count", 0, "must be at least 1, not 0"),
    ("count", 2**31, "must be at most 2147483647, not 2147483648"),
    ("count", 1.0, "must be of type int"),
    ("count", True, "must be of type int"),
    ("count", "1", "must be of type int"),
    ("count", None, "must be of type int"),
    ("seed", -1, "must be at least 0"),
    ("seed", 2**32, "must be at most 4294967295"),
    ("share", -0.1, "must be at least 0, not -0.1"),
    ("share", 1.5, "must be at most 1, not 1.5"),
    ("share", math.nan, "must be a finite number, not nan"),
    ("share", 10**400, "must be a finite number"),
    ("share", None, "must be of type float"),
    ("rate", 0, "must be greater than 0, not 0"),
    ("rate", math.inf, "must be a finite number, not inf"),
    ("rate", "other", "must be one of auto, not 'other'"),
    ("limit", 0, "must be at least 1"),
    ("limit", 10, "must be at most 9"),
    ("color", "green", "must be one of red, blue, not 'green'"),
    ("mode", "other", "must be one of sweep, grid, not 'other'"),
    ("mode", 1, "must be one of sweep, grid, not 1"),
    ("plain", 1, "must be of type str"),
    ("on", 1, "must be of type bool"),
    ("inner", 1, "must be of type Inner"),
]


@pytest.mark.parametrize(("name", "values"), GOOD, ids=[name for name, _ in GOOD])
def test_values_inside_the_limits_are_kept(name, values):
    for value in values:
        assert getattr(Sample(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "message"), BAD, ids=[f"{n}-{v!r:.9}" for n, v, _ in BAD]
)
def test_a_wrong_value_is_refused_with_its_flag(name, value, message):
    with pytest.raises(InputError) as caught:
        Sample(**{name: value})
    assert str(caught.value).startswith(f"--{name} {message}")
    assert "\n" not in str(caught.value)


def test_an_int_for_a_float_becomes_one_and_stays_an_int_elsewhere():
    choices = Sample(share=1, rate=2, count=3, limit=4)
    assert [type(choices.share), type(choices.rate)] == [float, float]
    assert [type(choices.count), type(choices.limit)] == [int, int]


def test_replacing_a_value_checks_it():
    with pytest.raises(InputError, match="--count"):
        dataclasses.replace(Sample(), count=0)


def test_a_flag_is_the_name_with_hyphens():
    assert flag("batch_size") == "--batch-size"


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_a_path_that_no_system_call_accepts_is_refused(path):
    with pytest.raises(InputError, match=r"^the data .* cannot be the name of a file"):
        check_path(path, "the data")


def test_other_paths_are_accepted():
    for path in ("", "a b", "имена", "\udcff", "a\nb"):
        check_path(path, "the data")
