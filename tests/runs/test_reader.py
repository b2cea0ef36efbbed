"""A run directory: read as it was written, refused when damaged, never half replaced."""

import dataclasses
import errno
import json
import os
import shutil

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import MLPConfig
from mm_jax.config.presets import PRESETS
from mm_jax.config.serialization import from_dict, to_dict
from mm_jax.config.training import OPTIMIZERS, OptimizerConfig, RunConfig
from mm_jax.data.vocab import Vocab, build_vocab
from mm_jax.models.ensemble import ensemble
from mm_jax.models.registry import build_model
from mm_jax.runs import writer
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.reader import count_test_evaluation, load_run
from mm_jax.runs.writer import choose_dir
from tests.helpers import assert_trees_identical

SHAPES = {"C": (6, 2), "W1": (4, 3), "b1": (3,), "W2": (3, 6), "b2": (6,)}  # V 6, C 2, D 2, H 3
CONFIG = RunConfig(model=MLPConfig(context=2, embed_dim=2, hidden_dim=3), steps=5)
VOCAB = build_vocab(["emma", "жé"])
DATA = {"path": "some.txt", "sha256": "0" * 64}
SAMPLES = ["emma", "", "жé"]


def make_run(path):
    """Write a run that was never trained; return its parameters."""
    params = build_model(CONFIG.model, len(VOCAB)).init(jax.random.key(3))
    writer.write_metadata(path, RunMetadata(CONFIG, VOCAB.symbols, DATA))
    writer.append_metrics(path, [{"step": 1, "loss": 2.5}])
    writer.save_results(path, params, SAMPLES)
    return params


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "whole"
    make_run(path)
    return path


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the whole run, to be damaged."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def edit(path, change):
    """Change config.json by a function of its record."""
    record = json.loads((path / "config.json").read_text())
    change(record)
    (path / "config.json").write_text(json.dumps(record))


# What is written is what is read


def test_a_saved_run_equals_itself(tmp_path):
    params = make_run(tmp_path / "new" / "run")
    loaded = load_run(tmp_path / "new" / "run")
    assert_trees_identical(loaded.params, params)
    assert loaded.config == CONFIG
    assert loaded.vocab.symbols == (".", "a", "e", "m", "é", "ж")
    assert loaded.model is build_model(CONFIG.model, 6)
    assert loaded.data == {"path": "some.txt", "sha256": "0" * 64}


def test_loading_notices_a_single_bit(whole, copy):
    params = load_file(copy / "params.safetensors")
    params["b2"] = params["b2"].copy()
    params["b2"].view(np.uint32)[0] ^= 1
    save_file(params, copy / "params.safetensors")
    with pytest.raises(AssertionError):
        assert_trees_identical(load_run(copy).params, load_run(whole).params)


def test_any_program_can_read_the_parameters(whole):
    named = load_file(whole / "params.safetensors")
    assert {name: array.shape for name, array in named.items()} == SHAPES
    assert {str(array.dtype) for array in named.values()} == {"float32"}


def test_the_other_files_are_plain_text(whole):
    assert (whole / "samples.txt").read_bytes() == "emma\n\nжé\n".encode()
    assert (whole / "metrics.jsonl").read_text() == '{"step": 1, "loss": 2.5}\n'
    record = json.loads((whole / "config.json").read_text())
    assert record["symbols"] == [".", "a", "e", "m", "é", "ж"]
    assert record["versions"]["jax"] == jax.__version__
    assert record["data"]["sha256"] == "0" * 64
    assert sorted(path.name for path in whole.iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "metrics.jsonl",
        "params.safetensors",
        "samples.txt",
    ]


def test_metrics_and_test_looks_are_appended(copy):
    writer.append_metrics(copy, [{"step": 2, "loss": float("nan")}, {"step": 3, "loss": 1.0}])
    rows = [json.loads(row) for row in (copy / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [count_test_evaluation(copy, loss) for loss in (2.5, 2.25)] == [1, 2]
    looks = [json.loads(row) for row in (copy / "test_looks.jsonl").read_text().splitlines()]
    assert [look["loss"] for look in looks] == [2.5, 2.25]


# Configs


counts = st.integers(1, 2**31 - 1)
seeds = st.integers(0, 2**32 - 1)
sizes = st.floats(1e-30, 1e9)
configs = st.builds(
    RunConfig,
    data=st.builds(
        DataConfig,
        data=st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        split=st.sampled_from(["lecture", "unique"]),
        split_seed=seeds,
    ),
    model=st.builds(
        MLPConfig,
        context=counts,
        embed_dim=counts,
        hidden_dim=counts,
        init=st.sampled_from(["lecture", "scaled"]),
    ),
    optimizer=st.builds(
        OptimizerConfig,
        optimizer=st.sampled_from([name for name in OPTIMIZERS if name != "lbfgs"]),
        learning_rate=sizes | st.integers(1, 10),
        schedule=st.sampled_from(["constant", "step", "cosine"]),
        warmup_steps=st.integers(0, 2**31 - 1),
        weight_decay=st.none() | sizes | st.just(0.0),
        clip_norm=st.none() | sizes,
    ),
    steps=st.integers(0, 2**31 - 1),
    batch_size=counts,
    seed=seeds,
)


@given(configs)
def test_a_config_survives_json(config):
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert to_dict(again) == to_dict(config)


@given(configs, st.data())
def test_a_choice_that_is_missing_is_named(config, data):
    values = to_dict(config)
    table = data.draw(st.sampled_from([values, values["data"], values["optimizer"]]))
    name = data.draw(st.sampled_from(sorted(table)))
    hypothesis.assume(name not in ("data", "model", "optimizer") or table is not values)
    del table[name]
    with pytest.raises(InputError, match=f"missing.*{name}"):
        from_dict(values)


@pytest.mark.parametrize("config", [preset.config for preset in PRESETS.values()], ids=PRESETS)
def test_a_preset_survives_json(config):
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


# What is not a run, or not a whole one


def test_a_half_written_run_is_called_so(tmp_path):
    writer.write_metadata(tmp_path / "run", RunMetadata(CONFIG, VOCAB.symbols, DATA))
    with pytest.raises(InputError, match=r"half-written.*params\.safetensors"):
        load_run(tmp_path / "run")


def test_what_is_no_run_is_called_so(tmp_path):
    with pytest.raises(InputError, match="none does not exist"):
        load_run(tmp_path / "none")
    with pytest.raises(InputError, match="not a run directory"):
        load_run(tmp_path)
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="file is not a run directory"):
        load_run(tmp_path / "file")


def set_in(table, **values):
    """Return a change that sets values in a table of config.json's choices."""

    def change(record):
        (record["config"][table] if table else record["config"]).update(values)

    return change


def drop(record, table, name):
    del (record["config"][table] if table else record["config"])[name]


EDITS = {
    "context": (set_in("model", context=3), "W1 is float32.4, 3., should be float32.6, 3."),
    "hidden text": (set_in("model", hidden_dim="x"), "--hidden-dim must be of type int"),
    "hidden true": (set_in("model", hidden_dim=True), "--hidden-dim must be of type int"),
    "hidden huge": (set_in("model", hidden_dim=10**30), "--hidden-dim must be at most"),
    "init list": (set_in("model", init=["lecture"]), "--init must be one of"),
    "model name": (set_in("model", name="gru"), "unknown model 'gru'; there is ngram, kneser-ney"),
    "model type": (set_in("", model=None), "model must be a table"),
    "data type": (set_in("", data=None), "data must be a table"),
    "data path": (set_in("data", data=5), "--data must be of type str"),
    "steps null": (set_in("", steps=None), "--steps must be of type int"),
    "steps negative": (set_in("", steps=-1), "--steps must be at least 0"),
    "rate": (set_in("optimizer", learning_rate=float("nan")), "must be a finite number"),
    "rate huge": (set_in("optimizer", learning_rate=10**400), "must be a finite number"),
    "optimizer": (set_in("optimizer", optimizer="none"), "--optimizer must be one of sgd"),
    "unknown choice": (set_in("model", colour="red"), "unknown choice 'colour'"),
    "missing choice": (lambda r: drop(r, "model", "context"), "missing choice 'context'"),
    "missing model": (lambda r: drop(r, "", "model"), "model must be a table"),
    "config list": (lambda r: r.update(config=[1]), "config must be a table"),
    "no config": (lambda r: r.pop("config"), "damaged.*config"),
    "newer": (lambda r: r.update(format=99), "a newer mm-jax wrote it.*99"),
    "format": (lambda r: r.update(format="one"), "damaged"),
    "symbols short": (
        lambda r: r["symbols"].pop(),
        "(C|W2|b2) is float32.*6.*should be float32.*5",
    ),
    "symbols twice": (lambda r: r["symbols"].__setitem__(1, "m"), "symbols"),
    "symbols long": (lambda r: r["symbols"].__setitem__(1, "ab"), "symbols"),
    "symbols first": (lambda r: r["symbols"].__setitem__(0, "!"), "symbols"),
    "symbols number": (lambda r: r["symbols"].__setitem__(1, 5), "damaged"),
    "symbols null": (lambda r: r.update(symbols=None), "damaged"),
    "symbols none": (lambda r: r.update(symbols=[]), "damaged"),
    "symbols half": (lambda r: r["symbols"].__setitem__(1, "\ud800"), "damaged"),
    "no sha256": (lambda r: r["data"].pop("sha256"), "sha256"),
    "no data": (lambda r: r.update(data=None), "damaged"),
}


@pytest.mark.parametrize(("change", "complaint"), EDITS.values(), ids=EDITS.keys())
def test_an_edited_config_is_refused(copy, change, complaint):
    edit(copy, change)
    with pytest.raises(InputError, match=complaint) as caught:
        load_run(copy)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


BEFORE = {  # what a format did not know yet
    1: ["full_batch", "regularization"],
    2: ["label_smoothing", "init_scale", "data_seed", "average_decay", "seeds"],
}


@pytest.mark.parametrize("written", [1, 2])
def test_a_run_of_an_earlier_format_is_read(copy, written):
    def older(record):
        record["format"] = written
        for number in range(written, 3):
            for name in BEFORE[number]:
                del record["config"][name]
        del record["config"]["model"]["dropout"]

    edit(copy, older)
    assert load_run(copy).config == CONFIG


def test_an_ensemble_is_read_with_as_many_members_as_it_has(tmp_path):
    config = dataclasses.replace(CONFIG, seeds=3)
    one = build_model(CONFIG.model, len(VOCAB))
    writer.write_metadata(tmp_path / "run", RunMetadata(config, VOCAB.symbols, DATA))
    params = ensemble(one, 2).init(jax.random.key(0))  # one of three diverged
    writer.save_results(tmp_path / "run", params, SAMPLES)
    loaded = load_run(tmp_path / "run")
    assert loaded.model is ensemble(one, 2)
    assert_trees_identical(loaded.params, params)
    edit(tmp_path / "run", lambda record: record["config"].update(seeds=1))
    with pytest.raises(InputError, match=r"does not fit config\.json"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"5", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"format": 1'],
    ids=["empty", "open", "null", "5", "list", "table", "bytes", "deep", "cut"],
)
def test_a_damaged_config_is_refused(copy, text):
    (copy / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.json is damaged") as caught:
        load_run(copy)
    assert "\n" not in str(caught.value)


def with_params(change):
    """Return a damage that writes other parameters."""

    def damage(path):
        params = load_file(path)
        change(params)
        save_file(params, path)

    return damage


def spoil(params):
    params["b1"] = params["b1"] * np.float32("nan")


DAMAGES = {
    "empty": (lambda p: p.write_bytes(b""), "damaged"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "damaged"),
    "header": (lambda p: p.write_bytes(p.read_bytes()[:20]), "damaged"),
    "text": (lambda p: p.write_bytes(b"what a nice text " * 9), "damaged"),
    "folder": (lambda p: (p.unlink(), p.mkdir()), "params.safetensors"),
    "shape": (
        with_params(lambda d: d.update(b2=np.zeros(5, np.float32))),
        "b2 is float32.5., should be float32.6.",
    ),
    "dtype": (
        with_params(lambda d: d.update(b2=np.zeros(6, np.float64))),
        "b2 is float64.6., should be float32.6.",
    ),
    "name": (with_params(lambda d: d.update(W3=d.pop("W2"))), "W[23] is"),
    "extra": (with_params(lambda d: d.update(x=np.zeros(1, np.float32))), "x is float32.1."),
    "less": (with_params(lambda d: d.pop("C")), "C is None, should be float32.6, 2."),
    "nan": (with_params(spoil), "b1 is not finite"),
}


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_parameters_are_refused(copy, damage, complaint):
    damage(copy / "params.safetensors")
    with pytest.raises(InputError, match=complaint) as caught:
        load_run(copy)
    assert "params.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


# Writing


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace"])
def test_a_failing_write_leaves_the_old_file(copy, monkeypatch, broken):
    before = {p.name: p.read_bytes() for p in copy.iterdir()}
    other = build_model(CONFIG.model, len(VOCAB)).init(jax.random.key(4))
    with monkeypatch.context() as patch:
        patch.setattr(broken, no_space)
        with pytest.raises(InputError, match="No space left on device"):
            writer.save_results(copy, other, ["new"])
    for name, data in before.items():
        assert (copy / name).read_bytes() == data
    writer.save_results(copy, other, ["new"])
    assert_trees_identical(load_run(copy).params, other)
    assert {p.name for p in copy.iterdir()} == before.keys()


def test_parameters_are_written_last(tmp_path, monkeypatch):
    """Where the disk fills up before the end, the run is half-written, not wrong."""
    writer.write_metadata(tmp_path / "run", RunMetadata(CONFIG, VOCAB.symbols, DATA))
    params = build_model(CONFIG.model, len(VOCAB)).init(jax.random.key(3))
    real, calls = os.fsync, []

    def full_at_the_parameters(file):
        calls.append(file)
        return real(file) if len(calls) < 5 else no_space()

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_at_the_parameters)
        with pytest.raises(InputError, match=r"params\.safetensors.*No space left"):
            writer.save_results(tmp_path / "run", params, SAMPLES)
    with pytest.raises(InputError, match="half-written"):
        load_run(tmp_path / "run")


def test_a_config_that_cannot_be_written_is_an_input_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="cannot make"):
        writer.write_metadata(tmp_path / "file" / "run", RunMetadata(CONFIG, VOCAB.symbols, DATA))
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(InputError, match=r"config\.json.*No space left"):
        writer.write_metadata(tmp_path / "run", RunMetadata(CONFIG, VOCAB.symbols, DATA))
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_new_run_gets_the_first_free_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(choose_dir(None, "mlp")) == "runs/mlp-1"
    (tmp_path / "runs" / "mlp-1").mkdir(parents=True)
    (tmp_path / "runs" / "mlp-3").mkdir()
    assert str(choose_dir(None, "mlp")) == "runs/mlp-2"
    assert str(choose_dir(None, "other")) == "runs/other-1"


def test_a_directory_for_a_run_must_be_free(tmp_path):
    free, new = tmp_path / "free", tmp_path / "new" / "deep"
    free.mkdir()
    assert choose_dir(str(free), "mlp") == free
    assert choose_dir(str(new), "mlp") == new
    assert not new.parent.exists()
    (free / "file").write_text("keep me")
    with pytest.raises(InputError, match="not empty"):
        choose_dir(str(free), "mlp")
    with pytest.raises(InputError, match="not a directory"):
        choose_dir(str(free / "file"), "mlp")
    assert (free / "file").read_text() == "keep me"


def test_a_vocabulary_is_stored_as_it_is(tmp_path):
    """Symbols that JSON, a terminal or a file name would treat in a special way."""
    vocab = Vocab((".", "\x00", "\n", '"', "\\", "\u2028", "😀"))
    config = RunConfig(model=CONFIG.model)
    params = build_model(config.model, len(vocab)).init(jax.random.key(0))
    writer.write_metadata(tmp_path / "run", RunMetadata(config, vocab.symbols, {"sha256": ""}))
    writer.save_results(tmp_path / "run", params, [])
    assert load_run(tmp_path / "run").vocab == vocab
