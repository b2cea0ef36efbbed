"""Checkpoints of a population: what is saved is what comes back, from one file or several."""

import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.data import DataConfig
from mm_jax.config.training import RunConfig
from mm_jax.runs.checkpoint import DamagedError
from mm_jax.runs.population_checkpoints import (
    PopulationCheckpoints,
    SliceCheckpoint,
    finished_members,
    population_digest,
)


def checkpoint(*members, end_step=10, step=10, dev=True):
    """A checkpoint whose every number tells whose it is."""
    rows = np.array(members, np.float32)
    return SliceCheckpoint(
        members,
        end_step,
        step,
        {
            "params.W": rows[:, None] + np.zeros((1, 3), np.float32),
            "step": np.full(len(members), step, np.int32),
        },
        rows[:, None] + np.arange(2.0),
        np.zeros((len(members), 0), np.float32),
        [float(member) / 10 for member in members] if dev else None,
    )


def same(one, other):
    assert one.arrays.keys() == other.arrays.keys()
    arrays = [(one.arrays[name], other.arrays[name]) for name in one.arrays]
    for a, b in [*arrays, (one.means, other.means), (one.pending, other.pending)]:
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return one._replace(arrays={}, means=0, pending=0) == other._replace(
        arrays={}, means=0, pending=0
    )


@pytest.fixture(params=["a directory", "memory"])
def checkpoints(request, tmp_path):
    return PopulationCheckpoints(tmp_path if request.param == "a directory" else None, "mine")


def test_a_checkpoint_within_a_rung_comes_back_as_it_is(checkpoints):
    before = checkpoint(3, 4, step=6, dev=False)
    checkpoints.save(before)
    assert same(checkpoints.find([3, 4], 10, 0), before)
    assert checkpoints.find([3], 10, 0) is None  # other slices begin anew
    assert checkpoints.find([4, 3], 10, 0) is None
    assert checkpoints.ended(10, [3, 4]) == []
    assert not checkpoints.is_empty
    assert checkpoints.steps_taken == 12
    checkpoints.save(checkpoint(3, 4, step=8, dev=False))
    assert checkpoints.find([3, 4], 10, 0).step == 8


def test_members_that_have_ended_are_found_in_any_slice_of_the_next_rung(checkpoints):
    for members in ((0, 1), (2, 5), (7, 3)):
        checkpoints.save(checkpoint(*members))
    checkpoints.flush()
    assert checkpoints.ended(10, range(9)) == [0, 1, 2, 3, 5, 7]
    found = checkpoints.find([5, 0, 3], 20, 10)
    assert same(found, checkpoint(5, 0, 3, end_step=20, dev=False))
    assert checkpoints.find([5, 6], 20, 10) is None
    assert same(checkpoints.ended_member(10, 7), checkpoint(7))
    assert checkpoints.ended_member(10, 7).dev_losses == [0.7]


def test_slices_that_ended_go_into_one_file_and_are_found_before_that(tmp_path):
    checkpoints = PopulationCheckpoints(tmp_path, "mine")
    checkpoints.flush_seconds = 1e9  # as if writing took long, so that none is written yet
    checkpoints.flushed_at = float("inf")
    checkpoints.save(checkpoint(8, step=4, dev=False))
    for number in (8, 1, 5):
        checkpoints.save(checkpoint(number))
    assert same(checkpoints.ended_member(10, 5), checkpoint(5))
    folder = tmp_path / "checkpoints"
    assert len(list(folder.iterdir())) == 1  # of 8, within the rung
    checkpoints.flush()
    assert sorted(path.name for path in folder.iterdir()) == [
        "members-0000000010-000008.safetensors"
    ]
    again = PopulationCheckpoints(tmp_path, "mine")
    again.open(pytest.fail)
    for each in (checkpoints, again):
        assert each.ended(10, range(9)) == [1, 5, 8]
        assert each.steps_taken == 30
        assert all(same(each.ended_member(10, number), checkpoint(number)) for number in (1, 5, 8))
    arrays, count = finished_members(tmp_path, 10)
    assert count == 3
    assert arrays["W"][:, 0].tolist() == [1, 5, 8]
    checkpoints.remove()
    assert list(tmp_path.iterdir()) == []
    checkpoints.remove()  # there is nothing to remove, and no error


def test_a_damaged_file_is_reported_and_one_of_another_population_refused(tmp_path):
    checkpoints = PopulationCheckpoints(tmp_path, "mine")
    checkpoints.save(checkpoint(0))
    checkpoints.save(checkpoint(1))
    checkpoints.flush()
    path = tmp_path / "checkpoints/members-0000000010-000000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    damaged = []
    again = PopulationCheckpoints(tmp_path, "mine")
    again.open(damaged.append)
    assert [type(error) for error in damaged] == [DamagedError]
    assert again.ended(10, [0, 1]) == [1]
    with pytest.raises(InputError, match="of a population with other choices, or on other data"):
        PopulationCheckpoints(tmp_path, "other").open(damaged.append)


def test_the_digest_tells_choices_data_and_vocabulary_apart():
    data, configs = {"sha256": "1"}, [RunConfig(), RunConfig(seed=1)]
    of = population_digest(configs, data, (".", "a"))
    assert of == population_digest(list(configs), {"sha256": "1", "path": "elsewhere"}, (".", "a"))
    moved = [RunConfig(DataConfig("elsewhere")), RunConfig(DataConfig("elsewhere"), seed=1)]
    assert of == population_digest(moved, data, (".", "a"))
    others = (
        population_digest(configs[:1], data, (".", "a")),
        population_digest(configs[::-1], data, (".", "a")),
        population_digest(configs, {"sha256": "2"}, (".", "a")),
        population_digest(configs, data, (".", "b")),
        population_digest(
            [RunConfig(DataConfig(split_seed=1)), RunConfig(seed=1)], data, (".", "a")
        ),
    )
    assert len({of, *others}) == 6
