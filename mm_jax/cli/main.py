"""The command line: ``mm-jax COMMAND``, flags from dataclasses (tyro). Thin; imports no jax.

Bad input, of whatever kind, is one line on stderr and exit code 2.
"""

import contextlib
import dataclasses
import difflib
import importlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

COMMANDS = {
    "train": "train a model on a file of lines and keep it in a run directory",
    "sweep": "train many settings, several seeds each, and keep the best",
    "count": "count n-grams: the reference for every trained model",
    "sample": "make new lines with a trained model",
    "eval": "measure the exact loss of a trained model",
    "score": "say how surprised a model is by single lines, symbol by symbol",
    "verify": "check the files of a run, and that its last steps repeat bit for bit",
    "plot": "draw all there is to see of a run, or of a sweep",
    "report": "write one page of a run, or of a sweep, that makes lines by itself",
    "export": "write a page that makes lines with a trained model, to put anywhere",
    "lr-range": "test which learning rates a model learns at, and suggest one",
    "lecture": "walk through a makemore lecture, number by number",
    "bench": "measure what this machine does in how much time, and others beside it",
    "data": "fetch or describe a data set",
}

HELP = """usage: mm-jax COMMAND ...

Small language models: read a file of lines, learn to make more lines like them.

commands:
{commands}

mm-jax COMMAND --help says what a command takes. A first run:
  mm-jax train --out runs/first
  mm-jax sample runs/first
  mm-jax report runs/first
"""


_PLAINER = (  # what tyro says, and what a newcomer understands; the rest is passed on as it is
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    # Whoever started us may have closed them.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a symbol that a terminal lacks is escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if args[:1] == ["help"] and len(args) > 1:
        args = [args[1], "--help"]
    if not args or args[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:10}{what}" for name, what in COMMANDS.items())
        print(HELP.format(commands=commands), end="")
        return 0
    if args[0] == "--version":
        from mm_jax import __version__

        print(f"mm-jax {__version__}")
        return 0
    name, *flags = args
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        return _fail("mm-jax", f"unknown command {name!r}; {meant}there is {', '.join(COMMANDS)}")
    prog = f"mm-jax {name}"
    try:
        with _leaving_at_interrupt(prog):
            return _run(name, prog, flags)
    except KeyboardInterrupt:
        return _fail(prog, "interrupted", 130)
    except BrokenPipeError:  # the reader of our output has left, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(prog, f"cannot write the output: {error.strerror or error}", 1)


def _run(name: str, prog: str, flags: list[str]) -> int:
    from mm_jax.config.base import InputError
    from mm_jax.config.serialization import to_json
    from mm_jax.runtime import compilation_cache
    from mm_jax.runtime.console import Console

    command = importlib.import_module(f"mm_jax.cli.commands.{name.replace('-', '_')}")
    try:
        options = _parse(command, prog, flags)
        compilation_cache.turn_on()
        outcome = command.run(options, Console(json=options.json))
    except InputError as error:
        return _fail(prog, str(error))
    except (MemoryError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        if "Gloo" in why or "CoordinationService" in why:
            _fail(prog, f"another process has ended, or cannot be reached: {why}")
            os._exit(1)  # JAX would wait for it at the end, and then abort
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        mend = "a smaller model, context or batch, or fewer --members-per-slice, needs less"
        return _fail(prog, f"out of memory: {why}; {mend}")
    if options.json and outcome.record:  # of many processes only the first has one
        print(to_json(outcome.record))
        sys.stdout.flush()
    if outcome.exit_code:
        return _fail(prog, outcome.complaint, outcome.exit_code)
    return 0


@contextlib.contextmanager
def _leaving_at_interrupt(prog: str) -> Iterator[None]:
    """Make Ctrl-C end the process at once, unless the command has work to keep and says so.

    A KeyboardInterrupt can vanish inside the imports of compiled modules; this cannot.
    """
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""

    def leave(*_: Any) -> None:
        os.write(2, f"{show_cursor}{prog}: error: interrupted\n".encode())
        os._exit(130)

    # Whoever calls us from Python and has a handler of their own keeps it; so do other threads.
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _parse(command: Any, prog: str, flags: list[str]) -> Any:
    """Return the Options in ``flags``; raises InputError with one line of what tyro says."""
    import tyro

    from mm_jax.config.base import InputError

    default = command.defaults(_given(flags)) if hasattr(command, "defaults") else None
    more: dict[str, Any] = {}
    if hasattr(command, "prepare"):
        flags, more = command.prepare(flags, default)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = tyro.cli(
                command.Options,
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
        raise InputError(f"{_one_line(said.getvalue())} (see {prog} --help)") from None
    return dataclasses.replace(options, **more) if more else options


def _given(flags: list[str]) -> dict[str, str]:
    """Return the flags that decide what the others are or begin with."""
    given = {"resume": ""} if "--resume" in flags else {}
    for name in ("preset", "model", "out"):
        for i, flag in enumerate(flags):
            if flag == f"--{name}" and i + 1 < len(flags):
                given[name] = flags[i + 1]
            elif flag.startswith(f"--{name}="):
                given[name] = flag.partition("=")[2]
    return given


def _one_line(box: str) -> str:
    """Take the message, and the first flag it suggests, out of the box that tyro draws."""
    box = re.sub(r"-{5,}", "───", box)  # where stderr is not UTF-8 the box is ASCII, and open
    if "╭" not in box:
        box = box.partition("───")[2]  # what comes first is its title
    rows = [re.sub(r"^│(.*)│$", r"\1", row.strip()).strip() for row in box.splitlines()]
    parts = " ".join(row for row in rows if not row.startswith(("╭", "╰"))).split("───")
    parts = [part.strip("─ ") for part in parts if part.strip("─ ")]
    message = parts[0].split("Got errors:")[0].strip(" .") if parts else "wrong arguments"
    for pattern, plain in _PLAINER:
        message = re.sub(pattern, plain, message)
    meant = re.search(r"Perhaps you meant: (--[\w-]+)", " ".join(parts[1:2]))
    return message + (f"; did you mean {meant[1]}?" if meant else "")


def _fail(prog: str, message: str | None, code: int = 2) -> int:
    from mm_jax.runtime.console import printable

    print(f"{prog}: error: {printable(message or '')}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
