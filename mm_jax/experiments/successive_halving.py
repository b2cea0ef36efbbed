"""Settings, each of several seeds -> what each reaches on dev, and the members of the best one.

Enters: the choices of every member. Leaves: results, lowest mean dev loss first. With successive
halving (Jamieson and Talwalkar 2016) all train a part of their steps, and only the better half of
the settings goes on, again and again.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.experiments.grouping import Group
from mm_jax.experiments.population_loop import Member, Rung, train_members
from mm_jax.experiments.statistics import Spread, spread_of
from mm_jax.runs.population_checkpoints import PopulationCheckpoints


class SettingResult(NamedTuple):
    """What a setting reached."""

    setting: int  # its number
    losses: list[float]  # on dev, in nats, of each seed; not finite where it diverged
    spread: Spread
    steps: int  # taken; less than all where it was dropped on the way
    num_params: int


class SearchResult(NamedTuple):
    """What a search found."""

    results: list[SettingResult]  # those that went furthest first, of these the lowest loss first
    best: list[Member]  # the members of the first result; empty where none was finished
    complete: bool  # whether nothing was stopped before its end


class _BestSetting:
    """Keeps what each member reached, and the members themselves of the best setting only."""

    def __init__(self, num_seeds: int) -> None:
        self.num_seeds, self.lock = num_seeds, threading.Lock()
        self.pending: dict[int, dict[int, Member]] = {}
        self.results: dict[int, SettingResult] = {}
        self.best: list[Member] = []
        self.lowest = math.inf

    def keep(self, number: int, member: Member) -> None:
        """Take a member; where its setting is whole, hold it against the best."""
        setting, seed = divmod(number, self.num_seeds)
        with self.lock:
            seeds = self.pending.setdefault(setting, {})
            seeds[seed] = member
            if len(seeds) < self.num_seeds:
                return
            del self.pending[setting]
            members = [seeds[i] for i in range(self.num_seeds)]
            self.results[setting] = result_of(setting, members)
            mean = self.results[setting].spread.mean
            if mean < self.lowest:
                self.best, self.lowest = members, mean


def _steps_at(share: int, config: RunConfig) -> int:
    return 0 if share == 0 else config.steps if share == 1 else max(1, config.steps // share)


def result_of(setting: int, members: Sequence[Member]) -> SettingResult:
    """Return what the members of a setting reached."""
    losses = [math.nan if m.dev_loss is None else m.dev_loss for m in members]
    first = members[0]
    return SettingResult(setting, losses, spread_of(losses), first.steps, first.num_params)


def _reached(
    held: Mapping[int, Member], settings: Sequence[int], num_seeds: int
) -> list[SettingResult]:
    """Return what settings reached all of whose members are there, lowest loss first."""
    numbers = {
        setting: range(setting * num_seeds, (setting + 1) * num_seeds) for setting in settings
    }
    results = [
        result_of(setting, [held[i] for i in numbers[setting]])
        for setting in settings
        if all(i in held for i in numbers[setting])
    ]
    return sorted(results, key=lambda result: result.spread.mean)


def search(
    configs: Sequence[RunConfig],
    programs: Sequence[Group],
    num_seeds: int,
    *,
    halvings: int = 0,
    parts: PopulationCheckpoints | None = None,
    pace: CheckpointConfig | None = None,
    update: Callable[[int, float], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Train all members and return what their settings reached.

    ``configs`` are the seeds of the first setting, those of the second, and so on; ``programs`` are
    theirs; ``parts`` and ``pace``: see train_members. Members are let go as soon as another setting
    is better. What ``stop()`` ends before the end of its rung has no result.
    """
    num_settings = len(configs) // num_seeds
    alive = list(range(num_settings))
    dropped: list[SettingResult] = []
    held: dict[int, Member] | None = None
    parts = parts or PopulationCheckpoints()
    done, begun = 0, 0  # steps of all members before a rung; the share of steps that it begins at

    def go_on(steps: int, loss_nats: float) -> None:
        if update:
            update(done + steps, loss_nats)

    def light(_: int, member: Member) -> Member:
        return member._replace(params={}, lines=[])

    best = _BestSetting(num_seeds)
    train = partial(
        train_members, configs, programs, parts=parts, pace=pace, update=go_on, stop=stop
    )
    for count, share in rungs(num_settings, halvings):
        if held is not None:
            reached = _reached(held, alive, num_seeds)
            dropped += reached[count:]
            alive = [result.setting for result in reached[:count]]
        members = {setting * num_seeds + i for setting in alive for i in range(num_seeds)}
        rung = Rung(partial(_steps_at, share), partial(_steps_at, begun), members)
        if share > 1:
            held = train(rung=rung, keep=light)
            if len(held) < len(members):
                return SearchResult(_reached(held, alive, num_seeds) + dropped, [], False)
            done += sum(rung.until(configs[i]) - rung.before(configs[i]) for i in members)
            begun = share
        else:
            train(rung=rung, keep=best.keep)
    last = sorted(best.results.values(), key=lambda result: result.spread.mean)
    dropped.sort(key=lambda result: (-result.steps, result.spread.mean))
    return SearchResult(last + dropped, best.best, len(best.results) == len(alive))


def describe_result(result: SettingResult, changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a setting reached, for --json and sweep.json; ``changes`` are all settings'."""
    return {
        "setting": result.setting,
        "choices": changes[result.setting],
        "num_params": result.num_params,
        "steps": result.steps,
        "mean_dev_loss": result.spread.mean,
        "dev_loss_interval": result.spread.half,
        "dev_losses": result.losses,
    }


def member_rows(
    results: Sequence[SettingResult], changes: Sequence[Mapping[str, Any]], seed: int
) -> Iterator[list[Any]]:
    """Return the lines of members.csv: names, then a line for each seed, from ``seed`` on."""
    yield ["setting", *changes[0], "seed", "num_params", "steps", "dev_loss"]
    for result in results:
        for i, loss in enumerate(result.losses):
            values = changes[result.setting].values()
            yield [result.setting, *values, seed + i, result.num_params, result.steps, loss]


def rungs(num_settings: int, halvings: int) -> Iterator[tuple[int, int]]:
    """Return how many settings go on at each rung, and which share of the steps, 1 / n, it ends at.

    Successive halving (Jamieson and Talwalkar 2016): with each rung the steps double and the worse
    half of the settings is dropped.

    >>> list(rungs(16, 2))
    [(16, 4), (8, 2), (4, 1)]
    """
    for rung in range(halvings + 1):
        yield max(1, num_settings >> rung), 2 ** (halvings - rung)
