"""Parts of a population: what is kept is what comes back, from one file or several."""

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


def part(*members, until=10, step=10, dev=True):
    """A part whose every number tells whose it is."""
    rows = np.array(members, np.float32)
    return SliceCheckpoint(
        members,
        until,
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
def parts(request, tmp_path):
    return PopulationCheckpoints(tmp_path if request.param == "a directory" else None, "mine")


def test_a_part_on_its_way_comes_back_as_it_is(parts):
    going = part(3, 4, step=6, dev=False)
    parts.save(going)
    assert same(parts.find([3, 4], 10, 0), going)
    assert parts.find([3], 10, 0) is None  # other slices begin anew
    assert parts.find([4, 3], 10, 0) is None
    assert parts.ended(10, [3, 4]) == []
    assert parts.taken == 12
    parts.save(part(3, 4, step=8, dev=False))
    assert parts.find([3, 4], 10, 0).step == 8


def test_members_that_have_ended_are_found_in_any_slice_of_the_next_rung(parts):
    for members in ((0, 1), (2, 5), (7, 3)):
        parts.save(part(*members))
    parts.flush()
    assert parts.ended(10, range(9)) == [0, 1, 2, 3, 5, 7]
    found = parts.find([5, 0, 3], 20, 10)
    assert same(found, part(5, 0, 3, until=20, dev=False))
    assert parts.find([5, 6], 20, 10) is None
    assert same(parts.member(10, 7), part(7))
    assert parts.member(10, 7).dev_losses == [0.7]


def test_what_waits_goes_into_one_file_and_can_be_asked_for_meanwhile(tmp_path):
    parts = PopulationCheckpoints(tmp_path, "mine")
    parts.cost = 1e9  # as if writing took long, so that all wait
    parts.at = float("inf")
    parts.save(part(8, step=4, dev=False))
    for number in (8, 1, 5):
        parts.save(part(number))
    assert same(parts.member(10, 5), part(5))
    folder = tmp_path / "checkpoints"
    assert len(list(folder.iterdir())) == 1  # of 8, on its way
    parts.flush()
    assert sorted(path.name for path in folder.iterdir()) == [
        "members-0000000010-000008.safetensors"
    ]
    again = PopulationCheckpoints(tmp_path, "mine")
    again.open(pytest.fail)
    for each in (parts, again):
        assert each.ended(10, range(9)) == [1, 5, 8]
        assert each.taken == 30
        assert all(same(each.member(10, number), part(number)) for number in (1, 5, 8))
    arrays, count = finished_members(tmp_path, 10)
    assert count == 3
    assert arrays["W"][:, 0].tolist() == [1, 5, 8]
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_part_is_told_and_one_of_another_population_refused(tmp_path):
    parts = PopulationCheckpoints(tmp_path, "mine")
    parts.save(part(0))
    parts.save(part(1))
    parts.flush()
    path = tmp_path / "checkpoints/members-0000000010-000000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    told = []
    again = PopulationCheckpoints(tmp_path, "mine")
    again.open(told.append)
    assert [type(error) for error in told] == [DamagedError]
    assert again.ended(10, [0, 1]) == [1]
    with pytest.raises(InputError, match="of a population with other choices, or on other data"):
        PopulationCheckpoints(tmp_path, "other").open(told.append)


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
