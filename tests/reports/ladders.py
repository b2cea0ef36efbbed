"""A ladder for the tests of tables, figures and pages."""

from mm_jax.config.ladder import LadderConfig
from mm_jax.experiments.ladder_record import Entry, LadderRecord
from mm_jax.reports.ladder_summary import LadderSummary

ENTRIES = [
    Entry("uniform", num_params=0, train_losses=(3.3,), dev_losses=(3.3,), new_share=0.99),
    Entry("bigram", "mm-jax count", 729, (2.45,), (2.46,), 0.92, seconds=0.5, folder="bigram"),
    Entry(
        "gru",
        "mm-jax train --model gru",
        79_323,
        (1.8, 1.82),
        (1.99, 2.01),
        0.6,
        2000,
        61.0,
        250_000.0,
        "gru/seed-0",
    ),
    Entry("lstm", skipped="it does not fit in memory"),
    Entry("mixture", "mm-jax mix a b", 80_052, (1.7,), (1.9,), 0.5, seconds=61.5, folder="mixture"),
]
DATA = {"path": "names.txt", "sha256": "0" * 64, "num_lines": 10, "num_blank": 0}
DATA |= {"split_lines": [8, 1, 1], "dev_lines_in_train": 0.0}


def record_of_entries(entries=ENTRIES):
    names = ",".join(entry.name for entry in entries)
    return LadderRecord(LadderConfig(models=names), (".", "a"), DATA, entries=list(entries))


def summary_of(path, entries=ENTRIES):
    return LadderSummary(path, record_of_entries(entries), list(entries))
