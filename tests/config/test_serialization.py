import json
import math
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.models import (
    BigramConfig,
    InterpolatedConfig,
    KneserNeyConfig,
    MixtureConfig,
    MLPConfig,
    NgramConfig,
)
from mm_jax.config.presets import PRESETS
from mm_jax.config.serialization import from_dict, read_count, read_number, to_dict, to_json
from mm_jax.config.training import (
    OPTIMIZERS,
    CountConfig,
    MixConfig,
    OptimizerConfig,
    RunConfig,
)
from tests.helpers import strict_json

counts, seeds = st.integers(1, 2**31 - 1), st.integers(0, 2**32 - 1)
sizes = st.floats(1e-30, 1e30)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
columns = st.fixed_dictionaries({"column": texts}, optional={"weights": texts})
flags = {"merge_numbers": st.booleans(), "sentence_ends": st.booleans()}
tokens = st.fixed_dictionaries(
    {"unit": st.just("word"), "count_words_in": st.just("all")},
    optional={"min_count": counts, **flags},
)
data_configs = st.builds(
    lambda kind, token, **more: DataConfig(**kind, **token, **more),
    kind=st.fixed_dictionaries({"items": st.sampled_from(["line", "paragraph"])}) | columns,
    token=st.just({"unit": "byte"}) | tokens | st.fixed_dictionaries({"lower": st.booleans()}),
    data=texts,
    block=counts,
    split=st.sampled_from(["lecture", "unique", "none"]),
    split_seed=seeds,
)
configs = st.builds(
    RunConfig,
    data=data_configs,
    model=st.builds(BigramConfig, init=st.sampled_from(["lecture", "scaled"]))
    | st.builds(
        MLPConfig,
        context=counts,
        embed_dim=counts,
        hidden_dim=counts,
        init=st.sampled_from(["lecture", "scaled"]),
        dropout=st.floats(0, 0.99),
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
    data_seed=st.none() | seeds,
)
count_configs = st.builds(
    CountConfig,
    data=data_configs,
    model=st.builds(NgramConfig, order=st.integers(1, 30), smoothing=sizes)
    | st.builds(KneserNeyConfig, order=st.integers(2, 6))
    | st.builds(InterpolatedConfig, order=st.integers(2, 6)),
)


def mixtures_of(runs):
    """Mixtures of two or three runs, fitted on dev or on a file, or with weights of one's own."""

    def mixture(data, kind, members, held_out, has_weights):
        configs, paths = zip(*members, strict=True)
        weights = (0.0,) * (len(paths) - 1) + (1.0,)
        can_be_given = held_out is None and kind != "frequency"
        given = weights if has_weights and can_be_given else None
        return MixConfig(data, MixtureConfig(kind), configs, paths, held_out, given)

    return st.builds(
        mixture,
        data=data_configs,
        kind=st.sampled_from(["log-linear", "linear", "frequency"]),
        members=st.lists(st.tuples(runs, texts), min_size=2, max_size=3),
        held_out=st.none() | texts,
        has_weights=st.booleans(),
    )


mix_configs = mixtures_of(configs | count_configs)


@given(configs | count_configs | mix_configs | mixtures_of(count_configs | mix_configs))
def test_choices_survive_json(config):
    again = from_dict(json.loads(to_json(to_dict(config))))
    assert again == config
    assert to_dict(again) == to_dict(config)


def test_a_preset_survives_json():
    for preset in PRESETS.values():
        assert from_dict(json.loads(json.dumps(to_dict(preset.config)))) == preset.config


@given(configs, st.data())
def test_a_missing_choice_is_named(config, data):
    values = to_dict(config)
    table = data.draw(st.sampled_from([values, values["data"], values["optimizer"]]))
    name = data.draw(st.sampled_from(sorted(table)))
    hypothesis.assume(name not in ("data", "model", "optimizer") or table is not values)
    del table[name]
    with pytest.raises(InputError, match=f"missing.*{name}"):
        from_dict(values)


def changed(path, value):
    """The default run's values with one of them changed, by a path such as model.context."""
    values = to_dict(RunConfig())
    *tables, name = path.split(".")
    table = values
    for each in tables:
        table = table[each]
    table[name] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("color", "red", "unknown choice 'color'"),
        ("model.color", "red", "unknown choice 'color'"),
        (
            "model.name",
            "gpu",
            "unknown model 'gpu'; choose from ngram, kneser-ney, interpolated",
        ),
        ("model.name", None, "unknown model None"),
        ("model.context", 0, "--context must be at least 1, not 0"),
        ("model.context", "3", "--context must be of type int"),
        ("data", [1], r"data must be a table of choices, not \[1\]"),
        ("optimizer", None, "optimizer must be a table of choices, not None"),
        ("steps", 1.5, "--steps must be of type int"),
        ("full_batch", 1, "--full-batch must be of type bool"),
    ],
)
def test_wrong_values_are_refused_as_on_the_command_line(path, value, message):
    with pytest.raises(InputError, match=message):
        from_dict(changed(path, value))


COUNTED = CountConfig(DataConfig("a.txt"), NgramConfig())
MIXED = MixConfig(DataConfig("a.txt"), MixtureConfig(), (COUNTED, RunConfig()), ("x", "y"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("runs", "text", "runs must be a list, not 'text'"),
        ("runs", None, "runs must be a list, not None"),
        ("runs", [to_dict(COUNTED)], "two runs or more, each with its path"),
        ("runs", [to_dict(COUNTED)] * 3, "two runs or more, each with its path"),
        ("runs", [to_dict(COUNTED), 1], "a run must be a table of choices, not 1"),
        ("runs", [to_dict(COUNTED), {}], "model must be a table of choices, not None"),
        ("paths", "xy", "paths must be a list, not 'xy'"),
        ("paths", ["x"], "two runs or more, each with its path"),
        ("paths", ["x", 1], "the paths of a mixture must be texts"),
        ("held_out", 1, "the paths of a mixture must be texts"),
        (
            "model",
            {"name": "mixture", "kind": "x", "good_turing": False},
            "--kind must be one of log-linear, linear",
        ),
        ("model", {"name": "mixture", "kind": "linear"}, "missing choice 'good_turing'"),
        ("fixed_weights", 1, "fixed_weights must be a list, not 1"),
        ("fixed_weights", [1.0], "1 weights are given for 2 runs"),
        ("fixed_weights", [1.5, -0.5], "weights must be numbers of 0 or more"),
        ("fixed_weights", [1.0, "1"], "weights must be numbers of 0 or more"),
        ("color", "red", "unknown choice 'color'"),
    ],
)
def test_a_damaged_mixture_is_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        from_dict(to_dict(MIXED) | {name: value})


def test_one_run_is_no_mixture_without_good_turing():
    one = to_dict(MIXED) | {"runs": [to_dict(COUNTED)], "paths": ["x"]}
    with pytest.raises(InputError, match="two runs or more"):
        from_dict(one)
    assert from_dict(one | {"model": one["model"] | {"good_turing": True}}).runs == (COUNTED,)


@pytest.mark.parametrize("name", ["runs", "paths", "held_out", "fixed_weights", "data"])
def test_a_mixture_lacks_nothing(name):
    values = to_dict(MIXED)
    assert from_dict(values) == MIXED
    del values[name]
    with pytest.raises(InputError, match=name):
        from_dict(values)


def test_what_is_no_table_is_refused():
    for values in (None, [], "text"):
        with pytest.raises(InputError, match="config must be a table of choices"):
            from_dict(values)


def test_reading_leaves_the_values_alone():
    values = to_dict(replace(RunConfig(), seed=3))
    before = json.dumps(values)
    from_dict(values)
    assert json.dumps(values) == before


def test_json_is_strict_and_on_one_line():
    text = to_json(
        {"a": [math.nan, (math.inf, {"b": -math.inf})], "c": 1.5, "d": None, "e": "x\ny"}
    )
    assert "\n" not in text
    expected = {"a": ["nan", ["inf", {"b": "-inf"}]], "c": 1.5, "d": None, "e": "x\ny"}
    assert strict_json(text) == expected


@given(st.floats() | st.integers(-(10**300), 10**300))
def test_a_number_is_read_as_it_was_written(value):
    again = read_number(json.loads(to_json(value)), "loss")
    assert type(again) is float
    assert again == float(value) or (math.isnan(again) and math.isnan(value))


@pytest.mark.parametrize("value", ["x", "", None, True, [1.0], 10**400])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=r"^loss is not a number$"):
        read_number(value, "loss")


def test_counts_are_read_exactly():
    for value in (0, 1, 2**53 - 1):
        assert read_count(value, "steps") == value
    for value in (-1, 2**53, 1.0, True, "1", None):
        with pytest.raises(InputError, match=r"^steps is not a count$"):
            read_count(value, "steps")
