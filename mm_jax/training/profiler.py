"""A profile of training steps: a trace for Perfetto or TensorBoard, and the time of each scope.

The profiled steps are extra ones whose result is discarded, so a profile changes no bit of a run.
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
from mm_jax.data.examples import is_on_host
from mm_jax.models.base import Model
from mm_jax.runtime.atomic_files import make_dir, write_whole
from mm_jax.training.state import TrainState
from mm_jax.training.step import fit, gather_minibatches

NUM_STEPS = 50  # traced; more make the file longer and tell nothing more
SCOPES = ("minibatches", "embed", "hidden", "logits", "loss", "update")
OTHER = "other"
TRACE = "trace.json.gz"  # for Perfetto; the files beside it are for TensorBoard
CONTAINERS = ("while", "call", "conditional")  # operations around others that are counted


class Profile(NamedTuple):
    """Where the time of a step goes."""

    path: Path  # the trace
    microseconds: dict[str, float]  # per step, in each scope and in its backward pass


def profile(
    folder: Path,
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Any,
    *,
    batch_size: int | None,
    mesh: Mesh | None = None,
) -> Profile:
    """Trace NUM_STEPS steps from ``state`` on into ``folder``, which is made where it is missing.

    The name of each operation in the trace begins with its scope. Raises InputError where the
    folder cannot be written to.
    """
    make_dir(folder)
    if is_on_host(data) and batch_size is not None:
        first = int(state.step)
        data = gather_minibatches(data, state.key, first, NUM_STEPS, batch_size, NUM_STEPS)
    options: dict[str, Any] = {"num_steps": NUM_STEPS, "batch_size": batch_size, "mesh": mesh}
    leaves, tree = jax.tree.flatten((state, data))

    def take_steps(leaves: list[jax.Array]) -> Any:
        return fit(model, optimizer, *jax.tree.unflatten(tree, leaves), **options)

    program = jax.jit(take_steps).lower(leaves).compile()
    jax.block_until_ready(program(leaves))
    before = set(folder.glob("plugins/profile/*/*"))
    try:
        with jax.profiler.trace(folder):
            jax.block_until_ready(program(leaves))
        new = set(folder.glob("plugins/profile/*/*")) - before
        [path] = [path for path in new if path.name.endswith(TRACE)]
        trace = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"cannot write a profile into {folder}: {error}") from None
    times = name_events(trace["traceEvents"], scopes_of(program.as_text() or ""))
    write_whole(folder / TRACE, gzip.compress(json.dumps(trace).encode(), mtime=0))
    return Profile(folder / TRACE, {scope: each / NUM_STEPS for scope, each in times.items()})


def scopes_of(program: str) -> dict[str, str]:
    """Return the scope of each operation of a compiled program, from its text.

    >>> scopes_of('%dot.1 = f32[] dot(%a, %b), metadata={op_name="jit(fit)/jvp(hidden)/dot"}')
    {'dot.1': 'hidden'}
    """
    pattern = re.compile(r'%?([\w.-]+) = .*metadata=\{[^}]*op_name="([^"]*)"')
    matches = (pattern.search(line) for line in program.splitlines())
    return {match[1]: scope_of(match[2]) for match in matches if match}


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
    """Prefix the name of each operation with its scope; return the microseconds of each scope.

    An operation counts with its median time, as often as it ran: now and then one has to wait.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        operation = (event.get("args") or {}).get("hlo_op")
        if event.get("ph") != "X" or operation is None or operation.split(".")[0] in CONTAINERS:
            continue
        event["name"] = f"{scopes.get(operation, OTHER)}: {event['name']}"
        times[operation].append(event["dur"])
    totals: dict[str, float] = defaultdict(float)
    for operation, each in times.items():
        totals[scopes.get(operation, OTHER)] += len(each) * statistics.median(each)
    names = (name for scope in (*SCOPES, OTHER) for name in (scope, f"{scope}, gradient"))
    return {name: totals[name] for name in names if name in totals}
