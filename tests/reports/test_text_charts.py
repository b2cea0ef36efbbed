"""Charts of text: every mark is in the row and the column of its number."""

import math
import re

import numpy as np

from mm_jax.reports.text_charts import loss_chart, lr_chart
from mm_jax.runs.metrics import loss_curves
from tests.reports.range_tests import make_range_test, refused_test


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


def test_the_chart_marks_seeds_the_median_the_suggestion_and_what_is_off_the_top():
    test = make_range_test(explode=0.6)
    rows = list(lr_chart(test, width=80, height=12))
    assert len(rows) == 12 + 3
    assert all(len(row) <= 80 for row in rows)
    canvas = [row[11:].ljust(69) for row in rows[:12]]
    column = round(math.log(test.suggestion.lr / 1e-3) / math.log(1e3) * 68)
    assert sum(row[column] == "|" for row in canvas) >= 8
    explode = round(math.log(0.6 / 1e-3) / math.log(1e3) * 68)
    assert set(canvas[0][explode + 2 :]) == {"x"}
    assert "x" not in canvas[0][:explode]
    # the median falls from the left to the suggestion
    heights = [next(i for i, row in enumerate(canvas) if row[c] == "o") for c in (2, 20, 40)]
    assert heights == sorted(heights)
    assert heights[0] < heights[-1]
    ticks = rows[13]
    for text, rate in (("0.01", 0.01), ("0.1", 0.1)):
        middle = ticks.index(text, 11) + len(text) // 2 - 11
        assert abs(middle - round(math.log(rate / 1e-3) / math.log(1e3) * 68)) <= 1
    assert re.search(r"too low +\^ 0\.0\d+ +explodes", rows[14])
    top, bottom = float(rows[0].split()[0]), float(rows[11].split()[0])
    assert bottom < 2 < 3 < top


def test_the_chart_of_rates_within_a_decade_and_over_many():
    near = list(lr_chart(make_range_test(lrs=np.geomspace(0.02, 0.09, 100), best=0.05), width=60))
    assert "0.02" in near[-2]
    assert "0.09" in near[-2]
    far = list(lr_chart(make_range_test(lrs=np.geomspace(1e-20, 1e20, 200), best=1.0), width=60))
    assert len(far[-2]) <= 60
    assert far[-3].count("+") >= 5
    assert "x" in next(lr_chart(refused_test(np.inf), width=60))
