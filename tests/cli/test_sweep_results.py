from pathlib import Path

from mm_jax.cli import sweep_results
from mm_jax.config.training import RunConfig
from mm_jax.data.samples import Samples
from mm_jax.experiments.evaluation import EvalResult
from mm_jax.experiments.search_config import SearchConfig
from mm_jax.experiments.successive_halving import SearchResult
from mm_jax.experiments.sweep import SavedRun, SweepResult
from tests.experiments.small_population import dataset

END = SweepResult(SearchResult([], [], False, 0), num_finished=3, steps=12_345, seconds=2.0)


def run(**choices):
    result = EvalResult(2.25, 2.5, Samples([], [], 64))
    record = {"train_command": "mm-jax train --seed 4"}
    return SavedRun(Path("swept/best"), RunConfig(**choices), result, record)


def test_what_is_trained_on_what_and_where():
    search = SearchConfig(RunConfig(steps=2000, seeds=8), ())
    lines = list(sweep_results.describe_sweep(search, dataset(), 1200, 3))
    assert lines[0].startswith("data       ")
    assert "names.txt: 200 lines, " in lines[0]
    assert lines[2] == "sweep      1,200 settings x 8 seeds, 2,000 steps, in 3 programs"
    assert lines[3].startswith("device     cpu x ")


def test_the_best_run_says_its_losses_and_how_to_train_it_again():
    lines = list(sweep_results.describe_best(run(seed=4)))
    assert "train 2.2500, dev 2.5000" in lines[0]
    assert "swept/best: seed 4 of the first line" in lines[-2]
    assert lines[-1].strip() == "mm-jax train --seed 4"


def test_the_ensemble_says_how_many_seeds_it_has():
    *_, last = sweep_results.describe_ensemble(run(seeds=8))
    assert last.strip() == "swept/best: all 8 seeds of the first line as one model"


def test_the_speed_is_steps_over_seconds():
    assert sweep_results.describe_speed(END) == "time       12,345 steps in 2.0 s; 6,172 steps/s"


def test_an_interruption_says_what_is_finished_and_how_to_resume():
    text = sweep_results.describe_interruption(Path("a b"), END, 1200)
    assert "3 of 1,200 settings were finished; they are in a b; " in text
    assert text.endswith("resume with: mm-jax sweep --resume --out 'a b'")
