"""The nets of the ladder: budgets, steps and tokens."""

import pytest

from mm_jax.config.base import InputError
from mm_jax.experiments import ladder_nets
from mm_jax.experiments.ladder_nets import plan_net
from mm_jax.experiments.setup import load_setup
from mm_jax.runs.reader import load_run
from mm_jax.training.optimizers import make_optimizer
from tests.experiments.small_ladder import SGD, TINY, begin

pytestmark = pytest.mark.usefixtures("small_presets")


def test_a_budget_decides_how_many_steps_each_seed_takes(names_file, tmp_path):
    made = begin(tmp_path, names_file, models="mlp-lecture", budget=0.5)
    assert made.run()
    (entry,) = made.record.entries
    runs = [load_run(tmp_path / f"mlp-lecture/seed-{seed}").config for seed in range(2)]
    assert entry.steps == runs[0].steps == runs[1].steps
    # Where a run was begun with a number of steps, it keeps that.
    planned = plan_net(
        TINY["lecture"], made.record.config, made.dataset, tmp_path / "mlp-lecture/seed-0"
    )
    assert planned.steps == entry.steps


def test_a_budget_that_is_too_short_leaves_a_net_out_and_the_others_go_on(names_file, tmp_path):
    made = begin(tmp_path, names_file, models="bigram,mlp-lecture,mixture", budget=1e-9)
    assert made.run()
    bigram, net, mixture = made.record.entries
    assert bigram.skipped is None
    assert net.skipped.startswith("--budget 1e-09 is too short: the 20 evaluations of dev take")
    assert mixture.skipped == "it needs a net and kneser-ney"


@pytest.mark.parametrize(("budget", "parts"), [(1e-9, 1), (1e9, 2)])
def test_the_whole_of_dev_is_evaluated_only_where_a_part_of_it_fits_the_budget(
    names_file, tmp_path, monkeypatch, budget, parts
):
    sizes = []

    def measure(compute):
        sizes.append(compute.args[2].num_examples)
        return 1e-6

    monkeypatch.setattr(ladder_nets, "_seconds_of", measure)
    made = begin(tmp_path, names_file, models="mlp-lecture")
    setup = load_setup(TINY["lecture"], make_optimizer(SGD, 1), dataset=made.dataset)
    dev = setup.dev_data
    if parts == 1:
        with pytest.raises(InputError, match="the 20 evaluations of dev take"):
            ladder_nets.steps_within(budget, TINY["lecture"], setup)
    else:
        monkeypatch.setattr(ladder_nets, "MAX_MEASURED", 0.01)
        assert ladder_nets.steps_within(budget, TINY["lecture"], setup) > 10**6
    assert sizes == [dev.num_examples // 20, dev.num_examples][:parts]
