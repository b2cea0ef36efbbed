import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.models import sampling
from mm_jax.models.sampling import filter_logits, likeliest, sample, sample_in_chunks
from tests.helpers import (
    V,
    assert_frequencies,
    assert_trees_identical,
    bigram,
    first_params,
    fixed_logits,
    forced,
    gru,
    quick_jit,
    softmax64,
)

KEY = jax.random.key(0)
LOGITS = np.log(np.array([0.05, 0.5, 0.15, 0.3], np.float32))  # the nucleus: 1, then 3, 2, 0
STUB = fixed_logits(4)
DRAWS = 20_000
quick_sample = quick_jit(sample, static_argnames=("model", "num", "max_len"))


def first_symbols(**options):
    """What is drawn first, by one program without top_k and one with it."""
    params = {"logits": jnp.asarray(LOGITS)}
    options = {"temperature": 1.0, "top_p": 1.0, **options}
    return np.asarray(quick_sample(STUB, params, KEY, num=DRAWS, max_len=1, **options)[0])[:, 0]


def test_forced_text_comes_out_and_ends():
    tokens, ended = quick_sample(forced((3, 1, 2), 5), {}, KEY, num=4, max_len=6)
    assert tokens.tolist() == [[3, 1, 2, 0, 0, 0]] * 4
    assert ended.tolist() == [True] * 4
    assert tokens.dtype == jnp.int32


@pytest.mark.parametrize(("max_len", "ends"), [(2, False), (3, False), (4, True)])
def test_a_line_that_reaches_max_len_is_cut_and_says_so(max_len, ends):
    tokens, ended = quick_sample(forced((3, 1, 2), 5), {}, KEY, num=2, max_len=max_len)
    assert tokens.tolist() == [[3, 1, 2, 0][:max_len]] * 2
    assert ended.tolist() == [ends] * 2


def test_after_its_end_a_line_is_all_boundaries_while_others_continue():
    params = {"W": jnp.asarray(np.random.default_rng(0).standard_normal((V, V)), jnp.float32)}
    tokens, ended = map(np.asarray, quick_sample(bigram(), params, KEY, num=200, max_len=60))
    lengths = (np.cumsum(tokens == 0, axis=1) == 0).sum(1)
    assert len(set(lengths.tolist())) > 10
    assert all(not row[length:].any() for row, length in zip(tokens, lengths, strict=True))
    assert (ended == (lengths < 60)).all()


def test_the_first_symbol_is_drawn_as_often_as_its_probability_says():
    assert_frequencies(first_symbols(), [0.05, 0.5, 0.15, 0.3])


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits(temperature):
    draws = first_symbols(temperature=temperature)
    assert_frequencies(draws, softmax64(LOGITS / temperature))


@pytest.mark.parametrize(("top_k", "kept"), [(1, [1]), (2, [1, 3]), (3, [1, 2, 3])])
def test_top_k_draws_from_the_k_likeliest(top_k, kept):
    assert_frequencies(first_symbols(top_k=top_k), nucleus(kept))


def nucleus(kept):
    probs = np.array([0.05, 0.5, 0.15, 0.3]) * np.isin(np.arange(4), kept)
    return probs / probs.sum()


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, [1]), (0.7, [1, 3]), (0.9, [1, 2, 3])])
def test_top_p_draws_from_the_nucleus(top_p, kept):
    assert_frequencies(first_symbols(top_p=top_p), nucleus(kept))


def test_temperature_comes_before_top_p():
    # At temperature 1/2 the squares count: 0.25, 0.09, 0.0225, 0.0025 of 0.365.
    squares = np.array([0.0025, 0.25, 0.0225, 0.09])
    assert_frequencies(first_symbols(temperature=0.5, top_p=0.68), [0, 1, 0, 0])
    expected = squares * [0, 1, 0, 1] / (0.25 + 0.09)
    assert_frequencies(first_symbols(temperature=0.5, top_p=0.7), expected)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (4, 0.0, [1]),  # at least one
        (4, 0.45, [1]),
        (4, 0.55, [1, 3]),
        (4, 0.79, [1, 3]),
        (4, 0.81, [1, 2, 3]),
        (4, 0.96, [0, 1, 2, 3]),
        (2, 0.62, [1]),  # of what top_k left, symbol 1 has 0.5 / 0.8 = 0.625
        (2, 0.63, [1, 3]),
        (2, 0.99, [1, 3]),
        (1, 0.99, [1]),
        (9, 0.99, [0, 1, 2, 3]),
    ],
)
def test_the_filter_keeps_what_was_computed_by_hand(top_k, top_p, kept):
    logits = FILTER(jnp.asarray(LOGITS), jnp.int32(top_k), jnp.float32(top_p))
    expected = np.where(np.isin(np.arange(4), kept), LOGITS, -np.inf)
    assert logits.tolist() == expected.tolist()


FILTER = quick_jit(filter_logits)


@pytest.mark.parametrize(
    ("top_k", "kept"), [(4, [0, 20, -5, 3]), (0, [-np.inf, 20, *[-np.inf] * 2])]
)
def test_top_p_1_keeps_all_that_rounding_calls_impossible_and_top_k_0_the_likeliest(top_k, kept):
    logits = FILTER(jnp.array([0.0, 20.0, -5.0, 3.0]), jnp.int32(top_k), jnp.float32(1.0))
    assert logits.tolist() == kept


def test_of_equal_logits_the_lower_ids_stay():
    logits = FILTER(jnp.zeros(4), jnp.int32(2), jnp.float32(1.0))
    assert logits.tolist() == [0.0, 0.0, -np.inf, -np.inf]


@pytest.fixture(scope="module")
def names():
    """Lines of a small recurrent model: (model, params, tokens, ended)."""
    model = gru()
    params = first_params(model, 1)
    return model, params, *map(np.asarray, sample(model, params, KEY, num=40, max_len=20))


def test_filters_that_keep_everything_change_nothing(names):
    model, params, tokens, _ = names
    same, _ = sample(model, params, KEY, num=40, max_len=20, top_k=V, top_p=1.0, temperature=1.0)
    assert np.array_equal(same, tokens)


def test_temperature_0_is_greedy(names):
    model, params, _, _ = names
    tokens, _ = quick_sample(model, params, KEY, num=3, max_len=12, temperature=0.0)
    step, carry, line, token = quick_jit(model.step), model.start(params), [], jnp.int32(0)
    for _ in range(12):
        carry, logits = step(params, carry, token)
        token = jnp.int32(np.argmax(logits))
        line.append(int(token))
        if token == 0:
            break
    assert tokens.tolist() == [line + [0] * (12 - len(line))] * 3
    near, _ = quick_sample(model, params, KEY, num=3, max_len=12, temperature=1e-6)
    one, _ = quick_sample(model, params, KEY, num=3, max_len=12, top_k=1)
    assert tokens.tolist() == near.tolist() == one.tolist()


def test_temperature_0_with_a_prefix_and_filters_is_greedy_too():
    tokens = first_symbols(temperature=0.0, top_k=3, top_p=0.99)
    assert (tokens == 1).all()


def test_the_second_symbol_is_independent_of_the_first_where_the_model_says_so():
    logits = jnp.asarray(np.append(-np.inf, LOGITS[1:]), jnp.float32)
    tokens, ended = quick_sample(STUB, {"logits": logits}, KEY, num=DRAWS, max_len=2)
    assert not ended.any()
    probs = nucleus([1, 2, 3])
    pairs = np.asarray(tokens) @ [4, 1]
    assert_frequencies(pairs, np.outer(probs, probs).ravel())


def test_the_second_symbol_follows_from_the_first_as_the_model_says():
    probs = np.array([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.5, 0.4, 0.1]])
    params = {"W": jnp.asarray(np.log(probs), jnp.float32)}
    tokens, _ = map(np.asarray, quick_sample(bigram(3), params, KEY, num=DRAWS, max_len=2))
    assert_frequencies(tokens[:, 0], probs[0])
    for symbol in 1, 2:
        assert_frequencies(tokens[tokens[:, 0] == symbol, 1], probs[symbol])


@pytest.mark.parametrize("given", [[5], [5, 13, 13]])
def test_a_line_begins_with_its_prefix_and_continues_as_the_model_says(names, given):
    model, params, _, _ = names
    prefix = jnp.asarray(given, jnp.int32)
    tokens, _ = quick_sample(model, params, KEY, num=3, max_len=12, temperature=0.0, prefix=prefix)
    assert tokens[:, : len(given)].tolist() == [given] * 3
    row = jnp.asarray([0, *tokens[0].tolist()[:-1]], jnp.int32)
    likeliest = np.asarray(quick_jit(model.apply)(params, row)).argmax(-1)
    line = tokens[0].tolist()
    end = line.index(0) + 1 if 0 in line else 12
    assert line[len(given) : end] == likeliest[len(given) : end].tolist()


def test_forced_text_continues_after_a_prefix():
    tokens, ended = quick_sample(
        forced((3, 1, 2), 5), {}, KEY, num=2, max_len=5, prefix=jnp.array([4])
    )
    assert tokens.tolist() == [[4, 1, 2, 0, 0]] * 2
    assert ended.all()


def test_a_prefix_as_long_as_max_len_comes_back_cut_and_a_longer_one_is_refused():
    model = forced((3, 1, 2), 5)
    tokens, ended = quick_sample(model, {}, KEY, num=2, max_len=2, prefix=jnp.array([4, 1]))
    assert tokens.tolist() == [[4, 1]] * 2
    assert not ended.any()
    with pytest.raises(InputError, match="prefix has 3 symbols, more than max_len, 2"):
        quick_sample(model, {}, KEY, num=2, max_len=2, prefix=jnp.array([4, 1, 2]))


def test_a_line_is_the_same_whatever_the_number_of_lines_and_parts(names):
    model, params, tokens, ended = names
    some, _ = sample(model, params, KEY, num=3, max_len=20)
    assert np.array_equal(some, tokens[:3])
    rest, rest_ended = sample(model, params, KEY, num=37, max_len=20, first=3)
    assert np.array_equal(rest, tokens[3:])
    assert np.array_equal(rest_ended, ended[3:])
    assert len({tuple(row) for row in tokens.tolist()}) == 40


def test_another_key_gives_other_lines(names):
    model, params, tokens, _ = names
    other, _ = sample(model, params, jax.random.key(1), num=40, max_len=20)
    assert not (np.asarray(other) == tokens).all(1).any()


def test_a_model_that_reads_only_so_far_is_not_asked_for_more():
    model = forced((3, 1, 2), 5)._replace(max_len=8)
    with pytest.raises(InputError, match="at most 8 symbols"):
        quick_sample(model, {}, KEY, num=1, max_len=9)
    tokens, _ = quick_sample(model, {}, KEY, num=1, max_len=8)
    assert tokens.tolist() == [[3, 1, 2, 0, 0, 0, 0, 0]]


def test_it_works_under_jit_and_vmap_over_parameters(names):
    model, params, tokens, _ = names
    many = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), params)
    each = quick_jit(jax.vmap(lambda p: sample(model, p, KEY, num=40, max_len=20)[0]))(many)
    assert np.array_equal(each[0], tokens)
    assert not np.array_equal(each[1], tokens)


@pytest.mark.parametrize("prefix", [None, [2, 1]])
def test_lines_that_take_turns_are_those_drawn_one_by_one(prefix, monkeypatch):
    monkeypatch.setattr(sampling, "CPU_SLOTS", 7)
    weights = np.random.default_rng(0).standard_normal((V, V)).astype(np.float32)
    params, given = {"W": jnp.asarray(weights)}, prefix or []
    tokens, ended = quick_sample(
        bigram(),
        params,
        KEY,
        num=53,
        max_len=19,
        prefix=None if prefix is None else jnp.array(prefix),
    )
    draw = quick_jit(
        lambda i, place, logits: jax.random.categorical(
            jax.random.fold_in(jax.random.fold_in(KEY, i), place), logits
        )
    )
    for i in range(53):
        line = list(given)
        while len(line) < 19 and (len(line) == len(given) or line[-1]):
            line.append(int(draw(i, len(line), weights[line[-1] if line else 0])))
        assert tokens[i].tolist() == line + [0] * (19 - len(line))
        assert bool(ended[i]) == (line[-1] == 0)


def test_parts_side_by_side_are_the_lines_of_one_call(monkeypatch):
    monkeypatch.setattr(sampling, "CPU_SLOTS", 7)
    monkeypatch.setattr(sampling, "num_cores", lambda: 3)
    params = {"W": jnp.asarray(np.random.default_rng(1).standard_normal((V, V)), jnp.float32)}
    whole = quick_sample(bigram(), params, KEY, num=100, max_len=20)
    for symbols in (2**20, 11 * 20):  # a part on each core; more parts than cores
        monkeypatch.setattr(sampling, "MAX_CHUNK_SYMBOLS", symbols)
        options = {"num": 100, "max_len": 20, "temperature": 1.0, "prefix": None}
        parts = list(sample_in_chunks(bigram(), params, KEY, **options))
        assert [len(tokens) for tokens, _ in parts] == (
            [34, 34, 32] if symbols > 10**4 else [11] * 9 + [1]
        )
        for each, all_of_it in zip(zip(*parts, strict=True), whole, strict=True):
            assert np.array_equal(np.concatenate(each), all_of_it)


def test_the_likeliest_is_what_argmax_says():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 3, (200, 5)).astype(np.float32)  # with many ties
    scores[rng.random(scores.shape) < 0.1] = np.nan
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores[:2] = [[np.inf] * 5, [-np.inf] * 5]
    ids = quick_jit(jax.vmap(likeliest))(scores)
    assert ids.dtype == jnp.int32
    assert ids.tolist() == np.argmax(scores, 1).tolist()


def test_lines_of_many_symbols_are_drawn_with_fewer_side_by_side_and_are_the_same(monkeypatch):
    model, params = bigram(), first_params(bigram())
    key = jax.random.key(3)
    expected = jax.device_get(sample(model, params, key, num=20, max_len=6))
    monkeypatch.setattr(sampling, "MAX_LOGITS", 7 * V)
    jax.clear_caches()
    assert_trees_identical(jax.device_get(sample(model, params, key, num=20, max_len=6)), expected)
