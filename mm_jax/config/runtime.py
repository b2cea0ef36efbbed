"""Where a run is computed and which checkpoints it keeps; no result depends on these choices.

Imports no jax.
"""

import dataclasses
from typing import Annotated

from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError


@dataclasses.dataclass(frozen=True)
class RuntimeConfig(Choices):
    """Where to run: it decides the speed and changes results by no more than rounding."""

    members_per_slice: Annotated[int | None, Between(1, 10**6)] = None
    """Members trained together.
    By default one per core, or on a GPU or TPU as many as fit in half of its memory."""
    data_parallel: Count = 1
    """Devices that share each batch; the members are spread over the other devices."""
    coordinator: str | None = None
    """HOST:PORT of process 0, for training in several processes; auto on a TPU or with Slurm."""
    num_processes: Annotated[int | None, Between(1, 10**6)] = None
    """Number of processes."""
    process_id: Annotated[int | None, Between(0, 10**6)] = None
    """Number of this process, counted from 0."""

    deterministic: bool = False
    """Give the same bits on any number of cores (one thread), and on a GPU every time."""

    def __post_init__(self) -> None:
        """Check the limits of each field, and that the choices about processes fit together."""
        super().__post_init__()
        numbers = (self.num_processes, self.process_id)
        if self.coordinator is None:
            if numbers != (None, None):
                raise InputError("--num-processes and --process-id need a --coordinator HOST:PORT")
        elif (self.num_processes is None) != (self.process_id is None):
            raise InputError("--num-processes and --process-id belong together")
        elif self.coordinator != "auto":
            self._check_address(self.coordinator)

    def _check_address(self, coordinator: str) -> None:
        port = coordinator.rpartition(":")[2]
        if not (":" in coordinator and port.isdecimal()):
            raise InputError(f"--coordinator must be HOST:PORT or auto, not {coordinator!r}")
        if self.num_processes is None or self.process_id is None:
            raise InputError("--coordinator HOST:PORT needs --num-processes and --process-id")
        if self.process_id >= self.num_processes:
            raise InputError(
                f"--process-id {self.process_id} must be below --num-processes "
                f"{self.num_processes}: processes are numbered from 0"
            )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Choices):
    """When checkpoints are written, and whether to resume from one."""

    resume: bool = False
    """Resume the run in --out from its newest checkpoint; start it if there is none yet."""
    strict: bool = False
    """Stop if the newest checkpoint is damaged; by default --resume takes the one before it."""
    checkpoint_every: Annotated[int | None, Between(1, 2**31 - 1)] = None
    """Write a checkpoint every N steps; if --checkpoint-seconds is given too, both count."""
    checkpoint_seconds: Annotated[float | None, Between(0, MAX_FLOAT)] = None
    """Write a checkpoint every N seconds.
    By default every 10, but never so often that it costs more than 1% of the time."""

    def __post_init__(self) -> None:
        """Check the limits of each field, and that strict comes with resume."""
        super().__post_init__()
        if self.strict and not self.resume:
            raise InputError("--strict needs --resume")
