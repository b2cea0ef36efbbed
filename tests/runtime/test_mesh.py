"""Many devices and many processes: the losses are those of one.

Devices are forced on the CPU, which has to be said before JAX begins: each test is a process.
"""

import json
import os
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
EIGHT = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
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
from mm_jax.training.step import fit, init_state
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

for batch_size in 16, None:
    _, alone = after(batch_size, None, start, data)
    for shared in 1, 2, 8:
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


def run(code, *args, cwd, **env):
    """Run Python code in a process of its own; return it, its stdout and stderr."""
    process = start(code, *args, cwd=cwd, **env)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


def start(code, *args, cwd, **env):
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    out = run(ON_EIGHT, cwd=tmp_path_factory.mktemp("eight"), XLA_FLAGS=EIGHT)
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("batch", ["16", "None"])
@pytest.mark.parametrize(("shared", "members"), [(1, 1), (2, 2), (8, 8)])
def test_eight_devices_give_the_losses_of_one(on_eight, batch, shared, members):
    """Members are split over devices, then batches, then both; a full batch does not divide."""
    assert on_eight["devices"] == 8
    assert on_eight["examples"] % 2 == 1
    far, parts, shape = on_eight[f"{batch} {shared}"]
    assert far < 1e-5
    assert shape == [8 // shared, shared]
    assert parts == [members]  # of the eight that each device holds


def test_a_single_model_shares_its_batch_among_devices(on_eight):
    assert on_eight["one"] < 1e-5


def test_devices_that_cannot_be_divided_are_refused(on_eight):
    mesh, batch = on_eight["refused"]
    assert mesh == "--data-parallel 3 does not divide the 8 devices that there are"
    assert batch == "8 devices do not divide a batch of 12 examples"


MAIN = "import sys; from mm_jax.cli import main; sys.exit(main(sys.argv[1:]))"
FLAGS = ["--steps", "40", "--embed-dim", "4", "--hidden-dim", "8", "--init", "scaled", "--json"]


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def in_two_processes(flags, cwd, devices=1):
    """Run a command in two processes that find each other; return what each wrote on stdout."""
    among = ["--coordinator", f"localhost:{free_port()}", "--num-processes", "2"]
    force = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    both = [
        start(MAIN, *flags, *among, "--process-id", str(i), cwd=cwd, XLA_FLAGS=force)
        for i in range(2)
    ]
    ends = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends[0][1] + ends[1][1]
    return [out for out, _ in ends]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("two")
    (path / "names.txt").write_text("\n".join(a + b for a in ("em", "av", "li") for b in "aeiou"))
    return path


def test_two_processes_sweep_as_one_does_and_the_first_writes(folder):
    flags = [
        "sweep",
        "--data",
        "names.txt",
        *FLAGS,
        "--learning-rate",
        "0.1,0.2,0.3",
        "--seeds",
        "2",
    ]
    said, silent = in_two_processes([*flags, "--out", "two"], folder)
    two = json.loads(said)
    one = json.loads(run(MAIN, *flags, "--out", "one", cwd=folder))
    assert silent == ""
    assert [each["choices"] for each in two["settings"]] == [
        each["choices"] for each in one["settings"]
    ]
    for ours, alone in zip(two["settings"], one["settings"], strict=True):
        assert ours["dev_losses"] == pytest.approx(alone["dev_losses"], abs=1e-5)
    assert two["ensemble_dev_loss"] == pytest.approx(one["ensemble_dev_loss"], abs=1e-5)
    names = [sorted(path.name for path in (folder / run).rglob("*")) for run in ("one", "two")]
    assert names[0] == names[1]


def test_two_processes_of_two_devices_share_the_batches_of_one_model(folder):
    flags = ["train", "--data", "names.txt", *FLAGS, "--learning-rate", "0.3"]
    said, silent = in_two_processes(
        [*flags, "--data-parallel", "4", "--out", "shared"], folder, devices=2
    )
    shared = json.loads(said)
    assert silent == ""
    one = json.loads(run(MAIN, *flags, "--out", "alone", cwd=folder))
    assert shared["train_loss"] == pytest.approx(one["train_loss"], abs=1e-5)
    assert shared["dev_loss"] == pytest.approx(one["dev_loss"], abs=1e-5)
    metrics = [
        [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("shared", "alone")
    ]
    assert len(metrics[0]) == len(metrics[1])
    for ours, alone in zip(*metrics, strict=True):
        assert ours == pytest.approx(alone, abs=1e-4)
