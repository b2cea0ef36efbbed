"""Input that could hurt: it works, or is refused in one line; it steers no terminal."""

import json
import os
import re
import shutil
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.items import clean_lines
from mm_jax.data.text import read_lines
from mm_jax.data.vocab import build_vocab, decode, encode
from mm_jax.runs.checkpoint import checkpoint_steps
from mm_jax.runtime import atomic_files
from tests.helpers import call

TINY = ["--embed-dim", "2", "--hidden-dim", "3", "--batch-size", "4", "--steps", "3"]
FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}"
WORKS = {
    "one symbol": ("a\n" * 20, {"a"}),
    "ten lines": ("ab\n" * 10, {"a", "b"}),
    "mark at the start": ("\ufeffab\n" * 1 + "ab\n" * 19, {"a", "b"}),
    "carriage returns": ("ab\rba\r\n" * 10, {"a", "b"}),
    "line separators": ("a\u2028b\u2029c\x0bd\x85e\n" * 20, set("a\u2028b\u2029c\x0bd\x85e")),
    "emoji with joiners": (f"{FAMILY}\n" * 20, set(FAMILY)),  # a symbol is a code point
    "combining marks": ("e\u0301 \u00e9\n" * 20, {"e", "\u0301", " ", "\u00e9"}),
    "escape codes": ("\x1b[2Ja\x1b]0;b\x07\n" * 20, set("\x1b[2Ja]0;b\x07")),
    "markup": ("<script>alert(1)</script>\n" * 20, set("<script>alert(1)</script>")),
    "last planes": ("\U0010fffd\ufdd0\n" * 20, {"\U0010fffd", "\ufdd0"}),
}


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("text", "symbols"), WORKS.values(), ids=WORKS.keys())
def test_any_text_is_learned_from_symbol_by_symbol(text, symbols):
    Path("names.txt").write_bytes(text.encode())
    dataset = load_dataset(DataConfig("names.txt"))
    assert dataset.vocab.symbols == (".", *sorted(symbols))
    assert min(map(len, dataset.splits)) > 0
    texts = read_lines("names.txt").lines
    assert sorted(line for part in dataset.splits for line in part.items()) == sorted(texts)
    assert [decode(dataset.vocab, encode(dataset.vocab, line)) for line in texts] == texts


def test_zero_bytes_are_no_text_and_are_learned_from_as_bytes():
    Path("names.txt").write_bytes(b"a\x00b\n" * 20)
    with pytest.raises(
        InputError, match=r"names\.txt has NUL bytes, the first at byte 1: .*--unit"
    ):
        load_dataset(DataConfig("names.txt"))
    dataset = load_dataset(DataConfig("names.txt", unit="byte"))
    assert dataset.splits.dev.ids.tolist() == [0, 98, 1, 99, 0, 98, 1, 99, 0]  # byte 0 is id 1


@pytest.mark.slow
def test_whatever_it_was_learned_from_no_terminal_is_steered():
    Path("names.txt").write_bytes("".join(text for text, _ in WORKS.values()).encode())
    train = ["train", "--data", "names.txt", "--model", "bigram", "--steps", "3", "--out", "run"]
    score = ["score", "run", "\x1b[2J\x07\u2028"]
    for command in (train, ["sample", "run"], score, ["eval", "run"]):
        out, err = call(*command)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", out + err)
    assert "\\x1b[2J" in call("score", "run", "\x1b[2J")[0]


@hypothesis.settings(max_examples=20)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_every_line_that_is_read_is_encoded_and_decoded_as_it_is(texts):
    lines, numbers, _ = clean_lines("\n".join(texts))
    assert len(numbers) == len(lines)
    vocab = build_vocab(lines)
    assert [decode(vocab, encode(vocab, line).tolist()) for line in lines] == lines
    assert all(not set(line) & {"\n", "\r"} and line.strip() == line for line in lines)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_one_line(data):
    Path("bytes.txt").write_bytes(data)
    try:
        found = read_lines("bytes.txt").lines
    except InputError as error:
        found = str(error)
    if isinstance(found, str):
        assert "\n" not in found
        assert "bytes.txt" in found
    else:
        assert found


# More than fits


def refused(monkeypatch, memory, *flags, where="experiments.setup.device_bytes"):
    """What training says where there is only so much memory; nothing may be compiled or made."""

    def compiled(*_args, **_kwargs):
        raise AssertionError("something was compiled")

    monkeypatch.setattr(f"mm_jax.{where}", lambda *_: memory)
    monkeypatch.setattr("mm_jax.data.dataset.examples_of", compiled)
    monkeypatch.setattr("mm_jax.experiments.setup.Setup.initial_state", compiled)
    monkeypatch.setattr("mm_jax.experiments.setup.Setup.initial_states", compiled)
    _, err = call("train", "--data", "names.txt", *flags, "--out", "made", code=2)
    assert not Path("made").exists()
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("lines", "flags"),
    [
        (["ab" * 10**6], ["--split", "none"]),  # a long line: 2 bytes a symbol
        (["ab"] * 10**6, []),  # many lines
        ([chr(0x4E00 + i) for i in range(10_000)], ["--hidden-dim", "8"]),  # many symbols
    ],
    ids=["a long line", "many lines", "many symbols"],
)
def test_what_does_not_fit_is_refused_with_the_estimate_before_it_is_compiled(
    lines, flags, monkeypatch
):
    Path("names.txt").write_text("\n".join(lines))
    err = refused(monkeypatch, 4 * 10**6, *flags)
    assert re.search(r"training this takes about [\d.]+ MB, and there are 4\.0 MB; ", err)
    assert "fewer lines or symbols takes less" in err


def test_a_file_whose_ids_do_not_fit_is_refused_before_they_are_made(monkeypatch):
    Path("names.txt").write_text("ab\n" * 10**6)
    err = refused(monkeypatch, 10**6, where="data.encoding.memory_bytes")
    assert "names.txt takes 3.0 MB of memory, of 1.0 MB" in err


def test_a_file_that_cannot_be_read_whole_is_refused_before_it_is_read(monkeypatch):
    with open("names.txt", "wb") as file:
        file.truncate(10**12)  # without a byte on the disk
    monkeypatch.setattr(Path, "read_bytes", None)
    monkeypatch.setattr("mm_jax.data.text.memory_bytes", lambda: 10**11)
    complaint = (
        r"names\.txt takes about 14,000 GB of memory as a list of lines, of 100 GB; read_corp"
    )
    with pytest.raises(InputError, match=complaint):
        read_lines("names.txt")


# Numbers


@pytest.mark.slow
def test_a_rate_that_is_far_too_high_stops_with_the_step_and_keeps_what_was_good():
    Path("names.txt").write_text("abc\n" * 20)
    flags = [*TINY, "--learning-rate", "1e6", "--regularization", "1", "--steps", "50"]
    flags += ["--checkpoint-every", "1", "--out", "run"]
    _, err = call("train", "--data", "names.txt", *flags, code=1)
    step = int(re.search(r"became (?:nan|inf) (?:at|by) step (\d+)", err)[1])
    assert 0 < step <= 50
    saved = int(re.search(r"the last checkpoint is of step (\d+)", err)[1])
    assert (checkpoint_steps(Path("run"))[0], saved < step) == (saved, True)
    kept = int(re.search(r"parameters after step (\d+) are kept", err)[1])
    last = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], kept < step) == (kept, True)
    _, err = call("train", "--data", "names.txt", "--resume", *flags, code=1)
    assert f"parameters after step {kept} are kept" in err


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_temperature_that_is_none(value):
    _, err = call("sample", "run", "--temperature", value, code=2)
    assert "--temperature must be" in err


# Files that were made to hurt


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained")
    (path / "names.txt").write_text("abc\nbca\n" * 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        call("train", "--data", "names.txt", *TINY, "--checkpoint-every", "1", "--out", "run")
    return path


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it, with its data, to be damaged."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return Path("run")


@pytest.mark.parametrize("name", ["params.safetensors", "checkpoints/step-0000000003.safetensors"])
def test_a_header_of_two_gigabytes_is_one_line(run, name):
    (run / name).write_bytes((2 * 10**9).to_bytes(8, "little") + b"{}" + b" " * 1000)
    path = "run" if name.startswith("params") else str(run / name)
    _, err = call("sample", path, code=2)
    assert f"{name} is damaged" in err
    assert err.count("\n") == 1


def test_a_pickle_is_never_opened(run):
    class Trap:
        def __reduce__(self):
            return os.mkdir, ("trapped",)

    import pickle

    for name in ("params.safetensors", "checkpoints/step-0000000003.safetensors"):
        (run / name).write_bytes(pickle.dumps(Trap()))
        call("sample", str(run / name) if "step" in name else "run", code=2)
    call("verify", "run", code=1)
    assert not Path("trapped").exists()


def test_a_run_of_someone_else_cannot_steer_the_terminal(run):
    """Symbols, a path and a name that hold escape codes, in a run that is otherwise in order."""
    record = json.loads((run / "config.json").read_text())
    record["symbols"][1] = "\x1b"
    record["data"]["path"] = "\x1b[2J"
    (run / "config.json").write_text(json.dumps(record))
    for command in (["sample", "run"], ["score", "run", "\x1b"], ["score", "run", "\x1b[2J"]):
        code = 2 if "[" in command[-1] else 0
        out, err = call(*command, code=code)
        assert "\x1b" not in out + err
    out, err = call("train", "--resume", "--out", "\x1b[2J\n", "--data", "none", code=2)
    assert "\x1b" not in out + err
    assert err.count("\n") == 1


# Links


def test_a_run_directory_that_is_a_link_is_what_it_leads_to(run):
    os.mkdir("there")
    os.symlink("there", "link")
    call("train", "--data", "names.txt", *TINY, "--out", "link")
    assert Path("there/params.safetensors").exists()
    assert sorted(os.listdir()) == ["link", "names.txt", "run", "there"]
    os.symlink("nowhere", "lost")
    assert "leads nowhere" in call("train", *TINY, "--out", "lost", code=2)[1]


@pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", ".lock", "test_looks.jsonl"])
def test_nothing_is_written_through_a_link_in_a_run(run, name):
    os.mkdir("outside")
    target = Path("outside") / "file"
    target.write_text("not yours\n")
    (run / "params.safetensors").unlink()
    (run / name).rename("moved") if (run / name).exists() else None
    if name == "checkpoints":
        (run / name).symlink_to(Path("outside").absolute())
    else:
        (run / name).symlink_to(target.absolute())
    command = ["train", "--resume", "--out", "run"]
    if name == "test_looks.jsonl":
        command = ["eval", "run", "--split-name", "test"]
    _, err = call(*command, code=2)
    assert name in err.splitlines()[-1]
    assert target.read_text() == "not yours\n"
    assert os.listdir("outside") == ["file"]


def test_only_one_module_writes_to_a_run():
    """Whatever writes goes through atomic_files.py, whose every operation the fault tests reach."""
    package = Path(atomic_files.__file__).parents[1]
    writes = r"write_text|write_bytes|\bopen\(.*[\"'][wax]|\bos\.(open|write|replace|rename|unlink)"
    assert re.search(writes, Path(atomic_files.__file__).read_text())
    modules = [path for name in ("runs", "experiments") for path in (package / name).glob("*.py")]
    assert len(modules) > 10
    for path in modules:
        assert not re.search(writes, path.read_text()), path
