"""What a choice may be: the base of all choices, the limits of their values, and the one error.

Whoever makes a dataclass of choices with a wrong value gets an InputError at once, so that no other
room meets one. Imports no jax.
"""

import dataclasses
import math
import os
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple


class InputError(ValueError):
    """Something that the user gave is wrong; the message is one line that says what and why."""


class Between(NamedTuple):
    """Limits of a number, as metadata in ``Annotated``: low <= value <= high, or low < value."""

    low: float
    high: float = math.inf
    open_low: bool = False

    def complaint(self, value: float) -> str | None:
        """Say what is wrong with ``value``, or nothing."""
        try:
            finite = math.isfinite(value)
        except OverflowError:  # a whole number that no float can hold
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
    """The names that a string may be, as metadata in ``Annotated``."""

    names: tuple[str, ...]

    def complaint(self, value: str) -> str | None:
        """Say what is wrong with ``value``, or nothing."""
        return None if value in self.names else f"must be one of {', '.join(self.names)}"


def flag(name: str) -> str:
    """Return the command-line flag of a field: ``batch_size`` -> ``--batch-size``."""
    return "--" + name.replace("_", "-")


@dataclasses.dataclass(frozen=True)
class Choices:
    """Base of all choices: whoever makes one with a wrong value gets an InputError at once."""

    def __post_init__(self) -> None:
        """Check each field's type and limits."""
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            complaint = _complaint(hints[field.name], value)
            if complaint:
                raise InputError(f"{flag(field.name)} {complaint}, not {value!r}")
            if type(value) is int and _kinds(hints[field.name]) & {int, float} == {float}:
                object.__setattr__(self, field.name, float(value))


def _kinds(hint: Any) -> set[Any]:
    """Return the plain types that a field may have."""
    members = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        return _kinds(members[0])
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return set().union(*map(_kinds, members))
    return {hint}


def _complaint(hint: Any, value: Any) -> str | None:
    limits: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *rest = typing.get_args(hint)
        limits = tuple(limit for limit in rest if isinstance(limit, Between | OneOf))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        members = typing.get_args(hint)
        if value is None and type(None) in members:
            return None
        if dataclasses.is_dataclass(members[0]):
            return None if isinstance(value, members) else "must be a table of choices"
        if isinstance(value, str) and typing.get_origin(members[-1]) is Literal:
            return _complaint(members[-1], value)
        if typing.get_origin(members[0]) is Annotated:
            return _complaint(members[0], value)
        hint = members[0]
    if typing.get_origin(hint) is Literal:
        return OneOf(typing.get_args(hint)).complaint(value)
    accepted = (int, float) if hint is float else (hint,)
    if isinstance(value, bool) != (hint is bool) or not isinstance(value, accepted):
        return f"must be of type {hint.__name__}"
    return next(filter(None, (limit.complaint(value) for limit in limits)), None)


MAX_FLOAT = 1e30  # well inside float32


Count = Annotated[int, Between(1, 2**31 - 1)]


Seed = Annotated[int, Between(0, 2**32 - 1)]


def check_path(path: str, what: str) -> None:
    """Raise InputError for a path that no system call takes."""
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise InputError(f"{what} {path!r} cannot be the name of a file")
