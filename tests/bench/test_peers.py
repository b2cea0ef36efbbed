"""What mm_jax is compared with computes the same."""

import pytest

from mm_jax.bench import ours, peers


def test_every_way_to_count_counts_the_same(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("emma\nolivia\nava\n" * 50)
    ways = (ours.counting, peers.counting_with_add_at, peers.counting_with_counter)
    assert {count(str(path))["total"] for count in ways} == {(5 + 7 + 4) * 50}


def test_pytorch_takes_the_steps_of_the_lecture():
    pytest.importorskip("torch", reason="PyTorch is not installed")
    short, longer = (peers.training_in_pytorch(steps, compiled=False) for steps in (2, 400))
    assert max(longer["losses"]) < min(short["losses"])
    assert len(longer["samples"]) == 20
