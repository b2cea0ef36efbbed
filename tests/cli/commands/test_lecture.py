"""mm-jax lecture: which walk it starts, and what it makes of the result."""

import pytest

from mm_jax.lectures import walkthrough
from tests.helpers import call, record_of


@pytest.fixture
def walks(monkeypatch):
    """Walks that compare the numbers in ``walks.numbers`` and run no script."""

    class Walks(list):
        numbers = ()

    made = Walks()

    def walk_through(walk):
        made.append(walk)
        print("printed by the script")
        for what, ours in made.numbers:
            walk.must(what, 2.0, ours)

    monkeypatch.setattr(walkthrough, "walk_through", walk_through)
    return made


def test_a_walk_that_agrees_is_exit_code_0(walks):
    walks.numbers = [("the loss", 2.0)]
    record = record_of("lecture", "2", "--data", "names", "--out", "here")
    assert (record["number"], record["data"], record["quick"]) == (2, "names", False)
    assert record["disagree"] == record["figures"] == []
    assert [row["what"] for row in record["rows"]] == ["the loss"]
    assert str(walks[0].out) == "here"


def test_a_number_that_must_agree_and_does_not_is_exit_code_1(walks):
    walks.numbers = [("the loss", 2.0), ("the count", 3.0)]
    out, err = call("lecture", "1", "--data", "names", code=1)
    assert "printed by the script" in out
    assert err == ("mm-jax lecture: error: 1 of the numbers that must agree do not: the count\n")
    assert record_of("lecture", "1", "--data", "names", code=1)["disagree"] == ["the count"]


def test_with_json_the_script_prints_to_stderr(walks, capsys):
    _, err = call("lecture", "1", "--data", "names", "--json")
    assert "printed by the script" in err
    assert "figures go to figures/lecture-1" in err


def test_a_quick_walk_takes_fewer_steps(walks):
    call("lecture", "1", "--data", "names", "--quick")
    call("lecture", "1", "--data", "names")
    assert [walk.quick for walk in walks] == [True, False]


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ([], "{1,2} is missing"),
        (["3"], "invalid choice '3'"),
        (["1", "--data", "other.txt"], "--data other.txt: the lectures' numbers need names or "),
        (["1", "--out", ""], "--out is empty"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(walks, flags, error):
    out, err = call("lecture", *flags, code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert error in err
    assert walks == []
