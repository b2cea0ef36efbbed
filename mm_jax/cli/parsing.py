"""Flags -> the ``Options`` of a command (tyro), or an InputError of one line. Imports no jax."""

import contextlib
import dataclasses
import io
import re
import shlex
from typing import Annotated, Any

from mm_jax.config.base import InputError

# tyro 1.0 tells what is wrong in a box that it prints, or to a hook in tyro._errors, which it
# declares private, unstable and only safe with a pinned version: so the box is read.
REWRITES = (  # of tyro's messages into plain ones; any other message stays as it is
    (r"^Error parsing (?!--)\S+: ", ""),
    (r"^Error parsing (\S+): invalid literal for int.*: (\S+)$", r"\1 is not a whole number: \2"),
    (r"^Error parsing (\S+): could not .* float: (.*)$", r"\1 is not a number: \2"),
    (
        r"^Error parsing (\S+): no type matching FLOAT\|\{(\S+)\} .*\[(.*)\]$",
        r"\1 must be a number or \2, not \3",
    ),
    (
        r"^Error parsing (\S+): no type matching (\S+?)\|\{(\S+)\} .*\[(.*)\]$",
        r"\1 must be of type \2, or one of \3, not \4",
    ),
    (r"^Error parsing (\S+): no type matching \S+ .*\[(.*)\]$", r"\1 cannot be \2"),
    (r"^Missing from [\w -]+: (\S+) .*", r"\1 is missing"),
    (r"Expected 1 values", "It takes one"),
)


def parse_options(command: Any, prog: str, flags: list[str]) -> Any:
    """Return the ``Options`` of the module ``command`` with the values in ``flags``.

    A command with ``defaults`` starts from what that makes of ``base_flags``; one with ``prepare``
    takes flags out before tyro sees them. Raise InputError with one line, SystemExit for --help.
    """
    import tyro

    default = command.defaults(base_flags(flags)) if hasattr(command, "defaults") else None
    extra: dict[str, Any] = {}
    if hasattr(command, "prepare"):
        flags, extra = command.prepare(flags, default)
    printed, whole = io.StringIO(), default
    options_class, default = _with_one_model(command.Options, default)
    try:
        with contextlib.redirect_stderr(printed):
            options = tyro.cli(
                options_class,
                prog=prog,
                args=flags,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.DisallowNone,
                    tyro.conf.AvoidSubcommands,
                ),
            )
    except SystemExit as error:
        if not error.code:
            raise
        message = message_in_box(printed.getvalue()) + dash_hint(prog, flags)
        raise InputError(f"{message} (see {prog} --help)") from None
    options = _as_before(options, command.Options, whole)
    return dataclasses.replace(options, **extra) if extra else options


def _with_one_model(options_class: Any, default: Any) -> tuple[Any, Any]:
    """Return Options whose config has the class of its model in place of all.

    Of a field that may be of many classes tyro mixes the flags among the others; so they stand in a
    group of their own in --help.
    """
    model = getattr(getattr(default, "config", None), "model", None)
    if model is None:
        return options_class, default
    import tyro

    config_class: Any = type(default.config)
    one_model: Any = dataclasses.make_dataclass(
        config_class.__name__, [("model", type(model))], bases=(config_class,), frozen=True
    )
    config = Annotated[one_model, tyro.conf.arg(name="")]
    narrow = dataclasses.make_dataclass(
        options_class.__name__,
        [("config", config)],
        bases=(options_class,),
        frozen=True,
        namespace={"__doc__": options_class.__doc__},
    )
    values = _fields_of(default) | {"config": one_model(**_fields_of(default.config))}
    return narrow, narrow(**values)


def _as_before(options: Any, options_class: Any, default: Any) -> Any:
    """Return Options of the class ``options_class``, with a config of the class of ``default``."""
    if type(options) is options_class:
        return options
    config = type(default.config)(**_fields_of(options.config))
    return options_class(**_fields_of(options) | {"config": config})


def _fields_of(choices: Any) -> dict[str, Any]:
    return {field.name: getattr(choices, field.name) for field in dataclasses.fields(choices)}


def base_flags(flags: list[str]) -> dict[str, str]:
    """Return the flags that decide which other flags there are, and their defaults.

    >>> base_flags(["--model=bigram", "--steps", "9", "--out", "run"])
    {'model': 'bigram', 'out': 'run'}
    """
    values = {"resume": ""} if "--resume" in flags else {}
    for name in ("preset", "model", "out"):
        for i, flag in enumerate(flags):
            if flag == f"--{name}" and i + 1 < len(flags):
                values[name] = flags[i + 1]
            elif flag.startswith(f"--{name}="):
                values[name] = flag.partition("=")[2]
    return values


def dash_hint(prog: str, flags: list[str]) -> str:
    """Return how to give a text that begins with "-", to commands that take any text.

    >>> dash_hint("mm-jax sample", ["run", "--prefix", "-n"])
    '; a text that begins with "-": --prefix=-n'
    """
    dashed = [flag for flag in flags if re.match(r"-[^-]", flag)]
    if not dashed:
        return ""
    text = shlex.quote(dashed[0])
    if prog.endswith(" sample"):
        return f'; a text that begins with "-": --prefix={text}'
    return f'; a line that begins with "-": RUN -- {text}' if prog.endswith(" score") else ""


def message_in_box(box: str) -> str:
    """Return the message in the box that tyro draws, with the first flag that it suggests."""
    box = re.sub(r"-{5,}", "───", box)  # where stderr is not UTF-8 the box is ASCII and open
    if "╭" not in box:
        box = box.partition("───")[2]  # without the title, which comes first
    rows = [re.sub(r"^│(.*)│$", r"\1", row.strip()).strip() for row in box.splitlines()]
    sections = " ".join(row for row in rows if not row.startswith(("╭", "╰"))).split("───")
    sections = [section.strip("─ ") for section in sections if section.strip("─ ")]
    message = sections[0].split("Got errors:")[0].strip(" .") if sections else "wrong arguments"
    for pattern, replacement in REWRITES:
        message = re.sub(pattern, replacement, message)
    suggested = re.search(r"Perhaps you meant: (--[\w-]+)", " ".join(sections[1:2]))
    return message + (f"; did you mean {suggested[1]}?" if suggested else "")
