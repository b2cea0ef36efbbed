"""Choices that say where to run and what to keep on the way; no model depends on them.

Imports no jax.
"""

import dataclasses
from typing import Annotated

from mm_jax.config.base import MAX_FLOAT, Between, Choices, Count, InputError


@dataclasses.dataclass(frozen=True)
class RuntimeConfig(Choices):
    """Where to run, which decides how fast, and what comes out at most to rounding."""

    members_per_slice: Annotated[int | None, Between(1, 10**6)] = None
    """Members that are trained at once as one program; by default one a core, or on a GPU or TPU
    as many as fit in half of its memory."""
    data_parallel: Count = 1
    """Devices that share each batch; members are split over the others."""
    coordinator: str | None = None
    """HOST:PORT of process 0, where many processes do this together; auto on a TPU or Slurm."""
    num_processes: Annotated[int | None, Between(1, 10**6)] = None
    """How many processes there are."""
    process_id: Annotated[int | None, Between(0, 10**6)] = None
    """Which of them this is, from 0 on."""

    deterministic: bool = False
    """The same bits on any number of cores (one thread), and from a GPU each time."""

    def __post_init__(self) -> None:
        """Check what no field can tell by itself."""
        super().__post_init__()
        numbers = (self.num_processes, self.process_id)
        if self.coordinator is None:
            if numbers != (None, None):
                raise InputError("--num-processes and --process-id need a --coordinator HOST:PORT")
        elif (self.num_processes is None) != (self.process_id is None):
            raise InputError("--num-processes and --process-id belong together")
        elif self.coordinator != "auto":
            port = self.coordinator.rpartition(":")[2]
            if not (":" in self.coordinator and port.isdecimal()):
                raise InputError(
                    f"--coordinator must be HOST:PORT or auto, not {self.coordinator!r}"
                )
            if self.num_processes is None or self.process_id is None:
                raise InputError("--coordinator HOST:PORT needs --num-processes and --process-id")
            if self.process_id >= self.num_processes:
                raise InputError(
                    f"--process-id {self.process_id} must be below --num-processes "
                    f"{self.num_processes}: they are numbered from 0 on"
                )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig(Choices):
    """What is kept while training goes on, so that it can be stopped and go on at any moment."""

    resume: bool = False
    """Go on with what is in --out, from its newest checkpoint; begin where nothing is there."""
    strict: bool = False
    """Refuse to go on where the newest checkpoint is damaged; by default the one before it is used.
    """
    checkpoint_every: Annotated[int | None, Between(1, 2**31 - 1)] = None
    """Keep a checkpoint every so many steps; --checkpoint-seconds counts too where it is given."""
    checkpoint_seconds: Annotated[float | None, Between(0, MAX_FLOAT)] = None
    """Keep a checkpoint every so many seconds, by default every 10; without this flag never so
    often that it costs more than 1% of the time."""

    def __post_init__(self) -> None:
        """Check what no field can tell by itself."""
        super().__post_init__()
        if self.strict and not self.resume:
            raise InputError("--strict is for --resume")
