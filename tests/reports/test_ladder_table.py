"""The table and the chart of a ladder."""

import math

from mm_jax.experiments.ladder_record import Entry
from mm_jax.reports.ladder_table import cells_of, ladder_chart, ladder_table, sortable_cells
from tests.reports.ladders import ENTRIES


def test_a_row_has_means_intervals_bits_shares_and_speeds():
    cells = cells_of(ENTRIES[2])
    assert cells[:2] == ["79.3k", "1.8100"]
    assert cells[2].startswith("2.0000 ± ")
    assert cells[3] == f"{2.0 / math.log(2):.4f}"
    assert cells[4:] == ["60%", "61", "250k"]


def test_what_is_not_known_is_a_dash():
    entry = Entry("gru", num_params=5, train_losses=(2.0,))
    assert cells_of(entry) == ["5", "2.0000", "-", "2.8854", "-", "-", "-"]


def test_a_loss_that_diverged_is_named():
    entry = Entry("gru", num_params=5, train_losses=(math.inf,), dev_losses=(math.inf,))
    assert cells_of(entry)[1:4] == ["inf", "diverged", "inf"]


def test_the_table_leaves_out_what_was_skipped():
    rows = [*ladder_table(ENTRIES)]
    assert [row.split()[0] for row in rows[2:]] == ["uniform", "bigram", "gru", "mixture"]
    assert [*ladder_table([ENTRIES[3]])] == []


def test_the_table_fits_into_a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # a narrow one would fold what is too wide
    widest = Entry(
        "mlp-lecture", None, 123_456_789, (2.0,), (1.9, 2.1), 0.999, 10**6, 123456.0, 123456789.0
    )
    assert max(map(len, ladder_table([widest]))) <= 80


def test_a_bar_is_as_long_as_its_loss_is_below_the_highest():
    rows = [*ladder_chart(ENTRIES, width=80)]
    lengths = [row.count("=") for row in rows[:4]]
    columns = max(lengths)
    assert columns == 60
    shares = [(3.3 - loss) / (3.3 - 1.9) for loss in (3.3, 2.46, 2.0, 1.9)]
    assert lengths == [round(share * columns) for share in shares]
    assert rows[-1].strip() == "how far the loss on dev is below 3.3000, in nats"
    assert [*ladder_chart(ENTRIES[:1])] == []


def test_cells_sort_by_their_values():
    values = [value for value, _ in sortable_cells(ENTRIES[2])]
    assert values[0] == "79323"
    assert float(values[2]) == 2.0
    assert sortable_cells(ENTRIES[0])[5][0] == "-1"  # not known: first
