"""The time of many models at once: the grid of a range test, and populations."""

import dataclasses
from typing import Any

from mm_jax.bench.ours import lecture_data
from mm_jax.bench.timing import Bench, Row, job, times

NUM_MEMBERS, NUM_STEPS = (1, 16, 256), 1000
DEVICES: dict[str, dict[str, Any]] = {
    "one core": {"one_core": True},
    "all cores": {},
    "all cores, a mesh of eight forced devices": {"devices": 8},
}


def lr_range(bench: Bench) -> list[Row]:
    """Measure the grid of a range test for the lecture's MLP, and a loop of the same runs."""
    import jax
    import optax

    import mm_jax as mm

    vocab_size, data = lecture_data()
    model, config = mm.mlp(vocab_size), mm.LRRangeConfig("grid", seeds=1)
    constant = mm.OptimizerConfig(learning_rate=1.0, schedule="constant")
    optimizer = mm.make_optimizer(constant, config.num_steps)
    state = mm.init_state(model, optimizer, jax.random.key(0))

    def grid(members_per_slice: int | None) -> None:
        options: dict[str, Any] = {"batch_size": 32, "members_per_slice": members_per_slice}
        mm.lr_range_test(model, optimizer, state, data, config, **options)

    def loop() -> None:
        for rate in jax.numpy.geomspace(config.min, config.max, config.num_rates):
            opt_state = optax.tree_utils.tree_set(state.opt_state, learning_rate=rate)
            one = dataclasses.replace(state, opt_state=opt_state)
            options: dict[str, Any] = {"num_steps": config.num_steps, "batch_size": 32}
            mm.fit(model, optimizer, one, data, **options)[1].block_until_ready()

    seconds = bench.seconds(
        {
            "the grid of `mm-jax lr-range`": lambda: grid(None),
            "the grid as slices of 8": lambda: grid(8),
            "the grid as one slice": lambda: grid(config.num_rates),
            "a loop of single runs": loop,
        }
    )
    section = f"range test, {config.num_rates} rates x {config.num_steps:,} steps x 1 seed"
    rows = [Row(section, what, "s", each) for what, each in seconds.items()]
    grid_seconds = rows[0].median
    return rows[:1] + [
        row._replace(beside=f"{times(grid_seconds, row.median)} the grid") for row in rows[1:]
    ]


def population(bench: Bench) -> list[Row]:
    """Measure populations of the lecture's MLP, and as many single runs one after another."""
    section, rows = f"a population of the lecture's MLP, {NUM_STEPS:,} steps each", []
    for devices, options in DEVICES.items():
        speeds = job("population", repeats=bench.repeats, **options)
        bench.console.note(f"bench population, {devices}")
        for num in map(str, NUM_MEMBERS):
            what = f"{devices}, {num} member" + "s" * (num != "1")
            ours = Row(section, what, "steps/s", speeds[num]["population"])
            single = Row(section, "", "steps/s", speeds[num]["loop"])
            ratio = ours.median / single.median
            rows.append(ours._replace(beside=f"{ratio:.2f} times a loop of single runs"))
    return rows
