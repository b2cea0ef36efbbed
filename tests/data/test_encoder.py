from pathlib import Path

import pytest

from mm_jax.data.encoder import Encoder
from mm_jax.data.items import Meter
from mm_jax.data.vocab import build_vocab


@pytest.mark.parametrize("letters", ["abc", "abé"])  # of bytes, and of code points
def test_each_line_gets_its_boundary_and_unknown_ones_are_left_out_and_counted(letters):
    encoder, meter = Encoder(build_vocab([letters]), "line"), Meter()
    meter.numbers = [4, 6, 7]
    assert encoder("ab\nb\na\n", meter).tolist() == [1, 2, 0, 2, 0, 1, 0]
    assert encoder.num_affected == 0
    assert encoder("ab\nxb\na\n", meter).tolist() == [1, 2, 0, 1, 0]
    assert (encoder.num_items, encoder.num_affected, encoder.first) == (6, 1, 6)
    assert [each.tolist() for each in encoder.dropped] == [[4]]
    assert "a.txt: 1 of 6 lines contains symbols" in str(encoder.error(Path("a.txt")))


def test_two_line_breaks_end_a_paragraph_and_one_is_a_symbol():
    vocab = build_vocab(["a\nb"])
    assert vocab.symbols == (".", "\n", "a", "b")
    assert Encoder(vocab, "paragraph")("a\nb\n\na\n\n", Meter()).tolist() == [2, 1, 3, 0, 2, 0]


def test_a_document_has_no_boundary_and_its_unknown_tokens_are_counted():
    encoder = Encoder(build_vocab(["a\nb"]), "document")
    assert encoder("a\nb\n", Meter()).tolist() == [2, 1, 3, 1]
    assert encoder("ax", Meter()).tolist() == [2]
    assert "1 of 6 symbols are not" in str(encoder.error(Path("a.txt")))
