"""Charts of text."""

from mm_jax.reports.text_charts import loss_chart
from mm_jax.runs.metrics import loss_curves


def test_the_chart_has_minibatches_their_mean_and_dev_where_they_are():
    lines = [{"step": 2 * i, "loss": 4.0 * 2 ** (-i / 50)} for i in range(1, 101)]
    (curve,) = loss_curves([*lines, {"step": 200, "dev_loss": 2.0}])
    rows = list(loss_chart(curve, width=71, height=9))
    assert len(rows) == 9 + 3
    canvas = [row[11:].ljust(60) for row in rows[:9]]
    means = {row.index("o"): number for number, row in enumerate(canvas) if "o" in row}
    assert [means[column] for column in sorted(means)] == sorted(means.values())  # it falls
    columns = [[row[i] for row in canvas] for i in range(60)]
    assert all("o" in marks or "." in marks for marks in columns[3:-1])
    assert [row for row in range(9) if canvas[row][-1] == "+"] == [4]  # 2 of 4 to 1, log scale
    assert rows[-2].split() == ["step", "0", "100", "200"]
    assert "+ dev" in rows[-1]
    assert "dev" not in list(loss_chart(loss_curves(lines)[0], width=50))[-1]
    still = loss_curves([{"step": i, "loss": 2.0} for i in (1, 2)])[0]
    assert len(list(loss_chart(still))) == 13  # nothing differs, and it is drawn all the same
