"""A profile of training steps: a trace for Perfetto or TensorBoard, and how long each part takes.

The steps are taken apart from training and thrown away: a run has the same bits with a profile.
"""

import gzip
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from mm_jax.config.base import InputError
from mm_jax.data.batches import Batch
from mm_jax.models.base import Model
from mm_jax.runtime.atomic_files import make_dir, write_whole
from mm_jax.training.step import TrainState, fit

STEPS = 50  # that are traced; with more the file is longer, and says the same
SCOPES = ("minibatches", "embed", "hidden", "logits", "loss", "update")
OTHER = "other"
TRACE = "trace.json.gz"  # for Perfetto; what lies beside it is for TensorBoard
HOLDERS = ("while", "call", "conditional")  # operations that hold others, which are counted


class Profile(NamedTuple):
    """What a step is made of."""

    path: Path  # the trace
    microseconds: dict[str, float]  # a step: of each scope, and of the gradients back through it


def profile(
    folder: Path,
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    *,
    batch_size: int | None,
    mesh: Mesh | None = None,
) -> Profile:
    """Trace STEPS steps from ``state`` on into ``folder``, which is made where it is missing.

    Each operation of the trace begins with the name of its scope. Raises InputError where the
    folder cannot be written to.
    """
    make_dir(folder)
    options: dict[str, Any] = {"num_steps": STEPS, "batch_size": batch_size, "mesh": mesh}
    leaves, tree = jax.tree.flatten((state, data))

    def take(leaves: list[jax.Array]) -> Any:
        return fit(model, optimizer, *jax.tree.unflatten(tree, leaves), **options)

    steps = jax.jit(take).lower(leaves).compile()
    jax.block_until_ready(steps(leaves))
    before = set(folder.glob("plugins/profile/*/*"))
    try:
        with jax.profiler.trace(folder):
            jax.block_until_ready(steps(leaves))
        new = set(folder.glob("plugins/profile/*/*")) - before
        [path] = [path for path in new if path.name.endswith(TRACE)]
        trace = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"cannot write a profile into {folder}: {error}") from None
    found = name_events(trace["traceEvents"], scopes_of(steps.as_text() or ""))
    write_whole(folder / TRACE, gzip.compress(json.dumps(trace).encode(), mtime=0))
    return Profile(folder / TRACE, {scope: each / STEPS for scope, each in found.items()})


def scopes_of(program: str) -> dict[str, str]:
    """Return the scope of each operation of a compiled program, from its text.

    >>> scopes_of('%dot.1 = f32[] dot(%a, %b), metadata={op_name="jit(fit)/jvp(hidden)/dot"}')
    {'dot.1': 'hidden'}
    """
    named = re.compile(r'%?([\w.-]+) = .*metadata=\{[^}]*op_name="([^"]*)"')
    found = (named.search(line) for line in program.splitlines())
    return {each[1]: scope_of(each[2]) for each in found if each}


def scope_of(op_name: str) -> str:
    """Return the innermost scope in the name that JAX gives an operation.

    >>> scope_of("jit(fit)/while/body/transpose(jvp(hidden))/dot_general")
    'hidden, gradient'
    """
    names = re.findall(rf"\b({'|'.join(SCOPES)})\b", op_name)
    if not names:
        return OTHER
    return f"{names[-1]}, gradient" if "transpose(jvp(" in op_name else names[-1]


def name_events(events: list[dict[str, Any]], scopes: dict[str, str]) -> dict[str, float]:
    """Put the scope before the name of each operation; return the microseconds of each scope.

    An operation counts with its median, as often as it was done: now and then one has to wait.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        operation = (event.get("args") or {}).get("hlo_op")
        if event.get("ph") != "X" or operation is None or operation.split(".")[0] in HOLDERS:
            continue
        event["name"] = f"{scopes.get(operation, OTHER)}: {event['name']}"
        times[operation].append(event["dur"])
    found: dict[str, float] = defaultdict(float)
    for operation, each in times.items():
        found[scopes.get(operation, OTHER)] += len(each) * statistics.median(each)
    wanted = (name for scope in (*SCOPES, OTHER) for name in (scope, f"{scope}, gradient"))
    return {name: found[name] for name in wanted if name in found}
