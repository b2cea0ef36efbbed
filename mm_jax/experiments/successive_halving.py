"""Settings, each of several seeds -> what each reaches on dev, and the members of the best one.

Enters: the choices of every member. Leaves: results, lowest mean dev loss first. With successive
halving (Jamieson and Talwalkar 2016) all settings are trained for a part of the steps, and only the
better half of them is trained further, again and again.
"""

import itertools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from mm_jax.config.runtime import CheckpointConfig
from mm_jax.config.training import RunConfig
from mm_jax.experiments.grouping import Group
from mm_jax.experiments.members import Member
from mm_jax.experiments.observer import Observer
from mm_jax.experiments.population_loop import Rung, train_members
from mm_jax.experiments.statistics import Spread, spread_of
from mm_jax.runs.population_checkpoints import PopulationCheckpoints


class SettingResult(NamedTuple):
    """What a setting reached."""

    setting: int  # its number
    losses: list[float]  # on dev, nats per symbol, of each seed; not finite where it diverged
    spread: Spread
    steps: int  # taken; fewer than all where it was dropped on a rung
    num_params: int


class SearchResult(NamedTuple):
    """What a search reached."""

    results: list[SettingResult]  # most steps first, of these the lowest mean loss first
    best: list[Member]  # the members of the first result; empty where none was finished
    complete: bool  # whether nothing was stopped before its end
    steps_taken: int  # of all members, those of checkpoints included, as was last reported


class _BestSetting:
    """Keeps the result of every setting, and the members of the best one only."""

    def __init__(self, num_seeds: int) -> None:
        self.num_seeds, self.lock = num_seeds, threading.Lock()
        self.incomplete: dict[int, dict[int, Member]] = {}  # setting -> seed -> member
        self.results: dict[int, SettingResult] = {}
        self.members: list[Member] = []
        self.lowest_mean = math.inf

    def add(self, number: int, member: Member) -> None:
        """Take a member; once its setting is complete, compare that with the best so far."""
        setting, seed = divmod(number, self.num_seeds)
        with self.lock:
            seeds = self.incomplete.setdefault(setting, {})
            seeds[seed] = member
            if len(seeds) < self.num_seeds:
                return
            del self.incomplete[setting]
            members = [seeds[i] for i in range(self.num_seeds)]
            self.results[setting] = result_of(setting, members)
            mean = self.results[setting].spread.mean
            if mean < self.lowest_mean:
                self.members, self.lowest_mean = members, mean


class _RungObserver(Observer):
    """Passes on what a rung reports, its steps counted from the beginning of the first rung."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.steps_before, self.steps_taken = 0, 0  # of all members: in the rungs before; so far

    def message(self, text: str) -> None:
        """Pass on a line of output."""
        self.observer.message(text)

    def warning(self, text: str) -> None:
        """Pass on a warning."""
        self.observer.warning(text)

    def progress(self, step: int, loss_nats: float) -> None:
        """Pass on the progress, the rungs before included."""
        self.steps_taken = self.steps_before + step
        self.observer.progress(self.steps_taken, loss_nats)

    def should_stop(self) -> bool:
        """Check whether the observer asks to stop."""
        return self.observer.should_stop()


def result_of(setting: int, members: Sequence[Member]) -> SettingResult:
    """Return what the members of a setting reached."""
    losses = [math.nan if m.dev_loss is None else m.dev_loss for m in members]
    first = members[0]
    return SettingResult(setting, losses, spread_of(losses), first.steps, first.num_params)


def _complete_results(
    members: Mapping[int, Member], settings: Sequence[int], num_seeds: int
) -> list[SettingResult]:
    """Return the results of those settings of which all members are there, lowest loss first."""
    results = []
    for setting in settings:
        numbers = _member_numbers(setting, num_seeds)
        if all(number in members for number in numbers):
            results.append(result_of(setting, [members[number] for number in numbers]))
    return sorted(results, key=lambda result: result.spread.mean)


def _member_numbers(setting: int, num_seeds: int) -> range:
    return range(setting * num_seeds, (setting + 1) * num_seeds)


def _steps_at(share: int, config: RunConfig) -> int:
    """Return how many steps 1 / ``share`` of all are; none where ``share`` is 0."""
    return 0 if share == 0 else config.steps if share == 1 else max(1, config.steps // share)


def _rung_of(settings: Sequence[int], num_seeds: int, start_share: int, end_share: int) -> Rung:
    ids = {number for setting in settings for number in _member_numbers(setting, num_seeds)}
    return Rung(partial(_steps_at, end_share), partial(_steps_at, start_share), ids)


def _without_arrays(_: int, member: Member) -> Member:
    return member._replace(params={}, lines=[])


def search(
    configs: Sequence[RunConfig],
    groups: Sequence[Group],
    num_seeds: int,
    *,
    halvings: int = 0,
    checkpoints: PopulationCheckpoints | None = None,
    checkpoint_config: CheckpointConfig | None = None,
    observer: Observer | None = None,
) -> SearchResult:
    """Train all members and return what their settings reached.

    ``configs`` are the seeds of the first setting, those of the second, and so on; ``groups`` are
    theirs; ``checkpoints`` and ``checkpoint_config``: see train_members. The members of a setting
    are let go as soon as another setting is better. What the observer stops before the end of its
    rung has no result.
    """
    stages = list(rungs(len(configs) // num_seeds, halvings))
    best, rung_observer = _BestSetting(num_seeds), _RungObserver(observer or Observer())
    train = partial(
        train_members,
        configs,
        groups,
        checkpoints=checkpoints or PopulationCheckpoints(),
        checkpoint_config=checkpoint_config,
        observer=rung_observer,
    )

    remaining = list(range(stages[0][0]))
    dropped: list[SettingResult] = []
    start_share = 0
    for (_, share), (next_count, _) in itertools.pairwise(stages):
        rung = _rung_of(remaining, num_seeds, start_share, share)
        members = train(rung=rung, keep=_without_arrays)
        results = _complete_results(members, remaining, num_seeds)
        if len(members) < len(remaining) * num_seeds:
            return SearchResult(results + dropped, [], False, rung_observer.steps_taken)
        rung_observer.steps_before += sum(rung.num_steps(each.config) for each in members.values())
        remaining = [result.setting for result in results[:next_count]]
        dropped += results[next_count:]
        start_share = share
    train(rung=_rung_of(remaining, num_seeds, start_share, 1), keep=best.add)
    finished = sorted(best.results.values(), key=lambda result: result.spread.mean)
    dropped.sort(key=lambda result: (-result.steps, result.spread.mean))
    complete = len(best.results) == len(remaining)
    return SearchResult(finished + dropped, best.members, complete, rung_observer.steps_taken)


def rungs(num_settings: int, halvings: int) -> Iterator[tuple[int, int]]:
    """Return for each rung how many settings it has, and n: it ends at 1 / n of the steps.

    Successive halving (Jamieson and Talwalkar 2016): with each rung the steps double and the worse
    half of the settings is dropped.

    >>> list(rungs(16, 2))
    [(16, 4), (8, 2), (4, 1)]
    """
    for rung in range(halvings + 1):
        yield max(1, num_settings >> rung), 2 ** (halvings - rung)
