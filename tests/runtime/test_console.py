"""Text and progress: made harmless, to the right stream, at a terminal or not."""

import io
import os
import subprocess
import sys

import pytest

from mm_jax.runtime.console import (
    PROGRESS_LINES,
    Console,
    format_loss,
    printable,
    terminal_width,
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("emma", "emma"),
        ("жанна 日本 \U0001f600", "жанна 日本 \U0001f600"),
        ("a\tb", "a\tb"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\rc", "a\\nb\\rc"),
        ("a\x07\x00\x7f\x9b", "a\\x07\\x00\\x7f\\x9b"),
        ("a\u2028b\u2029", "a\\u2028b\\u2029"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\ud800", "\\ud800"),
        ("no-break\u00a0space", "no-break\u00a0space"),
    ],
)
def test_what_controls_a_terminal_is_escaped_and_nothing_else(line, expected):
    assert printable(line) == expected


@pytest.mark.parametrize(
    ("loss", "text"),
    [(2.17254, "2.1725"), (0.0, "0.0000"), (1e5, "100000.0000"), (1e9, "1e+09"), (-2e7, "-2e+07")],
)
def test_a_loss_has_four_decimals_unless_it_is_huge(loss, text):
    assert format_loss(loss) == text


def test_losses_that_are_not_finite_are_written():
    assert (format_loss(float("inf")), format_loss(float("nan"))) == ("inf", "nan")


def test_the_width_is_the_terminals_within_limits(monkeypatch):
    for columns, expected in (("50", 50), ("500", 100), ("10", 30)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal_width(100, 80) == expected
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("os.get_terminal_size", _no_terminal)
    assert terminal_width(100, 80) == 80


def _no_terminal(*_args):
    raise OSError


def test_text_goes_to_stdout_and_notes_to_stderr(capsys):
    console = Console(json=False)
    console.say("a\x1bb")
    console.say()
    console.note("c\x1bd")
    assert capsys.readouterr() == ("a\\x1bb\n\n", "c\\x1bd\n")


def test_with_json_text_goes_to_stderr(capsys):
    console = Console(json=True)
    console.say("text")
    console.note("note")
    assert capsys.readouterr() == ("", "text\nnote\n")
    assert not console.at_terminal


def test_samples_that_were_cut_or_are_among_the_training_lines_are_marked(capsys):
    console = Console(json=False)
    cut, in_train = [False, True, False, False], [False, False, True, True]
    console.say_samples(["emma", "\x1b", "ava", ""], cut, in_train)
    console.say_samples([], [], None)
    console.say_samples(["mia"], [False], None)
    console.say_samples(["lea"], [True], [True])
    assert capsys.readouterr().out == (
        "emma\n\\x1b\t(cut)\nava\t(in train)\n\t(in train)\nmia\nlea\t(cut)\t(in train)\n"
    )


def test_samples_of_several_lines_have_blank_lines_between_them(capsys):
    console = Console(json=False)
    console.say_samples(["a\nb\x1b", "c"], [False, True], None)
    assert capsys.readouterr().out == "a\nb\\x1b\n\nc\t(cut)\n"


def test_a_silenced_console_prints_nothing(capsys):
    console = Console(json=False)
    console.silence()
    with console.stream:
        console.say("text")
        console.note("note")
    assert capsys.readouterr() == ("", "")


# Progress


def lines_of_progress(console, capsys, steps, total, first=0, **kwargs):
    with console.progress(total, first=first, **kwargs) as update:
        for step in steps:
            update(step, 2.5)
    return capsys.readouterr().out.splitlines()


def test_without_a_terminal_progress_is_a_few_plain_lines(capsys):
    rows = lines_of_progress(Console(json=False), capsys, range(1, 1001), 1000)
    assert len(rows) == PROGRESS_LINES
    assert rows[0].split()[:4] == ["step", "50/1,000", "loss", "2.5000"]
    assert rows[-1].split()[:4] == ["step", "1,000/1,000", "loss", "2.5000"]
    assert rows[-1].endswith(" steps/s  0 s left")
    assert len({row.index("/") for row in rows}) == 1


def test_the_speed_is_that_of_the_last_chunks_and_compiling_counts_for_nothing(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("mm_jax.runtime.console.time.perf_counter", lambda: now[0])
    console, each = Console(json=False), 1000 // PROGRESS_LINES
    with console.progress(1000) as update:
        for step in range(each, 1001, each):
            now[0] += 60 if step == each else 5 if step <= 500 else 1  # compiled, slow, fast
            update(step, 2.5)
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["step", f"{each}/1,000", "loss", "2.5000"]
    assert rows[1].endswith(f"{each / 5:,.0f} steps/s  {(1000 - 2 * each) / each * 5:.0f} s left")
    assert rows[-1].endswith(f"{each:,.0f} steps/s  0 s left")


def test_progress_that_is_resumed_prints_what_is_left(capsys):
    rows = lines_of_progress(Console(json=False), capsys, range(501, 1001), 1000, first=500)
    assert len(rows) == PROGRESS_LINES // 2
    assert rows[0].split()[1] == "550/1,000"


def test_large_steps_print_one_line_each(capsys):
    assert len(lines_of_progress(Console(json=False), capsys, (300, 600, 1000), 1000)) == 3


def test_progress_without_lines_or_steps_prints_nothing(capsys):
    console = Console(json=False)
    assert lines_of_progress(console, capsys, range(1, 1001), 1000, lines=False) == []
    assert lines_of_progress(console, capsys, (), 0) == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_at_a_terminal_progress_is_a_bar(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stdout", Terminal())
    console = Console(json=False)
    assert console.at_terminal
    with console.progress(300) as update:
        for step in range(1, 301):
            update(step, 2.125)
    bar = console.stream.getvalue()
    assert "300/300 steps" in bar
    assert "loss 2.1250" in bar
    assert "steps/s" in bar
    assert "━" in bar
    assert "step 300/300" not in bar


# Streams of the process


STREAMS = """
import os
from mm_jax.runtime.console import Console
console = Console(json=False)
console.reserve_stdout()
os.write(1, b"from C++\\n")
print("from Python")
console.say("said")
"""


def test_what_libraries_write_to_stdout_goes_to_stderr():
    command = [sys.executable, "-c", STREAMS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == ["from Python", "said"]
    assert done.stderr == "from C++\n"


def test_a_reader_that_leaves_does_not_stop_the_work(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        console = Console(json=False)
        for _ in range(3):
            console.say("x" * 100_000)
