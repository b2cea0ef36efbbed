import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_jax.config.base import InputError
from mm_jax.data import table
from mm_jax.data.table import MAX_WEIGHT, delimiter_of, looks_like_a_table, table_rows

PATH = Path("people.csv")
TAB = "name\tsex\tcount\nemma\tF\t5\nnoah\tM\t0\n"


def rows(text, column="name", weights=None):
    return list(table_rows(PATH, [text], column, weights))


def items(text, column="name", weights=None):
    return [item for item, _, _ in rows(text, column, weights)]


def message(text, column="name", weights=None):
    """The one line of the error that a table must raise."""
    with pytest.raises(InputError) as caught:
        rows(text, column, weights)
    assert str(caught.value).startswith(str(PATH))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# What csv reads

# \x0b, \x85 and \u2028 end a line for str.splitlines, but not in a file.
symbols = st.text(st.sampled_from("ab \t\r\n\",;'é日\x0b\x85\u2028."), max_size=6)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(symbols, min_size=width, max_size=width), max_size=8)
)


def written(cells, delimiter, line_end):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows(cells)  # quotes \r and \n, as its own end has
    return file.getvalue().replace("\r\n", line_end)


def cut(text, data):
    """``text`` in pieces, each ended by the end of a line, also of one inside a quoted cell."""
    ends = [match.end() for match in re.finditer(r"\r\n|\r|\n", text)]
    chosen = sorted(data.draw(st.sets(st.sampled_from(ends))))
    return [text[a:b] for a, b in zip([0, *chosen], [*chosen, len(text)], strict=True)]


def expected_rows(text, delimiter, index):
    """Independent of the code under test: one reader, and lines counted in what it has read."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+$", text)
    reader, first_line, expected = csv.reader(lines, delimiter=delimiter), 1, []
    for cells in reader:
        item = re.sub(r"[\r\n]+", " ", cells[index]).strip()
        blank = not "".join(cells).strip()
        expected.append((item, 1 if blank else int(cells[-1]), first_line))
        first_line = reader.line_num + 1
    return expected


@given(
    tables,
    st.sampled_from("\t,;"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, MAX_WEIGHT), min_size=8, max_size=8),
    st.data(),
)
def test_the_rows_are_those_of_csv_in_whatever_pieces(cells, delimiter, line_end, weights, data):
    cells = [[*row, str(weight)] for row, weight in zip(cells, weights, strict=False)]
    cells.append(["end"] * (len(cells[0]) - 1 if cells else 1) + ["7"])
    header = [f"column {index}" for index in range(len(cells[0]) - 1)] + ["count"]
    index = data.draw(st.integers(0, len(header) - 2))
    text = written([header, *cells], delimiter, line_end)
    expected = expected_rows(written(cells, delimiter, line_end), delimiter, index)
    expected = [(item, weight, line + 1) for item, weight, line in expected]
    for column, weight in [(header[index], "count"), (str(index + 1), str(len(header)))]:
        assert list(table_rows(PATH, cut(text, data), column, weight)) == expected


def test_a_row_is_named_by_its_first_line():
    text = 'name,count\n"anna\n\nlena",3\n\nemma,1\r\n"o""neil",2'
    expected = [("anna lena", 3, 2), ("", 1, 5), ("emma", 1, 6), ('o"neil', 2, 7)]
    assert rows(text, "name", "count") == expected


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_breaks_in_a_cell_become_a_space_and_outer_white_space_goes(line_end):
    text = f'name,count{line_end}"  san{line_end}jose ",1{line_end} new  york ,2{line_end}'
    assert items(text) == ["san jose", "new  york"]


def test_empty_items_and_weights_of_zero_are_yielded():
    text = "name,count\n,4\n  ,0\nemma,0\n\n,\n"
    expected = [("", 4, 2), ("", 0, 3), ("emma", 0, 4), ("", 1, 5), ("", 1, 6)]
    assert rows(text, "name", "count") == expected


def test_without_weights_every_weight_is_1():
    assert rows(TAB) == [("emma", 1, 2), ("noah", 1, 3)]


def test_blank_lines_before_the_header_are_counted_too():
    assert rows("\n \nname;count\nemma;5\n", "name", "count") == [
        ("", 1, 1),
        ("", 1, 2),
        ("emma", 5, 4),
    ]


def test_a_long_cell_is_read_and_the_limit_of_csv_stays_as_it_was():
    limit, cell = csv.field_size_limit(), "x" * 200_000
    assert limit < len(cell)
    reader = table_rows(PATH, [f"name\nemma\n{cell}\n"], "name", None)
    assert next(reader) == ("emma", 1, 2)
    assert csv.field_size_limit() == limit
    assert next(reader) == (cell, 1, 3)
    assert csv.field_size_limit() == limit


def test_an_error_of_the_source_passes_and_leaves_the_limit_as_it_was():
    def source():
        yield "name\nemma\n"
        raise InputError("the file has changed")

    limit, got = csv.field_size_limit(), []
    with pytest.raises(InputError, match="the file has changed"):
        got.extend(table_rows(PATH, source(), "name", None))
    assert csv.field_size_limit() == limit


def test_rows_come_before_the_source_is_exhausted():
    def source():
        yield "name\n"
        yield "emma\n"
        pytest.fail("the next piece was not needed")

    assert next(table_rows(PATH, source(), "name", None)) == ("emma", 1, 2)


# Which column, and is there a header?


@pytest.mark.parametrize(
    ("text", "column", "weights", "expected"),
    [
        (TAB, "name", "count", [("emma", 5), ("noah", 0)]),
        (TAB, "1", "3", [("emma", 5), ("noah", 0)]),  # a weight that is no number: a header
        (TAB, "sex", "3", [("F", 5), ("M", 0)]),
        (TAB, " sex ", None, [("F", 1), ("M", 1)]),
        (TAB, "2", None, [("sex", 1), ("F", 1), ("M", 1)]),  # a number alone: no header
        ("emma,5\nnoah,0\n", "1", "2", [("emma", 5), ("noah", 0)]),
        ("emma,1\nnoah,2\n", "1", "2", [("emma", 1), ("noah", 2)]),  # 1 and 2 are no names here
        ("great,1\nbad,0\n", "1", None, [("great", 1), ("bad", 1)]),
        ("a,1990\nemma,5\n", "a", "1990", [("emma", 5)]),
        ("name,1,2\nemma,5,6\n", "name", "1", [("emma", 5)]),  # in a header a name wins
        ("name,1,2\nemma,5,6\n", "name", "3", [("emma", 6)]),
        ("2,count\nemma,5\n", "2", "2", None),
        ("2,count\nemma,5\n", "2", "count", [("emma", 5)]),
        ('"first\nname", n\nemma,5\n', "first name", "n", [("emma", 5)]),
        (",name\n0,emma\n", "name", None, [("emma", 1)]),
    ],
)
def test_columns_are_found(text, column, weights, expected):
    if expected is None:  # both are the first column, whose cells are no weights
        assert "line 2: the weight 'emma'" in message(text, column, weights)
    else:
        assert [row[:2] for row in rows(text, column, weights)] == expected


@pytest.mark.parametrize("column", ["surname", "Name", "0", "4", "-1", "1.5", "", "9" * 5000, "²"])
def test_a_column_that_is_not_there_is_refused_and_those_there_are_named(column):
    said = message("\n" + TAB, column)
    assert f"line 2: there is no column {column!r} among the 3" in said
    assert "name, sex, count" in said
    assert f"{column!r}" in message(TAB, "name", column)


def test_at_most_ten_columns_are_named_and_long_names_are_cut():
    said = message(",".join(["x" * 500, *(f"c{index}" for index in range(2, 15))]) + "\n")
    assert re.search(r"x{37}\.\.\., c2, .*c10, \.\.\.;", said)
    assert "c11" not in said
    assert "x" * 41 not in said


def test_two_columns_of_one_name_are_refused():
    text = "name,x,name\na,b,c\n"
    assert "line 1: 2 columns have the name 'name'" in message(text)
    assert items(text, "x") == ["b"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("name,sex,count\nemma,F,5\nnoah\n", 3), ('name,sex,count\n"a\nb",F\n', 2)],
)
def test_a_row_with_too_few_cells_is_refused(text, line):
    assert f"line {line}: the row has too few cells" in message(text, "name", "count")
    assert items("name,sex,count\nemma,F\n") == ["emma"]  # only what is read need be there


def test_a_row_with_more_cells_than_the_header_is_refused():
    assert "line 3: the row has 3 cells under a header of 2" in message("name,n\na,1\nb, c,2\n")
    assert items('name,n\na,1,,\n"b, c",2\n') == ["a", "b, c"]
    assert items("a\nb,c\n", "1") == ["a", "b"]  # no header says how many there are


@pytest.mark.parametrize(
    "weight",
    ["", "x", "-1", "1.0", "+1", "1_000", "2147483648", "9" * 5000, "٣", "²", "1 2", "inf"],
)
def test_a_weight_that_is_not_a_whole_number_is_refused(weight):
    said = message(f"name,n\nemma,1\nnoah,{weight}\n", "name", "n")
    assert f"line 3: the weight {weight[:40]!r} is not a whole number from 0 to 2147483647" in said


@pytest.mark.parametrize("weight", ["-1", "2.5", "1e3", "nan"])
def test_a_first_row_with_a_wrong_number_is_not_taken_for_a_header(weight):
    assert f"line 1: the weight '{weight}'" in message(f"emma,{weight}\nnoah,2\n", "1", "2")


def test_the_largest_weight_and_white_space_round_it_are_accepted():
    text = f"name,n\nemma, {MAX_WEIGHT} \nnoah,007\n"
    assert rows(text, "name", "n") == [("emma", MAX_WEIGHT, 2), ("noah", 7, 3)]


@pytest.mark.parametrize("row", ['"emma', '"emma" x,1', '"em"ma",1'])
def test_quotes_that_do_not_match_are_refused_where_their_row_begins(row):
    said = message(f'name,n\n"a\nb",1\n{row}\nnoah,2\n')
    assert "line 4: the row that begins here cannot be read" in said
    assert "written twice" in said


def test_a_cell_beyond_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(table, "MAX_CELL", 10)
    assert items(f"name\n{'x' * 10}\n") == ["x" * 10]
    limit = csv.field_size_limit()
    assert "line 3:" in message(f"name\nemma\n{'x' * 11}\n")
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("text", ["", "\n", "\n  \r\n", '""\n', ",,\n"])
def test_a_file_without_rows_is_refused(text):
    assert "has no rows" in message(text)
    with pytest.raises(InputError, match=r"people\.csv has no rows"):
        list(table_rows(PATH, [], "name", None))


def test_a_file_with_a_header_only_is_refused():
    assert "has a header and no rows" in message("name,count\n\n", "1", "2")
    assert items("name\n", "1") == ["name"]


# Delimiters, and text files that are tables


@pytest.mark.parametrize(
    ("line", "delimiter"),
    [
        ("name\tcount", "\t"),
        ("name, sex, age\tcount", "\t"),
        ('"a\tb",count', ","),
        ("name,count\r\n", ","),
        ("name;count", ";"),
        ('"last, first, middle";count', ";"),
        ("name,sex;count,year", ","),
        ("name;price, EUR", ","),  # in doubt
        ("name;price, EUR;count", ";"),
        ("name", ","),
        ("", ","),
        ('"not closed,a', ","),
        ("a;" + "x" * 200_000 + ";b", ";"),
    ],
)
def test_the_header_tells_the_delimiter(line, delimiter):
    assert delimiter_of(line) == delimiter


def note(lines):
    guess = looks_like_a_table(lines)
    return guess and guess.note(Path("a.txt"))


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_lines_that_are_rows_get_a_note(delimiter):
    lines = [delimiter.join(row) for row in [["name", "sex", "count"], *[["emma", "F", "5"]] * 19]]
    expected = "a.txt looks like a table of 3 columns (name, sex, count); --column name reads"
    assert note(lines) == f"{expected} one of them"
    assert note(lines[1:]) is None  # too few lines
    assert note([*lines, "prose"]) is None
    assert note([*lines, delimiter.join("abcd")]) is None
    assert note(['"not closed' + delimiter, *lines]) is None


def test_the_column_in_the_note_can_be_read():
    lines = ["first name,n", *(f"name {index},{index}" for index in range(25))]
    assert "('first name', n); --column 'first name' reads" in note(lines)
    assert items("\n".join(lines), "first name") == [f"name {index}" for index in range(25)]


def test_commas_inside_quotes_do_not_count():
    assert "2 columns" in note(["name,n", '"a, b",1', *['"a, b, c",1'] * 20])
    assert note(['"a, b"', *['"c, d"'] * 30]) is None


def test_a_first_row_that_is_data_is_not_offered_as_names():
    expected = "2 columns (first row: emma, 5); --column 1 reads"
    assert expected in note(["emma,5", *["noah,4"] * 20])
    sentence = "I am a sentence that goes on and on, and on"
    assert "--column 1 reads" in note([f"{sentence}\tja", *["no\tnein"] * 20])
    assert "--column 1 reads" in note(["no\tno", *["no\tnein"] * 20])
    assert "('', name); --column name reads" in note([",name", *["1,emma"] * 20])


@pytest.mark.parametrize("lines", [[], ["emma"] * 30, ["a b"] * 30, ["a;b"] * 30, [""] * 30])
def test_lines_of_one_cell_are_no_table(lines):
    assert note(lines) is None


def test_the_note_is_one_line_of_at_most_ten_names():
    said = note([",".join(["a\x1b[1m", *(f"c{index}" for index in range(2, 13))])] * 20)
    assert "12 columns" in said
    assert r"a\x1b[1m" in said
    assert "c10, ...); --column 1 reads" in said
    assert said.isprintable()
