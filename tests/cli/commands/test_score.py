"""mm-jax score: the nats of each symbol."""

import numpy as np
import pytest

from tests.cli.commands.conftest import LINES, nats_by_hand
from tests.helpers import call, record_of


def test_score_says_the_nats_of_every_symbol(run):
    lines = ["emma", "xx" if "x" in "".join(LINES) else "bb", ""]
    record = record_of("score", run, *lines)
    assert record["command"] == "score"
    assert record["lines"] == lines
    for line, total, mean, symbols in zip(
        lines, record["nats"], record["nats_per_symbol"], record["symbols"], strict=True
    ):
        assert [symbol for symbol, _ in symbols] == [*line, "."]
        expected = nats_by_hand(run, line)
        np.testing.assert_allclose([n for _, n in symbols], expected, rtol=1e-4, atol=1e-5)
        assert total == pytest.approx(expected.sum(), rel=1e-5)
        assert mean == pytest.approx(expected.mean(), rel=1e-5)
    out, err = call("score", run, "emma")
    assert out.startswith(f"emma: {record['nats'][0]:.4f} nats")
    assert err == ""
