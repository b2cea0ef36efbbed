"""The command line: ``mm-jax COMMAND FLAGS`` -> the command's output and its exit code.

Wrong input of any kind is one line on stderr and exit code 2. Imports neither jax nor numpy.
"""

import contextlib
import difflib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mm_jax.runtime.half_written import remove_all

COMMANDS = {
    "train": "train a model on a file of lines and keep it in a run directory",
    "sweep": "train many settings, with several seeds each, and keep the best",
    "ladder": "compare all models on one data set, from counting to mixtures",
    "mix": "mix several runs into one: a weighted mean of what they say",
    "count": "count n-grams: the baseline for every trained model",
    "sample": "make new lines with a trained model",
    "eval": "measure the exact loss of a trained model",
    "score": "show how surprised a model is by single lines, symbol by symbol",
    "verify": "check the files of a run, and that its last steps repeat bit for bit",
    "plot": "draw the figures of a run, a sweep or a ladder",
    "report": "write an HTML page of a run, a sweep or a ladder, with the model in it",
    "export": "write an HTML page that makes lines with a trained model, for a web site",
    "lr-range": "test which learning rates a model learns at, and suggest one",
    "lecture": "walk through a makemore lecture, number by number",
    "bench": "measure how fast this machine is, beside PyTorch and others",
    "data": "download or describe a data set",
}

HELP = """usage: mm-jax COMMAND ...

Small language models: read a file of lines, learn to make more lines like them.

commands:
{commands}

mm-jax COMMAND --help lists the options of a command. A first run:
  mm-jax train --out runs/first
  mm-jax sample runs/first
  mm-jax report runs/first
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    if args[:1] == ["help"] and len(args) > 1:
        args = [args[1], "--help"]
    if not args or args[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:10}{purpose}" for name, purpose in COMMANDS.items())
        print(HELP.format(commands=commands), end="")
        return 0
    if args[0] == "--version":
        from mm_jax import __version__

        print(f"mm-jax {__version__}")
        return 0
    name, *flags = args
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        known = ", ".join(COMMANDS)
        return _fail("mm-jax", f"unknown command {name!r}; {hint}choose from {known}")
    prog = f"mm-jax {name}"
    try:
        with _exit_at_interrupt(prog):
            return _run(name, prog, flags)
    except KeyboardInterrupt:
        return _fail(prog, "interrupted", 130)
    except BrokenPipeError:  # the reader of our output has left, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(prog, f"cannot write the output: {error.strerror or error}", 1)


def _prepare_streams() -> None:
    """Replace streams that the parent process closed; escape symbols that a terminal lacks."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(name: str, prog: str, flags: list[str]) -> int:
    """Parse the flags of one command, run it, and print its record or its error."""
    from mm_jax.cli.parsing import parse_options
    from mm_jax.config.base import InputError
    from mm_jax.config.serialization import to_json
    from mm_jax.runtime import compilation_cache
    from mm_jax.runtime.console import Console

    command = importlib.import_module(f"mm_jax.cli.commands.{name.replace('-', '_')}")
    try:
        options = parse_options(command, prog, flags)
        compilation_cache.turn_on()
        outcome = command.run(options, Console(json=options.json))
    except InputError as error:
        return _fail(prog, str(error))
    except (MemoryError, RuntimeError) as error:
        return _fail_of_resources(prog, error)
    if options.json and outcome.record:  # of several processes only the first has one
        print(to_json(outcome.record))
        sys.stdout.flush()
    if outcome.exit_code:
        return _fail(prog, outcome.error, outcome.exit_code)
    return 0


def _fail_of_resources(prog: str, error: MemoryError | RuntimeError) -> int:
    """Print an error of memory or of another process; raise ``error`` again if it is neither."""
    reason = str(error).partition("\n")[0]
    if "Gloo" in reason or "CoordinationService" in reason:
        _fail(prog, f"another process has ended, or cannot be reached: {reason}")
        os._exit(1)  # JAX would wait for it at exit, and then abort
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
        raise error
    advice = "use a smaller model, context or batch, or fewer --members-per-slice"
    return _fail(prog, f"out of memory: {reason}; {advice}")


@contextlib.contextmanager
def _exit_at_interrupt(prog: str) -> Iterator[None]:
    """Make Ctrl-C end the process at once, unless the command replaces this to keep its work.

    A KeyboardInterrupt can be lost inside the imports of compiled modules; this cannot.
    """
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""

    def leave(*_: Any) -> None:
        remove_all()
        os.write(2, f"{show_cursor}{prog}: error: interrupted\n".encode())
        os._exit(130)

    # A Python program that calls main() keeps a handler of its own, and so do its other threads.
    replaces_default = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if replaces_default:
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        if replaces_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _fail(prog: str, message: str | None, code: int = 2) -> int:
    """Print an error on one line of stderr; return the exit code."""
    from mm_jax.runtime.console import printable

    print(f"{prog}: error: {printable(message or '')}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
