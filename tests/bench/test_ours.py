"""What is measured of mm_jax: small jobs return numbers of what they did."""

import pytest

from mm_jax.bench import ours


def test_the_operations_of_a_step_are_those_of_six_products():
    # (32, 30) @ (30, 200) and (32, 200) @ (200, 27) forward, and backward two for each of them.
    forward = 2 * 32 * 30 * 200 + 2 * 32 * 200 * 27
    assert ours.step_flops(27, 3, 10, 200, 32) == 3 * forward


def test_the_lectures_job_has_its_vocabulary_and_its_training_examples():
    vocab_size, data = ours.lecture_data()
    assert vocab_size == 27
    assert data.context == 3
    assert 180_000 < data.num_examples < 190_000


def test_encoding_counts_the_predictions(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("emma\nolivia\n")
    result = ours.encoding(str(path))
    assert result["examples"] == 5 + 7
    assert result["seconds"] > 0


@pytest.mark.parametrize("mapped", [False, True])
def test_training_from_a_file_takes_its_steps_either_way(tmp_path, monkeypatch, mapped):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr("mm_jax.data.mapped.MAPPED_BYTES", 0)  # so that it is put back
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{'abc'[: i % 3 + 1]}\n" for i in range(30)))
    assert ours.training_from_a_file(str(path), steps=2000, mapped=mapped)["microseconds"] > 0
    assert not any(tmp_path.glob("*/"))
