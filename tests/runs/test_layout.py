"""config.json: read as it was written, in each of its formats, and refused where it is damaged."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import BigramConfig, MixtureConfig, MLPConfig, NgramConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import CountConfig, MixConfig, OptimizerConfig, RunConfig
from mm_jax.data.vocab import byte_vocab
from mm_jax.runs.layout import (
    FORMAT,
    RunMetadata,
    check_checkpoint_matches,
    check_data_record,
    check_same_choices,
    check_same_data,
    check_symbols,
    differing_choices,
    find_resumable,
    metadata_from_record,
    read_metadata,
    resume_command,
)

CONFIG = RunConfig(model=MLPConfig(context=2, embed_dim=2, hidden_dim=3), steps=5)
SYMBOLS = (".", "a", "e", "m")
DATA = {
    "path": "some.txt",
    "sha256": "0" * 64,
    "num_lines": 10,
    "num_blank": 1,
    "split_lines": [8, 1, 1],
    "dev_lines_in_train": 0.5,
}
METADATA = RunMetadata(CONFIG, SYMBOLS, DATA)


def record_of_run():
    return {
        "format": 5,
        "config": to_dict(CONFIG),
        "symbols": [*SYMBOLS],
        "data": {**DATA},
        "lr_range": None,
        "fingerprint": {"jax": "0.10.2"},
    }


def write(path, record):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(record))
    return path


def test_config_json_is_read_as_it_was_written(tmp_path):
    found = read_metadata(write(tmp_path, record_of_run()))
    assert found == METADATA._replace(fingerprint={"jax": "0.10.2"})
    assert isinstance(found.symbols, tuple)


def test_the_command_that_resumes_is_quoted_for_a_shell(tmp_path):
    command = resume_command("sweep", tmp_path / "a b")
    assert command == f"mm-jax sweep --resume --out '{tmp_path}/a b'"


def test_no_jax_is_needed_to_read_it():
    code = "import sys, mm_jax.runs.layout; print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "False\n"


# Formats

UNKNOWN_IN = {  # the choices that a format did not have yet
    1: ["full_batch", "regularization"],
    2: ["label_smoothing", "init_scale", "data_seed", "average_decay", "seeds"],
    3: [],
    4: ["row_length"],
    8: ["sampled_symbols"],
}
OF_WORDS = ["count_words_in", "merge_numbers", "sentence_ends"]  # before 8
UNKNOWN_OF_DATA = ["items", "unit", "lower", "min_count", "column", "weights", "block"]  # before 4


def older(record, written):
    """The record of a run as an older format has it."""
    record["format"] = written
    for number in range(written, FORMAT):
        for name in UNKNOWN_IN.get(number, []):
            del record["config"][name]
    of_model = ["layers", "norm", *["dropout"] * (written < 3)]
    for name in of_model:
        record["config"]["model"].pop(name, None)
    for name in ("b1", "b2"):
        del record["config"]["optimizer"][name]
    for name in OF_WORDS + UNKNOWN_OF_DATA * (written < 4):
        del record["config"]["data"][name]
    return record


@pytest.mark.parametrize("written", [1, 2, 3, 4])
def test_a_run_of_an_older_format_means_what_it_meant(written):
    found = metadata_from_record(older(record_of_run(), written))
    assert found.config == CONFIG
    config = found.config  # which says nothing of what did not exist
    assert (config.full_batch, config.regularization, config.label_smoothing) == (False, 0.0, 0.0)
    assert (config.init_scale, config.data_seed, config.average_decay) == (1.0, None, 0.0)
    assert (config.seeds, config.model.dropout) == (1, 0.0)
    assert config.sampled_symbols == 0
    assert (config.row_length, config.model.layers, config.model.norm) == (0, 1, "none")
    assert (config.optimizer.b1, config.optimizer.b2) == (None, None)
    data = config.data
    assert (data.items, data.unit, data.lower, data.min_count) == ("line", "char", False, 1)
    assert (data.column, data.weights, data.block) == (None, None, 128)
    assert (data.count_words_in, data.merge_numbers, data.sentence_ends) == ("train", False, False)


def test_words_of_an_older_format_were_counted_in_all_of_the_file():
    data = DataConfig(unit="word", min_count=3, split="unique", count_words_in="all")
    record = record_of_run() | {"format": 7}
    record["config"] = to_dict(dataclasses.replace(CONFIG, data=data))
    for name in OF_WORDS:
        del record["config"]["data"][name]
    record["symbols"] = [".", "the", "<unk>"]
    assert metadata_from_record(record).config.data == data


def test_what_an_older_format_says_counts():
    record = older(record_of_run(), 2)
    record["config"] |= {"full_batch": True, "regularization": 0.5}
    found = metadata_from_record(record)
    assert (found.config.full_batch, found.config.regularization) == (True, 0.5)


def test_of_an_older_format_only_the_mlp_lacks_a_choice():
    record = record_of_run()
    record["config"]["model"] = to_dict(RunConfig(model=BigramConfig()))["model"]
    assert metadata_from_record(older(record, 1)).config.model == BigramConfig()


def test_a_counted_run_of_an_older_format_has_the_same_choices():
    config = CountConfig(model=NgramConfig(order=3))
    for written in (1, 2, 3):
        record = record_of_run() | {"format": written, "config": to_dict(config)}
        for name in OF_WORDS + UNKNOWN_OF_DATA:
            del record["config"]["data"][name]
        assert metadata_from_record(record).config == config


def test_a_mixture_of_an_older_format_is_without_good_turing():
    config = MixConfig(CONFIG.data, MixtureConfig("linear"), (CONFIG, CONFIG), ("x", "y"))
    outer = dataclasses.replace(config, runs=(config, CONFIG))
    choices = to_dict(outer)
    for each in (choices, choices["runs"][0]):
        del each["model"]["good_turing"]
    record = record_of_run() | {"format": 6, "config": choices}
    assert metadata_from_record(record).config == outer


def test_what_the_newest_format_says_of_the_data_counts():
    data = DataConfig(
        unit="word",
        lower=True,
        min_count=3,
        count_words_in="all",
        merge_numbers=True,
        sentence_ends=True,
        column="name",
        weights="2",
        block=9,
    )
    record = record_of_run()
    record["config"] = to_dict(dataclasses.replace(CONFIG, data=data))
    record["symbols"] = [".", "the", "<unk>"]
    found = metadata_from_record(record)
    assert found.config.data == data
    assert found.symbols == (".", "the", "<unk>")


def test_a_choice_of_the_data_that_the_newest_format_lacks_is_missed():
    record = record_of_run()
    del record["config"]["data"]["unit"]
    with pytest.raises(InputError, match="missing choice 'unit'"):
        metadata_from_record(record)


# Symbols


@pytest.mark.parametrize(
    ("symbols", "unit"),
    [
        ([".", "a", "é", "\n"], "char"),
        (["↵", ".", "a"], "char"),  # the data have "."
        ([".", "the", "<unk>"], "word"),
        (byte_vocab().symbols, "byte"),
    ],
)
def test_symbols_of_each_unit_are_taken(symbols, unit):
    check_symbols(symbols, unit)


@pytest.mark.parametrize(
    ("symbols", "unit", "complaint"),
    [
        ([".", "ab"], "char", "are not the boundary and distinct chars"),
        ([".", "a", "a"], "char", "are not the boundary and distinct chars"),
        ([".", ""], "char", "are not the boundary and distinct chars"),
        ([], "word", "are not the boundary and distinct words"),
        ([".", "the", "the"], "word", "are not the boundary and distinct words"),
        ([".", "the", ""], "word", "are not the boundary and distinct words"),
        ([".", "the", 5], "word", "are not the boundary and distinct words"),
        (byte_vocab().symbols[:-1], "byte", "are not the boundary and all bytes"),
        (("¶", *byte_vocab().symbols[1:]), "byte", "are not the boundary and all bytes"),
    ],
)
def test_symbols_that_no_vocabulary_has_are_refused(symbols, unit, complaint):
    with pytest.raises(InputError, match=complaint):
        check_symbols(symbols, unit)


# Damage


def set_in(table, **values):
    """Return a change that sets values in a table of config.json's choices."""

    def change(record):
        (record["config"][table] if table else record["config"]).update(values)

    return change


EDITS = {
    "hidden text": (set_in("model", hidden_dim="x"), "--hidden-dim must be of type int"),
    "hidden true": (set_in("model", hidden_dim=True), "--hidden-dim must be of type int"),
    "hidden huge": (set_in("model", hidden_dim=10**30), "--hidden-dim must be at most"),
    "init list": (set_in("model", init=["lecture"]), "--init must be one of"),
    "model name": (set_in("model", name="gpu"), "unknown model 'gpu'"),
    "model type": (set_in("", model=None), "model must be a table"),
    "data type": (set_in("", data=None), "data must be a table"),
    "data path": (set_in("data", data=5), "--data must be of type str"),
    "steps null": (set_in("", steps=None), "--steps must be of type int"),
    "steps negative": (set_in("", steps=-1), "--steps must be at least 0"),
    "rate": (set_in("optimizer", learning_rate=float("nan")), "must be a finite number"),
    "rate huge": (set_in("optimizer", learning_rate=10**400), "must be a finite number"),
    "optimizer": (set_in("optimizer", optimizer="none"), "--optimizer must be one of sgd"),
    "data unit": (set_in("data", unit="letter"), "--unit must be one of char, byte, word"),
    "data items": (set_in("data", items="page"), "--items must be one of line, paragraph"),
    "data block": (set_in("data", block=0), "--block must be at least 1"),
    "data weights": (set_in("data", weights="n"), "--weights needs --column"),
    "unknown choice": (set_in("model", colour="red"), "unknown choice 'colour'"),
    "missing choice": (lambda r: r["config"]["model"].pop("context"), "missing choice 'context'"),
    "missing model": (lambda r: r["config"].pop("model"), "model must be a table"),
    "config list": (lambda r: r.update(config=[1]), "config must be a table"),
    "no config": (lambda r: r.pop("config"), "damaged.*config"),
    "newer": (lambda r: r.update(format=99), "a newer mm-jax wrote it.*99"),
    "format": (lambda r: r.update(format="one"), "damaged"),
    "symbols twice": (lambda r: r["symbols"].__setitem__(1, "m"), "symbols"),
    "symbols long": (lambda r: r["symbols"].__setitem__(1, "ab"), "symbols"),
    "symbols first": (lambda r: r["symbols"].__setitem__(0, "!"), "symbols"),
    "symbols number": (lambda r: r["symbols"].__setitem__(1, 5), "symbols"),
    "symbols null": (lambda r: r.update(symbols=None), "damaged"),
    "symbols none": (lambda r: r.update(symbols=[]), "symbols"),
    "symbols half": (lambda r: r["symbols"].__setitem__(1, "\ud800"), "damaged"),
    "no sha256": (lambda r: r["data"].pop("sha256"), "sha256"),
    "sha256 number": (lambda r: r["data"].update(sha256=5), "its data has no sha256"),
    "no data": (lambda r: r.update(data=None), "damaged"),
    "fingerprint": (lambda r: r.update(fingerprint=[1]), "its fingerprint is no table"),
}


@pytest.mark.parametrize(("change", "complaint"), EDITS.values(), ids=EDITS.keys())
def test_an_edited_config_is_refused_in_one_line_that_names_it(tmp_path, change, complaint):
    record = record_of_run()
    change(record)
    with pytest.raises(InputError, match=complaint) as caught:
        read_metadata(write(tmp_path, record))
    assert str(caught.value).startswith(str(tmp_path / "config.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"5", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"format": 1'],
    ids=["empty", "open", "null", "5", "list", "table", "bytes", "deep", "cut"],
)
def test_a_damaged_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.json is damaged") as caught:
        read_metadata(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_config_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: .*No such file"):
        read_metadata(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, None),
        ({"path": 5}, "the path or the sha256 of its data is no text"),
        ({"path": "a\0b"}, "the path of its data"),
        ({"num_lines": -1}, "num_lines of its data is not a count"),
        ({"num_blank": None}, "num_blank of its data is not a count"),
        ({"split_lines": [1, 2]}, "split_lines of its data are not three"),
        ({"split_lines": [1, 2, "x"]}, "one of split_lines of its data is not a count"),
        ({"dev_lines_in_train": "much"}, "dev_lines_in_train of its data is not a number"),
        ({"split_unknown": [1, 2]}, "split_unknown of its data are not three"),
        ({"split_words": [1, 2, -1]}, "one of split_words of its data is not a count"),
    ],
)
def test_what_was_learned_from_is_checked_before_it_is_shown(tmp_path, change, complaint):
    if complaint is None:
        check_data_record(tmp_path, DATA)
        return
    with pytest.raises(InputError, match=complaint) as caught:
        check_data_record(tmp_path, DATA | change)
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_a_record_of_data_without_its_entries_is_refused(tmp_path):
    for data in (None, [1], {}, {"sha256": "0"}):
        with pytest.raises(InputError, match="its data has no path, sha256 or split_lines"):
            check_data_record(tmp_path, data)


# What is resumed


def test_what_can_be_resumed(tmp_path):
    run = write(tmp_path / "run", record_of_run())
    assert find_resumable(str(run), resume=False) is None
    assert find_resumable(str(run), resume=True).config == CONFIG
    assert find_resumable(str(tmp_path / "new"), resume=True) is None
    for out in (None, ""):
        with pytest.raises(InputError, match="--resume needs --out"):
            find_resumable(out, resume=True)
    (run / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        find_resumable(str(run), resume=True)


def test_choices_that_differ_are_named_by_their_flags():
    other = dataclasses.replace(
        CONFIG,
        model=dataclasses.replace(CONFIG.model, hidden_dim=4),
        data=dataclasses.replace(CONFIG.data, data="elsewhere.txt", split_seed=7),
        steps=6,
    )
    assert list(differing_choices(CONFIG, CONFIG)) == []
    assert sorted(differing_choices(CONFIG, other)) == [
        ("--hidden-dim", 3, 4),
        ("--split-seed", 42, 7),
        ("--steps", 5, 6),
    ]
    counted = CountConfig(model=NgramConfig(order=2))
    assert ("--model", "mlp", "ngram") in differing_choices(CONFIG, counted)


def test_a_rate_that_a_range_test_chose_is_asked_for_again():
    auto = dataclasses.replace(CONFIG, optimizer=OptimizerConfig(learning_rate="auto"))
    found = dataclasses.replace(CONFIG, optimizer=OptimizerConfig(learning_rate=0.3))
    assert list(differing_choices(found, auto, auto=True)) == []
    assert list(differing_choices(found, auto)) == [("--learning-rate", 0.3, "auto")]
    chosen = METADATA._replace(config=found, lr_range={"suggested": 0.3})
    check_same_choices(Path("run"), chosen, auto)
    with pytest.raises(InputError, match=r"run was made with --learning-rate 0\.3, not auto"):
        check_same_choices(Path("run"), chosen._replace(lr_range=None), auto)


def test_other_choices_and_other_data_are_refused(tmp_path):
    check_same_choices(tmp_path, METADATA, CONFIG)
    with pytest.raises(InputError, match="was made with --steps 5, not 6; resume without that"):
        check_same_choices(tmp_path, METADATA, dataclasses.replace(CONFIG, steps=6))
    check_same_data(tmp_path, METADATA, DATA, SYMBOLS)
    with pytest.raises(InputError, match=r"its sha256 is 111111111111\.\.\., was 000000000000"):
        check_same_data(tmp_path, METADATA, DATA | {"sha256": "1" * 64}, SYMBOLS)
    with pytest.raises(InputError, match=r"symbol 2 of config\.json is 'e', of the data 'x'"):
        check_same_data(tmp_path, METADATA, DATA, (".", "a", "x", "m"))
    with pytest.raises(InputError, match=r"symbol 3 of config\.json is 'm', of the data None"):
        check_same_data(tmp_path, METADATA, DATA, SYMBOLS[:3])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, None),
        ({"config": None}, "config must be a table"),
        ({"data": 5}, "is no checkpoint of a run"),
        ({"config": to_dict(dataclasses.replace(CONFIG, seed=1))}, "--seed was 1, and is 0 there"),
        ({"symbols": [*SYMBOLS, "z"]}, "it has another vocabulary"),
        ({"data": DATA | {"sha256": "1" * 64}}, "it was made from other data"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, complaint):
    record = {name: value for name, value in record_of_run().items() if name != "format"} | change
    checkpoint = tmp_path / "checkpoints/step-0000000005.safetensors"
    if complaint is None:
        check_checkpoint_matches(tmp_path, METADATA, checkpoint, record)
        return
    with pytest.raises(InputError, match=complaint) as caught:
        check_checkpoint_matches(tmp_path, METADATA, checkpoint, record)
    assert str(checkpoint) in str(caught.value)
