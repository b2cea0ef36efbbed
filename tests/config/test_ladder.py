"""The entries of the ladder and their names."""

import pytest

from mm_jax.config.base import InputError
from mm_jax.config.ladder import ENTRIES, NETS, LadderConfig


def test_an_unknown_entry_is_refused_with_all_names():
    with pytest.raises(InputError, match="no 'grue'; choose from uniform, unigram"):
        LadderConfig(models="gru,grue")
    with pytest.raises(InputError, match="no ''"):
        LadderConfig(models="")


def test_each_net_has_the_choices_of_a_preset():
    assert all(NETS[name].config.model for name in NETS)
    assert {*NETS} < {*ENTRIES}


def test_what_takes_long_has_to_be_asked_for():
    bengio = {f"bengio-{row}" for row in (1, 3, 5, 7, 9)}
    assert {*ENTRIES} - {*LadderConfig().names} == {"lstm-large", "lstm-words"} | bengio
    assert LadderConfig(models="lstm-large,gru").names == ["gru", "lstm-large"]
    assert LadderConfig(models="all").names == [*ENTRIES]
