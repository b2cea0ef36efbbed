from unittest.mock import Mock

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.data.batches import windows
from mm_jax.data.vocab import Vocab
from mm_jax.population import planning
from mm_jax.population.planning import SlicePlan, cut_into_slices, make_plan
from mm_jax.training.optimizers import make_optimizer
from mm_jax.training.state import init_state
from tests.helpers import FIVE_NAMES, V, bigram


@pytest.mark.parametrize(
    ("fits", "wanted", "expected"),
    [
        (100, None, (1, 2)),
        (100, 8, (8, 2)),
        (9, 8, (8, 1)),
        (1, None, (1, 1)),
        (100, 20, (20, 1)),
    ],
)
def test_a_cpu_trains_a_member_a_core_or_what_was_asked_for(monkeypatch, fits, wanted, expected):
    monkeypatch.setattr(planning, "num_cores", lambda: 2)
    monkeypatch.setattr(planning, "device_bytes", lambda _: 2000 * fits)
    plan = make_plan(20, 1000, members_per_slice=wanted)
    assert (plan.members, plan.workers) == expected


class Device:
    platform = "gpu"


@pytest.mark.parametrize(("fits", "wanted", "expected"), [(100, None, 20), (7, None, 7), (7, 3, 3)])
def test_a_gpu_trains_what_fits_in_half_of_its_memory(monkeypatch, fits, wanted, expected):
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    monkeypatch.setattr(planning, "device_bytes", lambda _: 2000 * fits)
    assert make_plan(20, 1000, members_per_slice=wanted) == SlicePlan(expected, 1)


def test_what_does_not_fit_is_refused_with_how_many_would(monkeypatch):
    monkeypatch.setattr(planning, "device_bytes", lambda _: 2000 * 3)
    with pytest.raises(InputError, match="--members-per-slice 4: only 3 members of about"):
        make_plan(20, 1000, members_per_slice=4)
    for wanted in 0, 21:
        with pytest.raises(InputError, match=f"--members-per-slice {wanted} must be from 1 to"):
            make_plan(20, 1000, members_per_slice=wanted)
    with pytest.raises(InputError, match="one model in training takes about"):
        make_plan(20, 4000)


def test_memory_of_a_member_grows_with_its_parameters_and_its_batch():
    optimizer = make_optimizer(OptimizerConfig(learning_rate=0.1), 1)
    batch = windows(FIVE_NAMES, Vocab((".", *"abcdefghijklmnopqrstuvwxyz")), 1)

    def first_state():
        return init_state(bigram(), optimizer, jax.random.key(0))

    small = planning.member_bytes(bigram(), first_state, batch, 8)
    state_bytes = 3 * V * V * 4
    assert state_bytes < small < 20 * state_bytes
    assert planning.member_bytes(bigram(), first_state, batch, 8000) > 10 * small
    assert planning.member_bytes(bigram(), first_state, batch, None) == planning.member_bytes(
        bigram(), first_state, batch, 32
    )


@pytest.mark.parametrize(
    ("platform", "fits", "wanted", "expected"),
    [
        ("gpu", 100, None, 20),  # all members, a multiple of the groups already
        ("gpu", 100, 6, 8),  # what was asked for, rounded up to a multiple of the groups
        ("gpu", 3, None, 12),  # what fits in each group
        ("cpu", 24, None, 12),  # the devices of a CPU share its memory: an eighth each
    ],
)
def test_a_slice_on_a_mesh_is_divided_among_its_groups(
    monkeypatch, platform, fits, wanted, expected
):
    device = type("Device", (), {"platform": platform})
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    monkeypatch.setattr(planning, "device_bytes", lambda _: 2000 * fits)
    mesh = Mock(spec=Mesh, shape={"models": 4, "data": 2}, local_devices=range(8))
    plan = make_plan(20, 1000, members_per_slice=wanted, mesh=mesh)
    assert plan == SlicePlan(expected, 1, mesh)
    assert not plan.alone


def test_members_are_cut_into_slices_in_their_order():
    slices = cut_into_slices(np.array([4, 0, 1, 7, 9]), SlicePlan(2))
    assert [each.tolist() for each in slices] == [[4, 0], [1, 7], [9]]
    assert cut_into_slices(np.arange(0), SlicePlan(2)) == []
    assert SlicePlan(1).alone
    assert not SlicePlan(2).alone
