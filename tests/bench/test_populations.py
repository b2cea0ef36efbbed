"""The sections of many models: what a job returns becomes rows."""

import pytest

from mm_jax.bench import populations
from mm_jax.bench.timing import Bench
from mm_jax.runtime.console import Console


def test_populations_are_compared_with_a_loop(monkeypatch):
    asked = []

    def job(name, repeats, **options):
        asked.append((name, repeats, options))
        return {str(n): {"population": [3.0 * n] * repeats, "loop": [2.0] * repeats}
                for n in (1, 16, 256)}  # fmt: skip

    monkeypatch.setattr(populations, "job", job)
    rows = populations.population(Bench(4, Console(json=True), with_torch=False))
    assert asked == [
        ("population", 4, {"one_core": True}),
        ("population", 4, {}),
        ("population", 4, {"devices": 8}),
    ]
    assert len(rows) == 9
    assert [row.what for row in rows[:3]] == [
        *("one core, 1 member", "one core, 16 members", "one core, 256 members")
    ]
    assert [row.median for row in rows[:3]] == pytest.approx([3.0, 48.0, 768.0])
    assert rows[1].beside == "24.00 times a loop of single runs"
