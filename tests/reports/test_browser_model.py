"""The model in a page: its parameters, what cannot be carried, and its title."""

import base64
import json

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.reports.browser_model import payload, title_of
from mm_jax.reports.html import model_of_page
from mm_jax.runs.reader import load_run


def arrays_of(run):
    arrays = json.loads(payload(run))["arrays"]
    return {name: np.frombuffer(base64.b64decode(text), "<f4") for name, text in arrays.items()}


def test_the_payload_of_counts_is_their_logits(run_path):
    run = load_run(run_path("counts"))
    expected = np.log(np.asarray(run.params["counts"]) + 0.5)
    np.testing.assert_allclose(arrays_of(run)["logits"], expected.reshape(-1), rtol=1e-6)
    model = json.loads(payload(run))
    assert (model["kind"], model["context"], model["members"]) == ("table", 1, 1)


def test_the_context_of_a_table_is_what_its_rows_are_numbered_by(run_path):
    for name, context in (("unigram", 0), ("bigram", 1), ("trigram", 2)):
        run = load_run(run_path(name))
        assert json.loads(payload(run))["context"] == context
        assert arrays_of(run)["logits"].size == len(run.vocab) ** (context + 1)


def test_the_payload_of_kneser_ney_are_the_ngrams_that_occur(run_path):
    run = load_run(run_path("kneser-ney"))
    arrays = arrays_of(run)
    num_states, num_ngrams = len(run.params["logits"]), len(arrays["symbols"])
    assert json.loads(payload(run))["kind"] == "backoff"
    assert len(arrays["parents"]) == len(arrays["gammas"]) == num_states
    assert arrays["first"][-1] == num_ngrams < run.params["logits"].size / 2
    assert arrays["logits"].size == arrays["next"].size == len(run.vocab)


def test_the_members_of_an_ensemble_come_one_after_another(run_path):
    run = load_run(run_path("ensemble"))
    model = json.loads(payload(run))
    assert (model["kind"], model["members"], model["context"]) == ("mlp", 2, 3)
    for name, array in arrays_of(run).items():
        np.testing.assert_array_equal(array, np.asarray(run.params[name]).reshape(-1))
        assert len(run.params[name]) == 2


def test_a_model_that_a_page_cannot_carry_is_refused(run_path, monkeypatch):
    monkeypatch.setattr("mm_jax.reports.browser_model.MAX_BYTES", 100)
    for name in ("mlp", "counts", "kneser-ney"):
        with pytest.raises(InputError, match="a page can carry at most 100 B"):
            payload(load_run(run_path(name)))
    model, why_not = model_of_page(load_run(run_path("mlp")))  # a report is made without it
    assert model == ""
    assert why_not.startswith("This page cannot sample from the model: the parameters of")


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
