"""What a finished or interrupted training reports: its record for --json, and lines of text."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from mm_jax.cli.common import describe_losses, describe_members, members_record
from mm_jax.config.base import InputError
from mm_jax.data.samples import Samples
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.seed_ensemble import EnsembleResult
from mm_jax.experiments.training_loop import TrainResult
from mm_jax.runs.layout import METRICS
from mm_jax.training.profiler import Profile

MAX_CHART_BYTES = 10**7  # of metrics, as of some fifty seeds; to read more would be a wait


class TrainReport(NamedTuple):
    """What is printed of a training, and how the command ends."""

    record: dict[str, Any]  # for --json
    lines: list[str]
    exit_code: int = 0  # 1 where it diverged; above 1: a signal stopped it, without results
    reason: str | None = None  # where it did not reach its last step
    samples: Samples | None = None


def report_run(
    end: TrainResult,
    result: EvalResult | None,
    checkpoint_seconds: float,
    profile: Profile | None,
    stop_code: int,
) -> TrainReport:
    """Report the run of one model; without a ``result`` it was stopped, with ``stop_code``."""
    lines = [
        f"time       {end.steps_taken:,} steps in {end.seconds:.1f} s; "
        f"{end.steps_per_second:,.0f} steps/s"
    ]
    record = {
        "steps": end.step,
        "seconds": end.seconds,
        "steps_per_second": end.steps_per_second,
        "checkpoint_seconds": checkpoint_seconds,
        **_result_record(result),
    }
    if result is None:
        return TrainReport(record, lines, stop_code, end.reason)
    lines = [*describe_losses(result), *lines]
    if profile is not None:
        record["profile"] = {"trace": str(profile.path), "microseconds": profile.microseconds}
        lines += describe_profile(profile)
    return TrainReport(record, lines, 1 if end.reason else 0, end.reason, result.samples)


def report_seeds(
    end: EnsembleResult, result: EvalResult | None, num_steps: int, stop_code: int
) -> TrainReport:
    """Report the run of several seeds; without a ``result`` it was stopped, with ``stop_code``."""
    lines = [
        f"time       {end.num_trained} members in {end.seconds:.1f} s; "
        f"{end.steps_per_second:,.0f} steps/s"
    ]
    record = {"seconds": end.seconds, "steps_per_second": end.steps_per_second}
    if result is None:
        return TrainReport(record | _result_record(None), lines, stop_code, end.reason)
    record |= {"steps": num_steps, **_result_record(result), **members_record(end.members)}
    lines = [*describe_members(end.members), *describe_losses(result, "ensemble"), *lines]
    return TrainReport(record, lines, 1 if end.reason else 0, end.reason, result.samples)


def _result_record(result: EvalResult | None) -> dict[str, Any]:
    if result is None:
        return {"train_loss": None, "dev_loss": None, "samples": [], "num_cut": 0}
    return {
        "train_loss": result.train_loss,
        "dev_loss": result.dev_loss,
        **result.units.record,
        "samples": result.samples.texts,
        "num_cut": sum(result.samples.cut),
    }


def describe_profile(profile: Profile) -> list[str]:
    """Return lines on what a step is made of, and how to open the trace."""
    total = sum(profile.microseconds.values())
    lines = [
        f"profile    {profile.path}: drop it on ui.perfetto.dev, or: tensorboard --logdir "
        f"{profile.path.parent}"
    ]
    for scope, microseconds in profile.microseconds.items():
        share = microseconds / total
        lines.append(f"           {microseconds:8.2f} us per step, {share:6.1%}  {scope}")
    return lines


def draw_losses(path: Path) -> list[str]:
    """Return the losses of a run as a chart of text; of an ensemble those of its first member."""
    from mm_jax.reports.text_charts import loss_chart
    from mm_jax.runs.metrics import loss_curves, read_lines

    with contextlib.suppress(InputError, OSError):  # what was trained is kept, chart or not
        if (path / METRICS).stat().st_size < MAX_CHART_BYTES:
            for curve in loss_curves(read_lines(path / METRICS)):
                if len(curve.steps) > 1:
                    return ["", *loss_chart(curve), ""]
    return []
