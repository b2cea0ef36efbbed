"""A run directory: read as it was written, while it trains too, and refused where it is damaged."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.serialization import to_dict
from mm_jax.config.training import RunConfig
from mm_jax.data.dataset import load_dataset
from mm_jax.data.samples import to_text
from mm_jax.data.vocab import Vocab
from mm_jax.models.ensemble import ensemble
from mm_jax.models.registry import build_model
from mm_jax.runs import writer
from mm_jax.runs.checkpoint import checkpoint_path, save_checkpoint
from mm_jax.runs.layout import RunMetadata
from mm_jax.runs.named_arrays import to_arrays
from mm_jax.runs.reader import (
    count_test_evaluation,
    describe,
    load_run,
    read_samples,
    run_dataset,
    unfinished_note,
)
from tests.helpers import assert_trees_identical
from tests.runs.small_run import CONFIG, DATA, SAMPLES, VOCAB, make_run, random_params


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
    loaded = load_run(str(tmp_path / "new" / "run"))
    assert_trees_identical(loaded.params, params)
    assert loaded.config == CONFIG
    assert loaded.vocab.symbols == (".", "a", "e", "m", "é", "ж")
    assert loaded.model is build_model(CONFIG.model, 6)
    assert loaded.data == {"path": "some.txt", "sha256": "0" * 64}
    assert (loaded.step, loaded.folder) == (None, tmp_path / "new" / "run")
    assert unfinished_note(loaded) is None
    assert read_samples(loaded.folder, loaded.config) == SAMPLES
    assert describe(loaded) == {
        "config": to_dict(CONFIG),
        "vocab_size": 6,
        "num_params": 6 * 2 + (2 * 2) * 3 + 3 + 3 * 6 + 6,
        "run_dir": str(tmp_path / "new" / "run"),
    }


def test_loading_notices_a_single_bit(whole, copy):
    params = load_file(copy / "params.safetensors")
    params["b2"] = params["b2"].copy()
    params["b2"].view(np.uint32)[0] ^= 1
    save_file(params, copy / "params.safetensors")
    with pytest.raises(AssertionError):
        assert_trees_identical(load_run(copy).params, load_run(whole).params)


def test_a_vocabulary_is_stored_as_it_is(tmp_path):
    """Symbols that JSON, a terminal or a file name would treat in a special way."""
    vocab = Vocab((".", "\x00", "\n", '"', "\\", "\u2028", "😀"))
    params = build_model(CONFIG.model, len(vocab)).init(jax.random.key(0))
    writer.write_metadata(tmp_path / "run", RunMetadata(CONFIG, vocab.symbols, {"sha256": ""}))
    writer.save_results(tmp_path / "run", params, "")
    assert load_run(tmp_path / "run").vocab == vocab


def test_samples_may_hold_what_ends_a_line_elsewhere(tmp_path):
    (tmp_path / "samples.txt").write_text("a\u2028b\n\n\x85\n", "utf-8")
    assert read_samples(tmp_path, CONFIG).texts == ["a\u2028b", "", "\x85"]
    for damage in (lambda path: path.write_bytes(b"\xff"), lambda path: path.unlink()):
        damage(tmp_path / "samples.txt")
        with pytest.raises(InputError, match=r"cannot read .*samples\.txt"):
            read_samples(tmp_path, CONFIG)


def test_evaluations_on_the_test_split_are_counted(copy):
    assert [count_test_evaluation(copy, loss) for loss in (2.5, 2.25)] == [1, 2]
    lines = [json.loads(row) for row in (copy / "test_looks.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [2.5, 2.25]
    assert all(line["time"].endswith("+00:00") for line in lines)
    with pytest.raises(InputError, match="cannot be counted"):
        count_test_evaluation(copy / "params.safetensors", 2.5)


# In training, or stopped


def state_arrays(params, average=None):
    state = {"params": params, "step": np.int32(2)}
    return to_arrays(state if average is None else state | {"average": average})


@pytest.fixture
def unfinished(tmp_path):
    """A run that was stopped after step 4, with its checkpoints of steps 2 and 4."""
    writer.write_metadata(tmp_path / "run", RunMetadata(CONFIG, VOCAB.symbols, DATA))
    record = {"config": to_dict(CONFIG), "symbols": VOCAB.symbols, "data": DATA}
    for step in (2, 4):
        save_checkpoint(tmp_path / "run", step, state_arrays(random_params(step)), record)
    return tmp_path / "run"


def test_a_run_in_training_is_its_newest_checkpoint_that_is_whole(unfinished):
    loaded = load_run(unfinished)
    assert_trees_identical(loaded.params, random_params(4))
    assert loaded.step == describe(loaded)["step"] == 4
    assert unfinished_note(loaded) == (
        f"{unfinished} has not come to its end: this is what there is after step 4"
    )
    checkpoint_path(unfinished, 4).write_bytes(b"half")
    loaded = load_run(unfinished)
    assert_trees_identical(loaded.params, random_params(2))
    assert loaded.step == 2
    checkpoint_path(unfinished, 2).write_bytes(b"")
    with pytest.raises(InputError, match=r"is half-written: it has no params\.safetensors, and no"):
        load_run(unfinished)


def test_a_checkpoint_is_a_run_too(unfinished):
    loaded = load_run(checkpoint_path(unfinished, 2))
    assert_trees_identical(loaded.params, random_params(2))
    assert (loaded.config, loaded.vocab, loaded.step) == (CONFIG, VOCAB, 2)
    assert loaded.folder == unfinished
    assert unfinished_note(loaded) is None
    (unfinished / "other").mkdir()
    other = save_checkpoint(unfinished / "other", 1, state_arrays(random_params()), {})
    with pytest.raises(InputError, match="is not a checkpoint of a run"):
        load_run(other)


def test_where_an_average_is_kept_it_is_the_model(unfinished):
    record = {"config": to_dict(CONFIG), "symbols": VOCAB.symbols, "data": DATA}
    arrays = state_arrays(random_params(5), average=random_params(6))
    save_checkpoint(unfinished, 5, arrays, record)
    assert_trees_identical(load_run(unfinished).params, random_params(6))


def test_params_that_came_last_win_over_checkpoints(unfinished):
    writer.save_results(unfinished, random_params(7), to_text(SAMPLES, DataConfig()))
    loaded = load_run(unfinished)
    assert_trees_identical(loaded.params, random_params(7))
    assert loaded.step is None


def test_an_ensemble_is_read_with_as_many_members_as_it_has(tmp_path):
    config = dataclasses.replace(CONFIG, seeds=3)
    one = build_model(CONFIG.model, len(VOCAB))
    writer.write_metadata(tmp_path / "run", RunMetadata(config, VOCAB.symbols, DATA))
    with pytest.raises(InputError, match="half-written"):
        load_run(tmp_path / "run")
    params = ensemble(one, 2).init(jax.random.key(0))  # one of three diverged
    writer.save_results(tmp_path / "run", params, to_text(SAMPLES, DataConfig()))
    loaded = load_run(tmp_path / "run")
    assert loaded.model is ensemble(one, 2)
    assert_trees_identical(loaded.params, params)
    edit(tmp_path / "run", lambda record: record["config"].update(seeds=1))
    with pytest.raises(InputError, match=r"does not fit config\.json"):
        load_run(tmp_path / "run")


# What is not a run, or not a whole one


def test_what_is_no_run_is_called_so(tmp_path, copy):
    with pytest.raises(InputError, match="none does not exist"):
        load_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"not a run directory: it has no config\.json"):
        load_run(tmp_path)
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="file is not a run directory but a file"):
        load_run(tmp_path / "file")
    copy.rename(tmp_path / "best")
    with pytest.raises(InputError, match=r"is a sweep; its best run is .*best"):
        load_run(tmp_path)


EDITS = {
    "context": (
        lambda record: record["config"]["model"].update(context=3),
        "W1 is float32.4, 3., should be float32.6, 3.",
    ),
    "symbols": (
        lambda record: record["symbols"].pop(),
        "(C|W2|b2) is float32.*6.*should be float32.*5",
    ),
    "newer": (lambda record: record.update(format=99), "a newer mm-jax wrote it.*99"),
}


@pytest.mark.parametrize(("change", "complaint"), EDITS.values(), ids=EDITS.keys())
def test_a_config_that_does_not_fit_is_refused(copy, change, complaint):
    edit(copy, change)
    with pytest.raises(InputError, match=complaint) as caught:
        load_run(copy)
    assert "config.json" in str(caught.value)
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
        with_params(lambda d: d.update(b2=np.zeros(6, np.float16))),
        "b2 is float16.6., should be float32.6.",
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


# The data


def run_on(tmp_path, text):
    """A run on a file of lines."""
    path = tmp_path / "names.txt"
    path.write_text(text)
    dataset = load_dataset(DataConfig(str(path)))
    config = RunConfig(data=DataConfig(str(path)), model=CONFIG.model)
    model = build_model(config.model, len(dataset.vocab))
    metadata = RunMetadata(config, dataset.vocab.symbols, dataset.record)
    writer.write_metadata(tmp_path / "run", metadata)
    writer.save_results(tmp_path / "run", model.init(jax.random.key(0)), "")
    return load_run(tmp_path / "run"), path, dataset


def test_the_data_of_a_run_are_read_again_unless_they_have_changed(tmp_path):
    loaded, path, dataset = run_on(tmp_path, "abc\nbca\ncab\n" * 10)
    splits = run_dataset(loaded).splits
    assert sorted(line for part in splits for line in part.items()) == (
        ["abc"] * 10 + ["bca"] * 10 + ["cab"] * 10
    )
    assert [part.items() for part in splits] == [part.items() for part in dataset.splits]
    path.write_text("abc\nbca\ncab\n" * 11)
    with pytest.raises(InputError, match=r"names\.txt has changed since .*run was trained on it"):
        run_dataset(loaded)
    path.unlink()
    with pytest.raises(InputError, match=r"names\.txt"):
        run_dataset(loaded)
    path.mkdir()
    with pytest.raises(InputError, match=r"names\.txt is no regular file: what .* is gone"):
        run_dataset(loaded)


def test_a_path_of_data_that_the_system_refuses_is_one_line(whole):
    loaded = load_run(whole)
    long = dataclasses.replace(loaded.config, data=DataConfig("n" * 300))
    with pytest.raises(InputError, match="File name too long") as caught:
        run_dataset(loaded._replace(config=long))
    assert "\n" not in str(caught.value)
