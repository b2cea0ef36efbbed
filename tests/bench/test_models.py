"""The section of all models: what jobs return becomes rows."""

import pytest

from mm_jax.bench import models
from mm_jax.bench.timing import Bench
from mm_jax.runtime.console import Console


def fake_job(name, *, model=None, packed=None, steps=None, num=None):
    if name == "names_from_transformer":
        return {"names": 20000.0}
    if name == "names_in_pytorch":
        return {"names": 200.0}
    if name == "steps_in_pytorch":
        return {"milliseconds": 8.0}
    return {"milliseconds": 4.0, "names": 16000.0 if packed else 8000.0}


@pytest.mark.parametrize("with_torch", [True, False])
def test_each_model_has_its_rows(monkeypatch, with_torch):
    monkeypatch.setattr(models, "job", fake_job)
    rows = models.models(Bench(1, Console(json=True), with_torch=with_torch))
    of_gru = [row for row in rows if "gru" in row.section]
    assert len(of_gru) == 2 + with_torch
    assert (of_gru[0].unit, of_gru[0].median) == ("ms", 4.0)
    assert (of_gru[1].unit, of_gru[1].median) == ("names/s", 16000.0)
    if with_torch:  # 32 names in 8 ms are 4,000 a second
        assert of_gru[1].beside == "4.0 times PyTorch's"
        assert of_gru[2].beside == "2.0 times ours"
    sampled = [row for row in rows if row.section.startswith("names from")]
    assert [row.median for row in sampled] == [20000.0, 200.0][: 1 + with_torch]
    assert sampled[0].beside == ("100 times PyTorch's" if with_torch else "")


def test_names_that_share_rows_are_more_in_a_step():
    padded, packed = (models.model_steps("bow", each, steps=2) for each in (False, True))
    assert padded["milliseconds"] > 0
    per_step = [each["names"] * each["milliseconds"] / 1e3 for each in (padded, packed)]
    assert per_step[0] == pytest.approx(32)
    assert 120 < per_step[1] < 135


def test_names_are_about_as_long_as_those_of_the_data():
    result = models.names_from_transformer(200)
    assert 4 < result["symbols_each"] < 9
    assert result["names"] == pytest.approx(200 / result["seconds"])
