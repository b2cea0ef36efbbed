"""The base class of all choices, the limits of their values, and the one error for bad input.

A dataclass of choices checks its values when it is made, so that no other module meets a wrong one.
Imports no jax.
"""

import dataclasses
import math
import os
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple


class InputError(ValueError):
    """The user gave something wrong; the message is one line: what is wrong, where, what to do."""


class Between(NamedTuple):
    """Limits of a number, as metadata in ``Annotated``: low <= value <= high, or low < value.

    >>> Between(1, 10).problem(0)
    'must be at least 1'
    """

    low: float
    high: float = math.inf
    open_low: bool = False

    def problem(self, value: float) -> str | None:
        """Return what is wrong with ``value``, or None."""
        try:
            finite = math.isfinite(value)
        except OverflowError:  # an int too large for a float
            finite = False
        if not finite:
            return "must be a finite number"
        if self.open_low and value <= self.low:
            return f"must be greater than {self.low:g}"
        if value < self.low:
            return f"must be at least {self.low:g}"
        if value > self.high:
            return f"must be at most {self.high:.12g}"
        return None


class OneOf(NamedTuple):
    """The strings that are allowed, as metadata in ``Annotated``."""

    names: tuple[str, ...]

    def problem(self, value: str) -> str | None:
        """Return what is wrong with ``value``, or None."""
        return None if value in self.names else f"must be one of {', '.join(self.names)}"


def flag(name: str) -> str:
    """Return the command-line flag of a field: ``batch_size`` -> ``--batch-size``."""
    return "--" + name.replace("_", "-")


MAX_FLOAT = 1e30  # well inside the range of float32
Count = Annotated[int, Between(1, 2**31 - 1)]
Seed = Annotated[int, Between(0, 2**32 - 1)]


@dataclasses.dataclass(frozen=True)
class Choices:
    """Base class of all choices: a wrong value raises InputError when the object is made."""

    def __post_init__(self) -> None:
        """Check the type and limits of each field; an int given for a float becomes one."""
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            problem = _problem(hints[field.name], value)
            if problem:
                raise InputError(f"{flag(field.name)} {problem}, not {value!r}")
            if type(value) is int and _plain_types(hints[field.name]) & {int, float} == {float}:
                object.__setattr__(self, field.name, float(value))


def _plain_types(hint: Any) -> set[Any]:
    """Return the types that a field may have, without their limits."""
    members = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return _plain_types(members[0])
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return set().union(*map(_plain_types, members))
    return {hint}


def _problem(hint: Any, value: Any) -> str | None:
    """Return what is wrong with the value of a field of type ``hint``, or None."""
    limits: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *rest = typing.get_args(hint)
        limits = tuple(limit for limit in rest if isinstance(limit, Between | OneOf))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        members = typing.get_args(hint)
        if value is None and type(None) in members:
            return None
        members = tuple(member for member in members if member is not type(None))
        if dataclasses.is_dataclass(members[0]):
            return None if isinstance(value, members) else "must be a table of choices"
        if isinstance(value, str) and typing.get_origin(members[-1]) is Literal:
            return _problem(members[-1], value)
        if typing.get_origin(members[0]) is Annotated:
            return _problem(members[0], value)
        hint = members[0]
    if typing.get_origin(hint) is Literal:
        return OneOf(typing.get_args(hint)).problem(value)
    accepted = (int, float) if hint is float else (hint,)
    if isinstance(value, bool) != (hint is bool) or not isinstance(value, accepted):
        return f"must be of type {hint.__name__}"
    return next(filter(None, (limit.problem(value) for limit in limits)), None)


def check_path(path: str, what: str) -> None:
    """Raise InputError for a path that no system call accepts; ``what`` names it."""
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise InputError(f"{what} {path!r} cannot be the name of a file")
