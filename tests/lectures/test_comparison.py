"""Two values agree or not, and are written so that it shows."""

import math

import pytest

from mm_jax.lectures.comparison import Row, agree, decimals, format_value, row_lines, table, verdict


@pytest.mark.parametrize(
    ("lecture", "ours", "agrees"),
    [
        (32_033, 32_033, True),
        (32_033, 32_034, False),
        (2.454, 2.45449, True),  # the lecture's last digit, rounded
        (2.454, 2.4546, False),
        (17.769714, 17.769707, True),  # float32 knows it to 8e-6
        (17.769714, 17.769724, False),
        ([1, 2], [1, 2], True),
        ([1, 2], [1, 2, 3], False),
        ([2.126, 2.170], [2.126, 2.176], False),
        (math.inf, math.inf, True),
        (math.inf, 3.48, False),
        (3.48, math.inf, False),
        (3.48, math.nan, False),
        (True, True, True),
        (True, False, False),
        ("e o a", "e o a", True),
        ("e o a", "e o", False),
    ],
)
def test_values_agree_to_the_last_digit_or_to_float32(lecture, ours, agrees):
    assert agree(lecture, ours) is agrees


def test_a_tolerance_takes_the_place_of_digits():
    assert agree(2.17, 2.19, within=0.02)
    assert not agree(2.17, 2.191, within=0.02)
    assert agree([2.126, 2.170], [2.14, 2.16], within=0.02)
    assert not agree([2.126, 2.170], [2.14, 2.2], within=0.02)
    assert not agree(2.17, math.nan, within=10.0)


def test_a_number_is_written_with_the_lectures_digits():
    assert [decimals(x) for x in (2.45, 3.0, 1e-5, 0.0123)] == [2, 1, 5, 4]
    assert format_value(2.4545767, 2.4545768) == "2.4545767"
    assert format_value(2.1346, 2.17, finer=True) == "2.1346"
    assert format_value([0.01, 0.01501], [0.0123, 0.015]) == "0.0100 0.0150"
    assert format_value([1, 2, 3], [1, 2]) == "1 2 3"
    assert format_value([0.1, 0.2], []) == "0.1000 0.2000"
    assert format_value(228_146, 228_146) == "228,146"
    assert format_value(math.inf, 1.0) == "infinite"
    assert format_value(math.nan, 1.0) == "not a number"
    assert format_value(None, 1.0) == "None"
    assert [format_value(x, True) for x in (True, False)] == ["yes", "no"]


ROWS = [
    Row("names", "32,033", "32,033", True, True, ""),
    Row("loss", "2.4540", "2.5", True, False, ""),
    Row("trained", "2.170", "2.1727", False, True, "within 0.02: other draws"),
    Row("far", "2.170", "2.3", False, False, "within 0.02: other draws"),
    Row("a sample", "name-like", "[bold]gavinlee", False, None, "other draws"),
]


def test_a_verdict_says_must_or_may_and_whether_it_does():
    assert [verdict(row) for row in ROWS] == [
        "must, and does",
        "must, and DOES NOT",
        "may differ; near",
        "may differ; not near",
        "may differ",
    ]


@pytest.mark.parametrize("width", [100, 140])
def test_a_table_has_every_word_and_keeps_its_width(width):
    lines = list(table(ROWS, width))
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["what", "lecture", "ours", "agree", "why"]
    words = " ".join(lines).split()
    for row in ROWS:
        for text in (row.what, row.lecture, row.ours, verdict(row), row.why):
            assert set(text.split()) <= set(words)


@pytest.mark.parametrize("width", [80, 100, 120, 139, 140])
def test_a_table_loses_no_letter(width):
    long = "abcdefghijklmnopqrstuvwxyz"
    for row in (Row("symbols", long, long, False, False, "within 0.5: " + long), *ROWS):
        lines = list(table([row], width))
        words = (row.what, row.lecture, row.ours, verdict(row), row.why)
        printed = sorted("".join(lines[2:]).replace(" ", ""))
        assert printed == sorted("".join(words).replace(" ", ""))
        assert max(map(len, lines)) <= width


def test_a_number_stands_beside_the_lectures_and_a_difference_has_its_reason():
    assert list(row_lines(ROWS[0])) == [
        "  names:                                             32,033   (lecture: 32,033)"
    ]
    same, wrong, near, _, _ = ("\n".join(row_lines(row)) for row in ROWS)
    assert "must agree" not in same
    assert "these must agree, and do not" in wrong
    assert near.endswith("\n    within 0.02: other draws")
    long = Row("five names", "emma olivia ava isabella sophia", "emma olivia ava", True, False, "")
    assert "\n".join(row_lines(long)).startswith("  five names:\n    ours     emma olivia ava\n")
