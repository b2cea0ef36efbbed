"""Many devices: what is put on them and comes back, and losses that are those of one.

Eight devices are forced on the CPU, which has to be said before JAX begins: in another process.
"""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mm_jax.config.base import InputError
from mm_jax.config.runtime import RuntimeConfig
from mm_jax.runtime import mesh
from tests.helpers import assert_trees_identical

EIGHT = "--xla_force_host_platform_device_count=8"
ON_EIGHT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from mm_jax import population
from mm_jax.config.base import InputError
from mm_jax.config.training import OptimizerConfig
from mm_jax.training.optimizers import make_optimizer
from mm_jax.runtime.mesh import make_mesh, place, whole
from mm_jax.models.mlp import mlp
from mm_jax.data.text import read_lines
from mm_jax.training.state import init_state
from mm_jax.training.step import fit
from mm_jax.data.vocab import build_vocab
from mm_jax.data.batches import windows

lines = read_lines().lines[:43]
vocab = build_vocab(lines)
model, data = mlp(len(vocab), 3, 4, 8, "scaled", 0.1), windows(lines, vocab, 3)
optimizer = make_optimizer(OptimizerConfig("adamw", learning_rate=0.01), 20)
keys = jax.vmap(jax.random.key)(jnp.arange(8))
start = population.init(model, optimizer, keys, learning_rate=jnp.geomspace(0.01, 0.1, 8))
found = {"devices": jax.device_count(), "examples": len(data.targets)}

def after(batch_size, mesh, state, data):
    state, losses = population.fit(
        model, optimizer, state, data, num_steps=20, batch_size=batch_size, mesh=mesh
    )
    return state, whole([losses, population.evaluate(model, state.params, data, mesh=mesh)])

for batch_size, ways in (16, (1, 8)), (None, (2,)):
    _, alone = after(batch_size, None, start, data)
    for shared in ways:
        mesh = make_mesh(8, shared)
        state, ours = after(batch_size, mesh, place(start, mesh, "models"), place(data, mesh))
        far = max(float(abs(a - b).max()) for a, b in zip(ours, alone))
        parts = {shard.data.shape[0] for shard in state.params["W1"].addressable_shards}
        found[f"{batch_size} {shared}"] = [far, sorted(parts), list(mesh.shape.values())]

one, mesh = init_state(model, optimizer, jax.random.key(0)), make_mesh(1, 4)
options = {"num_steps": 20, "batch_size": 16}
_, alone = fit(model, optimizer, one, data, **options)
_, ours = fit(model, optimizer, place(one, mesh), place(data, mesh), mesh=mesh, **options)
found["one"] = float(abs(whole(ours) - np.asarray(alone)).max())
found["refused"] = []
for wrong in (lambda: make_mesh(1, 3), lambda: after(12, make_mesh(1, 8), start, data)):
    try:
        wrong()
    except InputError as error:
        found["refused"].append(str(error))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT],
        cwd=tmp_path_factory.mktemp("eight"),
        env={**os.environ, "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {EIGHT}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "shared"), [("16", 1), ("16", 8), ("None", 2)])
def test_eight_devices_give_the_losses_of_one(on_eight, batch, shared):
    """Members are split over devices, then batches, then both; a full batch does not divide."""
    assert on_eight["devices"] == 8
    assert on_eight["examples"] % 2 == 1
    far, members, shape = on_eight[f"{batch} {shared}"]
    assert far < 1e-5
    assert shape == [8 // shared, shared]
    assert members == [shared]  # of the eight, on each device


@pytest.mark.slow
def test_a_single_model_shares_its_batch_among_devices(on_eight):
    assert on_eight["one"] < 1e-5


@pytest.mark.slow
def test_devices_that_cannot_be_divided_are_refused(on_eight):
    devices, batch = on_eight["refused"]
    assert devices == "--data-parallel 3 does not divide the 8 available devices"
    assert batch == "8 devices do not divide a batch of 12 examples"


@pytest.mark.parametrize(
    ("num_models", "num_data", "reason"),
    [
        (1, 3, "--data-parallel 3 does not divide the 8 available devices"),
        (1, 16, "--data-parallel 16 does not divide the 8 available devices"),
        (2, 2, "2 of 4 groups of devices would have work, .* --data-parallel 4 shares each batch"),
    ],
)
def test_devices_of_several_processes_must_all_have_work(monkeypatch, num_models, num_data, reason):
    monkeypatch.setattr(jax, "devices", lambda: list(range(8)))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match=reason):
        mesh.make_mesh(num_models, num_data)


def test_what_is_placed_comes_back_whole_and_keys_stay_keys():
    one = mesh.make_mesh(3)
    assert dict(one.shape) == {"models": 1, "data": 1}
    tree = {"W": jnp.arange(6.0).reshape(2, 3), "key": jax.random.split(jax.random.key(3), 2)}
    placed = mesh.place(tree, one, "models")
    assert_trees_identical(placed, tree)
    assert all(leaf.sharding.mesh == one for leaf in jax.tree.leaves(placed))
    whole = mesh.whole({"W": placed["W"]})
    assert isinstance(whole["W"], np.ndarray)
    assert mesh.split(tree, None, 0) is tree


def test_a_process_joins_the_others_where_a_coordinator_is_named(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.config, "update", lambda *each: calls.append(each))
    monkeypatch.setattr(jax.distributed, "initialize", lambda **each: calls.append(each))
    mesh.join(RuntimeConfig())
    assert calls == []
    mesh.join(RuntimeConfig(coordinator="auto"))
    mesh.join(RuntimeConfig(coordinator="host:1", num_processes=3, process_id=2))
    assert [each for each in calls if isinstance(each, dict)] == [
        {"initialization_timeout": mesh.JOIN_SECONDS},
        {
            "coordinator_address": "host:1",
            "num_processes": 3,
            "process_id": 2,
            "initialization_timeout": mesh.JOIN_SECONDS,
        },
    ]


def test_a_coordinator_that_is_not_found_is_one_line(monkeypatch):
    def fail(**_):
        raise RuntimeError("deadline exceeded\nand more")

    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(InputError) as error:
        mesh.join(RuntimeConfig(coordinator="auto"))
    assert str(error.value) == "--coordinator auto: deadline exceeded"
