"""What training changes: parameters, the state of the optimizer, and the key of the minibatches."""

from typing import Any, TypeAlias

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from mm_jax.config.base import InputError
from mm_jax.models.base import Model, Params
from mm_jax.runtime.keys import as_key

Number: TypeAlias = float | Float[Array, ""]


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and the key that decides its minibatches.

    A population is a TrainState whose arrays have one more leading axis.
    """

    step: Int[Array, "..."]  # () steps taken
    params: Params
    opt_state: Any
    key: Key[Array, "..."]  # ()
    regularization: Float[Array, "..."] | None = None  # () times mean_square(params) is added
    label_smoothing: Float[Array, "..."] | None = None  # () see training_loss
    average: Params | None = None  # moving average of the parameters
    average_decay: Float[Array, "..."] | None = None  # () share of the average that a step keeps

    @property
    def best_params(self) -> Params:
        """The parameters to use: their average where one is kept."""
        return self.params if self.average is None else self.average


def init_state(
    model: Model,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *,
    params: Params | None = None,
    key_data: Key[Array, ""] | None = None,
    init_scale: Number | None = None,
    regularization: Number | None = None,
    label_smoothing: Number | None = None,
    average_decay: Number | None = None,
) -> TrainState:
    """Return the state before the first step: parameters and minibatches both come from ``key``.

    Training starts from a copy of ``params`` where they are given; ``key_data`` decides the
    minibatches in place of ``key``. ``init_scale`` multiplies the initial parameters.
    ``regularization`` times mean_square(params) is added to the loss that is minimised; for
    ``label_smoothing`` see training_loss. Reported losses contain neither. With ``average_decay``
    an exponential moving average of the parameters is kept, in float32 at least; each step keeps
    that share of it, the first steps less (Polyak and Juditsky 1992).

    No array of the state is one of the caller's, so ``train_step`` may overwrite all. Raises
    InputError for a key that is none.
    """
    key = as_key(key, "key")
    key_init = jax.random.split(key)[0]
    key_batch = jax.random.split(key if key_data is None else as_key(key_data, "key_data"))[1]
    params = model.init(key_init) if params is None else params
    if init_scale is not None:
        params = jax.tree.map(lambda leaf: init_scale * leaf, params)
    numbers = (regularization, label_smoothing, average_decay)
    strength, smoothing, decay = (
        None if number is None else jnp.array(number, jnp.float32) for number in numbers
    )
    params, opt_state = _copy((params, optimizer.init(params)))
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=opt_state,
        key=key_batch,
        regularization=strength,
        label_smoothing=smoothing,
        average=None if decay is None else jax.tree.map(_at_least_float32, params),
        average_decay=decay,
    )


def _at_least_float32(leaf: Array) -> Array:
    """Return a copy in a dtype in which a small share of it can be added."""
    return jnp.array(leaf, jnp.promote_types(leaf.dtype, jnp.float32))


def _copy(tree: Any) -> Any:
    """Return a tree whose arrays are its own: not shared with another tree, nor with each other."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]
    copies = iter(_copy_all(arrays))
    copied = [next(copies) if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
    return jax.tree.unflatten(structure, copied)


@jax.jit
def _copy_all(arrays: list[Array]) -> list[Array]:
    return [jnp.copy(array) for array in arrays]


def check_single(state: Any) -> None:
    """Raise InputError where ``state`` is not that of one model."""
    if not isinstance(state, TrainState):
        raise InputError(f"state is {_kind(state)}; it should be a TrainState: see init_state")
    if jnp.ndim(state.step):
        raise InputError(
            f"state is a population of {jnp.shape(state.step)[0]} members; it should be the state "
            "of one model, or train all with population.fit"
        )


def check_state(optimizer: optax.GradientTransformation, state: Any) -> None:
    """Raise InputError where ``state`` is not that of one model, trained by this optimizer."""
    check_single(state)
    expected = jax.eval_shape(optimizer.init, state.params)
    found, wanted = (str(jax.tree.structure(tree)) for tree in (state.opt_state, expected))
    if found != wanted:
        raise InputError(
            f"state.opt_state is that of another optimizer: it is {_short(found)}, and this one's "
            f"is {_short(wanted)}; make the state with init_state and the same optimizer"
        )


def check_population(state: Any) -> int:
    """Return the number of members. Raise InputError where ``state`` is not of a population."""
    if not isinstance(state, TrainState):
        raise InputError(
            f"state is {_kind(state)}; it should be the TrainState of a population, whose arrays "
            "have an axis of members in front: see population.init"
        )
    if jnp.ndim(state.step) != 1:
        raise InputError(
            "state is that of one model; it should be that of a population, whose arrays have an "
            "axis of members in front: see population.init, or train it with fit"
        )
    return len(state.step)


def _kind(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}{length}"


def _short(structure: str, most: int = 120) -> str:
    text = structure.removeprefix("PyTreeDef(").removesuffix(")")
    return text if len(text) <= most else text[:most] + "..."
