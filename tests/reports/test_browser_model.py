"""The model in a page: its parameters, what cannot be carried, and its title."""

import base64
import dataclasses

import jax
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.reports.browser_model import WEB, generator_page, payload, title_of
from mm_jax.reports.html import model_of_page
from mm_jax.runs.reader import load_run
from tests.helpers import strict_json
from tests.random_run import ENSEMBLES, NETS, random_run, small


def model_of(run):
    return strict_json(payload(run).text)


def arrays_of(run):
    arrays, shapes = (model_of(run)[what] for what in ("arrays", "shapes"))
    assert arrays.keys() == shapes.keys()
    return {name: np.frombuffer(base64.b64decode(text), "<f4") for name, text in arrays.items()}


def test_the_payload_of_counts_is_their_logits(run_path):
    run = load_run(run_path("counts"))
    expected = np.log(np.asarray(run.params["counts"]) + 0.5)
    np.testing.assert_allclose(arrays_of(run)["logits"], expected.reshape(-1), rtol=1e-6)
    model = model_of(run)
    assert (model["kind"], model["context"], model["members"]) == ("table", 1, 1)


def test_the_context_of_a_table_is_what_its_rows_are_numbered_by(run_path):
    for name, context in (("unigram", 0), ("bigram", 1), ("trigram", 2)):
        run = load_run(run_path(name))
        model, shape = model_of(run), [len(run.vocab)] * (context + 1)
        assert (model["numbers"]["context"], model["shapes"]["logits"]) == (context, shape)
        assert arrays_of(run)["logits"].size == len(run.vocab) ** (context + 1)


def test_the_payload_of_kneser_ney_are_the_ngrams_that_occur(run_path):
    run = load_run(run_path("kneser-ney"))
    arrays = arrays_of(run)
    num_states, num_ngrams = len(run.params["logits"]), len(arrays["symbols"])
    assert model_of(run)["kind"] == "backoff"
    assert len(arrays["parents"]) == len(arrays["gammas"]) == num_states
    assert arrays["first"][-1] == num_ngrams < run.params["logits"].size / 2
    assert arrays["logits"].size == arrays["next"].size == len(run.vocab)


def test_the_members_of_an_ensemble_come_one_after_another(run_path):
    run = load_run(run_path("ensemble"))
    model = model_of(run)
    assert (model["kind"], model["members"], model["context"]) == ("mlp", 2, 3)
    for name, array in arrays_of(run).items():
        np.testing.assert_array_equal(array, np.asarray(run.params[name]).reshape(-1))
        assert len(run.params[name]) == 2


@pytest.mark.parametrize("name", [*NETS, *ENSEMBLES])
def test_a_page_has_all_numbers_of_a_net_and_its_script(tmp_path, data, name):
    members = 2 if name in ENSEMBLES else 1
    run = random_run(tmp_path, data, (NETS | ENSEMBLES)[name], members)
    model, arrays = model_of(run), arrays_of(run)
    assert model["members"] == members
    for array, shape in model["shapes"].items():
        assert arrays[array].size == members * np.prod(shape)
    sums = [float(np.sum(np.abs(leaf))) for leaf in jax.tree.leaves(run.params)]
    np.testing.assert_allclose(sum(np.abs(each).sum() for each in arrays.values()), sum(sums))
    layers, kind, *rest = payload(run).script_names
    assert (layers, kind) == ("layers.js", f"models/{model['kind']}.js")
    assert rest == ["payload.js", "generator.js"]
    assert f"MODELS.{model['kind']} = " in (WEB / kind).read_text()


@pytest.mark.parametrize("name", [*NETS, *ENSEMBLES, "counts"])
def test_a_page_names_the_array_that_is_the_embedding(tmp_path, run_path, data, name):
    if name == "counts":
        run = load_run(run_path(name))
    else:
        members = 2 if name in ENSEMBLES else 1
        run = random_run(tmp_path, data, (NETS | ENSEMBLES)[name], members)
    model, table = model_of(run), run.model.embedding
    assert payload(run).has_embedding == (table is not None)
    if table is None:
        assert model["embedding"] is None
        return
    expected = np.asarray(table(run.params))
    assert model["shapes"][model["embedding"]] == list(expected.shape)
    np.testing.assert_array_equal(arrays_of(run)[model["embedding"]], expected.reshape(-1))


def test_the_members_of_an_ensemble_of_nested_parameters_come_one_after_another(tmp_path, data):
    run = random_run(tmp_path, data, small("lstm"), 3)
    assert model_of(run)["shapes"]["U1"] == [12, 48]
    array = arrays_of(run)["U1"].reshape(3, 12, 48)
    np.testing.assert_array_equal(array, run.params["layer1"]["U"])


def test_an_item_is_as_long_as_the_data_and_the_positions_of_a_net_allow(tmp_path, data):
    for positions, max_len in ((24, 24), (64, 64), (99, 64)):
        run = random_run(tmp_path, data, small("transformer", positions=positions))
        assert model_of(run)["max_len"] == max_len
        assert model_of(run)["context"] is None
    document = dataclasses.replace(data, items="document")
    model = model_of(random_run(tmp_path, document, small("bow", positions=16)))
    assert (model["max_len"], model["endless"]) == (16, True)
    assert model_of(random_run(tmp_path, document, small("lstm")))["max_len"] == 500


def test_a_model_that_a_page_cannot_carry_is_refused(run_path, monkeypatch):
    monkeypatch.setattr("mm_jax.reports.browser_model.MAX_BYTES", 100)
    for name in ("mlp", "counts", "kneser-ney"):
        with pytest.raises(InputError, match="a page can carry at most 100 B"):
            payload(load_run(run_path(name)))
    model, why_not = model_of_page(load_run(run_path("mlp")))  # a report is made without it
    assert model is None
    assert why_not.startswith("This page cannot sample from the model: the parameters of")


def test_what_is_too_large_is_refused_before_it_is_made(run_path, monkeypatch):
    monkeypatch.setattr("mm_jax.reports.browser_model.MAX_BYTES", 100)
    run, asked = load_run(run_path("counts")), []

    def for_browser(params):
        asked.append(params["counts"])
        return run.model.for_browser(params)

    with pytest.raises(InputError, match="a page can carry at most 100 B"):
        payload(run._replace(model=run.model._replace(for_browser=for_browser)))
    assert [isinstance(counts, jax.core.Tracer) for counts in asked] == [True]


def test_a_model_that_says_nothing_of_a_browser_has_no_page_yet(run_path):
    run = load_run(run_path("mlp"))
    run = run._replace(model=run.model._replace(for_browser=None))
    with pytest.raises(InputError, match="has no page yet") as refusal:
        generator_page(run)
    assert "\n" not in str(refusal.value)
    model, why_not = model_of_page(run)
    assert model is None
    assert why_not.startswith("This page cannot sample from the model: the model of")


def test_a_page_is_called_by_its_model_and_its_data(run_path):
    titles = {
        name: title_of(load_run(run_path(name))) for name in ("mlp", "ensemble", "bigram", "counts")
    }
    assert titles == {
        "mlp": "Multilayer perceptron on names.txt",
        "ensemble": "Multilayer perceptron, ensemble of 2 seeds on names.txt",
        "bigram": "Neural bigram on names.txt",
        "counts": "N-gram counts on names.txt",
    }
