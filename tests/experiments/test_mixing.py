"""Runs as one run: what cannot be mixed, and that what was written is read."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import GRUConfig, KneserNeyConfig, MixtureConfig, MLPConfig, NgramConfig
from mm_jax.config.training import CountConfig, MixConfig, RunConfig
from mm_jax.experiments.mixing import (
    check_mixable,
    heed_repeats,
    leading,
    mixture_of,
    save_mixture,
    with_weights,
)
from mm_jax.models.context_frequency import frequency_table
from mm_jax.models.mixture import KINDS, mixture_params
from mm_jax.runs.reader import load_run, read_samples, run_dataset
from mm_jax.training.evaluate import evaluate
from tests.helpers import assert_trees_identical, make_run, quick_jit, softmax64

LINES = [a + b for a in ("ab", "ba", "ca", "bc") for b in ("a", "b", "cc", "abc", "ca")]
NET = MLPConfig(context=3, embed_dim=2, hidden_dim=3, init="scaled")
WEIGHTS = {"linear": (0.625, 0.375), "log-linear": (0.75, 0.5)}
BY_BIN = np.array([[0.25, 0.75]] * 3 + [[0.5, 0.5]] * 10, np.float32)
TOKENS = np.random.default_rng(0).integers(0, 4, (5, 9), np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs by name, all of one file: a net, counts of two kinds, and two nets as one run."""
    folder = tmp_path_factory.mktemp("members")
    (folder / "lines.txt").write_text("\n".join(LINES))
    data = DataConfig(str(folder / "lines.txt"))
    make_run(folder / "net", RunConfig(data, NET))
    make_run(folder / "counts", CountConfig(data, NgramConfig(2, 0.5)))
    make_run(folder / "kneser-ney", CountConfig(data, KneserNeyConfig(3)))
    make_run(folder / "two nets", RunConfig(data, NET, seeds=2))
    return folder


def config_of(runs, kind):
    configs, paths = tuple(run.config for run in runs), tuple(str(run.path) for run in runs)
    return MixConfig(runs[0].config.data, MixtureConfig(kind), configs, paths)


def mix(path, runs, kind="log-linear"):
    """Write the mixture of two runs with weights of our own; return what was written."""
    model = mixture_of(runs, kind)
    if kind == "frequency":
        table, size = frequency_table(run_dataset(runs[0]).splits.train)
        params = mixture_params(BY_BIN[:size], [run.params for run in runs], table)
    else:
        params = with_weights(runs, WEIGHTS[kind])
    result = save_mixture(path, config_of(runs, kind), model, params, run_dataset(runs[0]))
    return model, params, result


@pytest.fixture(scope="module")
def mixed(folder):
    """The directory of a mixture of the net and Kneser-Ney."""
    mix(folder / "mixed", [load_run(folder / name) for name in ("net", "kneser-ney")])
    return folder / "mixed"


@pytest.fixture(scope="module")
def by_frequency(folder):
    """The directory of such a mixture by frequency."""
    runs = [load_run(folder / name) for name in ("net", "kneser-ney")]
    mix(folder / "by frequency", runs, "frequency")
    return folder / "by frequency"


def counted(folder, name, **choices):
    """Counts of a file that differ in some choices of the data."""
    data = DataConfig(**{"data": str(folder / "lines.txt"), **choices})
    return load_run(make_run(folder / name, CountConfig(data, NgramConfig())))


# What can be mixed


def test_runs_of_the_same_data_can_be_mixed(folder, tmp_path):
    shutil.copy(folder / "lines.txt", tmp_path / "copied.txt")
    copied = counted(tmp_path, "copied", data=str(tmp_path / "copied.txt"))
    names = ("net", "counts", "kneser-ney", "two nets")
    check_mixable([*(load_run(folder / name) for name in names), copied])


@pytest.mark.parametrize(
    ("choices", "difference"),
    [
        ({"split": "unique"}, "--split unique, not lecture"),
        ({"split_seed": 7}, "--split-seed 7, not 42"),
        ({"unit": "word"}, "--unit word, not char; another vocabulary: "),
        ({"items": "document"}, "--items document, not line"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_was_made_otherwise_is_named_with_both_runs(folder, tmp_path, choices, difference):
    other = counted(tmp_path, "other", data=str(folder / "lines.txt"), **choices)
    with pytest.raises(InputError) as caught:
        check_mixable([load_run(folder / name) for name in ("net", "counts")] + [other])
    message = str(caught.value)
    expected = f"{tmp_path / 'other'} cannot be mixed with {folder / 'net'}: {difference}"
    assert message.startswith(expected)
    assert "\n" not in message


def test_blocks_have_to_agree_among_models_of_rows_alone(folder, tmp_path):
    text, in_document = str(folder / "lines.txt"), {"items": "document", "unit": "byte"}
    rows = [
        load_run(
            make_run(
                tmp_path / f"gru-{block}",
                RunConfig(DataConfig(text, block=block, **in_document), GRUConfig(2, 3)),
            )
        )
        for block in (8, 9)
    ]
    counts = counted(tmp_path, "counts", data=text, **in_document)
    for runs in ([rows[0], counts], [counts, rows[0]]):
        check_mixable(runs)
        assert leading(runs) is rows[0]
    assert leading([counts, counts]) is counts
    with pytest.raises(InputError, match=r"gru-9 cannot be mixed with .*gru-8: --block 9, not 8$"):
        check_mixable([counts, *rows])


def test_other_data_and_what_only_one_vocabulary_has_are_named(folder, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join([*LINES, "abq"]))
    other = counted(tmp_path, "other")
    for first, second in ((load_run(folder / "net"), other), (other, load_run(folder / "net"))):
        sizes = [len(run.vocab) for run in (second, first)]
        assert sorted(sizes) == [4, 5]
        with pytest.raises(InputError) as caught:
            check_mixable([first, second])
        assert str(caught.value) == (
            f"{second.path} cannot be mixed with {first.path}: other data: "
            f"{second.config.data.data}, not {first.config.data.data}; another vocabulary: "
            f"{sizes[0]} symbols, not {sizes[1]}; only one of them has 'q'"
        )


# What is written is what is read


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_mixture_is_read_as_it_was(folder, tmp_path, kind):
    runs = [load_run(folder / name) for name in ("net", "kneser-ney")]
    model, params, result = mix(tmp_path / "mixed", runs, kind)
    loaded = load_run(tmp_path / "mixed")
    assert loaded.model is model
    assert_trees_identical(loaded.params, params)
    assert loaded.config == config_of(runs, kind)
    assert (loaded.vocab, loaded.step) == (runs[0].vocab, None)
    assert read_samples(loaded.folder, loaded.config) == result.samples
    dev = run_dataset(loaded).splits.dev
    assert result.dev_loss == pytest.approx(float(evaluate(model, params, dev)), rel=1e-6)


@pytest.fixture(scope="module")
def heeding(folder):
    """The directory of a mixture of the net and Kneser-Ney with Good-Turing, and what is in it."""
    runs = [load_run(folder / name) for name in ("net", "kneser-ney")]
    choices, dataset = MixtureConfig(good_turing=True), run_dataset(runs[0])
    mixed = mixture_of(runs, "log-linear"), with_weights(runs, WEIGHTS["log-linear"])
    model, params, fit = heed_repeats(*mixed, choices, dataset)
    assert fit is not None
    config = dataclasses.replace(config_of(runs, "log-linear"), model=choices)
    result = save_mixture(folder / "heeding", config, model, params, dataset)
    return folder / "heeding", config, model, params, result


def test_a_saved_mixture_with_good_turing_is_read_as_it_was(heeding):
    path, config, model, params, result = heeding
    loaded = load_run(path)
    assert loaded.model is model
    assert_trees_identical(loaded.params, params)
    assert loaded.config == config
    dev = run_dataset(loaded).splits.dev
    assert result.dev_loss == pytest.approx(float(evaluate(model, params, dev)), rel=1e-6)


def test_without_good_turing_a_mixture_stays_as_it_is(folder):
    runs = [load_run(folder / name) for name in ("net", "kneser-ney")]
    model, params = mixture_of(runs, "linear"), with_weights(runs, (0.5, 0.5))
    found = heed_repeats(model, params, MixtureConfig("linear"), run_dataset(runs[0]))
    assert found == (model, params, None)


def test_it_can_be_mixed_again(heeding, folder, tmp_path):
    runs = [load_run(heeding[0]), load_run(folder / "counts")]
    model, params, _ = mix(tmp_path / "again", runs)
    loaded = load_run(tmp_path / "again")
    assert loaded.model is model
    assert_trees_identical(loaded.params, params)


def test_a_mixture_needs_none_of_its_members(mixed, folder, tmp_path):
    for name in ("mixed", "net", "kneser-ney"):
        shutil.copytree(folder / name, tmp_path / name)
    mix(tmp_path / "again", [load_run(tmp_path / name) for name in ("net", "kneser-ney")])
    for name in ("net", "kneser-ney"):
        shutil.rmtree(tmp_path / name)
    assert_trees_identical(load_run(tmp_path / "again").params, load_run(mixed).params)


def test_a_mixture_of_a_mixture_and_of_several_seeds_is_read_as_it_was(mixed, folder, tmp_path):
    runs = [load_run(mixed), load_run(folder / "two nets")]
    assert runs[1].params["W1"].shape == (2, 6, 3)
    model, params, _ = mix(tmp_path / "nested", runs, "linear")
    loaded = load_run(tmp_path / "nested")
    assert loaded.config.runs == (runs[0].config, runs[1].config)
    found, before = (
        np.asarray(quick_jit(each.apply)(values, TOKENS))
        for each, values in ((loaded.model, loaded.params), (model, params))
    )
    assert found.tolist() == before.tolist()
    first, second = (softmax64(quick_jit(run.model.apply)(run.params, TOKENS)) for run in runs)
    np.testing.assert_allclose(np.exp(found), 0.625 * first + 0.375 * second, rtol=1e-5)


# Damaged


def with_weights_of(*values):
    return lambda arrays: arrays.update(weights=np.array(values, np.float32))


def drop(start):
    def change(arrays):
        for name in [name for name in arrays if name.startswith(start)]:
            del arrays[name]

    return change


NO_WEIGHTS = "weights are not 2 numbers of 0 or more"
DAMAGES = {
    "too many weights": (with_weights_of(0.5, 0.25, 0.25), NO_WEIGHTS),
    "too few weights": (with_weights_of(1.0), NO_WEIGHTS),
    "a number": (lambda arrays: arrays.update(weights=np.float32([[1, 2]])), NO_WEIGHTS),
    "a negative weight": (with_weights_of(1.5, -0.5), NO_WEIGHTS),
    "nan": (with_weights_of(0.5, np.nan), NO_WEIGHTS),
    "no weights": (drop("weights"), NO_WEIGHTS),
    "no net": (drop("members.0."), "C is None, should be float32.4, 2."),
    "no counts": (drop("members.1."), "logits"),
    "a member too many": (
        lambda arrays: arrays.update({"members.2.W": np.zeros((4, 4), np.float32)}),
        r"members\.2\.W is unknown",
    ),
    "a shape": (
        lambda arrays: arrays.update({"members.0.b2": np.zeros(5, np.float32)}),
        "b2 is float32.5., should be float32.4.",
    ),
}


OF_TREE = {
    "no tree": (drop("tree."), "first is missing"),
    "no symbols": (drop("tree.symbols"), "symbols is missing"),
    "no weights of the mixture": (drop("model.weights"), NO_WEIGHTS),
    "an array too many": (
        lambda arrays: arrays.update({"other": np.zeros(4, np.float32)}),
        "other is unknown",
    ),
}


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_parameters_are_refused(mixed, tmp_path, damage, complaint):
    refuse_damaged(mixed, tmp_path, damage, complaint)


NO_WEIGHTS_BY_BIN = NO_WEIGHTS + " for each bin"
OF_FREQUENCY = {
    "no table": (drop("frequency."), "bins is missing"),
    "no symbols": (drop("frequency.symbols"), "symbols is missing"),
    "a bin too high": (
        lambda arrays: arrays.update({"weights": arrays["weights"][:2].copy()}),
        "bins has a number out of its range",
    ),
    "weights for one bin": (with_weights_of(0.5, 0.5), NO_WEIGHTS_BY_BIN),
    "no bins": (
        lambda arrays: arrays.update(weights=np.zeros((0, 2), np.float32)),
        NO_WEIGHTS_BY_BIN,
    ),
    "one member": (
        lambda arrays: arrays.update(weights=arrays["weights"][:, :1].copy()),
        NO_WEIGHTS_BY_BIN,
    ),
    "first": (
        lambda arrays: arrays.update({"frequency.first": np.zeros(3, np.int32)}),
        "first is int32.3., should be int32.5.",
    ),
}


@pytest.mark.parametrize(("damage", "complaint"), OF_FREQUENCY.values(), ids=OF_FREQUENCY.keys())
def test_damaged_parameters_by_frequency_are_refused(by_frequency, tmp_path, damage, complaint):
    refuse_damaged(by_frequency, tmp_path, damage, complaint)


@pytest.mark.parametrize(("damage", "complaint"), OF_TREE.values(), ids=OF_TREE.keys())
def test_damaged_parameters_with_good_turing_are_refused(heeding, tmp_path, damage, complaint):
    refuse_damaged(heeding[0], tmp_path, damage, complaint)


def refuse_damaged(folder, tmp_path, damage, complaint):
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "params.safetensors"
    arrays = load_file(path)
    damage(arrays)
    save_file(arrays, path)
    with pytest.raises(InputError, match=complaint) as caught:
        load_run(tmp_path / "copy")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_weights_given_are_those_of_the_parameters(folder):
    runs = [load_run(folder / name) for name in ("net", "counts")]
    params = with_weights(runs, (0.25, 0.5))
    assert params["weights"].dtype == jnp.float32
    assert params["weights"].tolist() == [0.25, 0.5]
    assert [params["members"][name] for name in "01"] == [run.params for run in runs]
