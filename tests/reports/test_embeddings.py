"""What is shown of an embedding: its places in a plane, groups of symbols, and neighbours."""

import numpy as np
import pytest

from mm_jax.data.vocab import Vocab
from mm_jax.reports.embeddings import group_symbols, nearest_rows, project_embedding
from tests.helpers import V

LETTERS = Vocab((".", *"abcdefghijklmnopqrstuvwxyz"))


def test_an_embedding_of_two_dimensions_stays_as_it_is():
    table = np.random.default_rng(0).standard_normal((V, 2))
    plane = project_embedding(table, LETTERS)
    np.testing.assert_array_equal(plane.places, table)
    assert (plane.explained, plane.dim, plane.axes) == (1.0, 2, ("C[:, 0]", "C[:, 1]"))


def test_of_more_dimensions_the_plane_with_the_most_variance_is_found():
    source = np.random.default_rng(1)
    flat = source.standard_normal((V, 2)) * [5, 2]
    directions = np.linalg.qr(source.standard_normal((6, 6)))[0]
    table = flat @ directions[:2] + 0.1 * source.standard_normal((V, 6)) + 7
    plane = project_embedding(table, LETTERS)
    values = np.sort(np.linalg.eigvalsh(np.cov(table.T)))[::-1]
    assert plane.explained == pytest.approx(values[:2].sum() / values.sum())
    assert plane.explained > 0.99
    np.testing.assert_allclose(plane.places.var(0, ddof=1), values[:2], rtol=1e-9)

    def distances(places):
        return np.linalg.norm(places[:, None] - places, axis=-1)

    np.testing.assert_allclose(distances(plane.places), distances(flat), atol=1.0)
    again = project_embedding(table @ directions, LETTERS)  # rotated: the same but for mirroring
    np.testing.assert_allclose(np.abs(again.places), np.abs(plane.places), atol=1e-9)
    order = np.random.default_rng(3).permutation(V)
    mixed = project_embedding(table[order], LETTERS)  # the order of rows changes nothing
    np.testing.assert_allclose(mixed.places, plane.places[order], atol=1e-9)
    assert f"{values[0] / values.sum():.0%}" in plane.axes[0]


@pytest.mark.parametrize("table", [np.ones((3, 1)), np.ones((3, 5)), np.zeros((1, 4))])
def test_an_embedding_with_nothing_to_tell_apart_is_drawn_all_the_same(table):
    plane = project_embedding(table, Vocab((".", "a", "b")[: len(table)]))
    assert plane.places.shape == (len(table), 2)
    assert np.isfinite(plane.places).all()
    assert np.isfinite(plane.explained)


def test_vowels_and_consonants_are_told_apart_where_letters_are_latin():
    assert group_symbols(Vocab((".", "A", "b", "é", "ñ", "-", "7"))) == [
        *("the boundary", "vowels", "consonants", "vowels", "consonants"),
        *("other symbols", "other symbols"),
    ]
    assert group_symbols(Vocab((".", "a", "б"))) == [
        "the boundary",
        "other symbols",
        "other symbols",
    ]


def test_neighbours_are_the_nearest_rows():
    table = np.random.default_rng(2).standard_normal((9, 4))
    of, ids, distances = nearest_rows(table, 3)
    assert of.tolist() == list(range(9))
    for i in range(9):
        far = np.linalg.norm(table - table[i], axis=1)
        order = [k for k in np.argsort(far) if k != i][:3]
        assert ids[i].tolist() == order
        np.testing.assert_allclose(distances[i], far[order])
    assert nearest_rows(table[:2]).ids.tolist() == [[1], [0]]
    some = nearest_rows(table, 3, of=np.array([7, 2]))  # of a large alphabet not all are asked for
    assert some.ids.tolist() == ids[[7, 2]].tolist()
    np.testing.assert_array_equal(some.distances, distances[[7, 2]])


def test_of_rows_that_are_equally_near_the_first_ones_are_named():
    table = np.array([[3.0], [1], [0], [1], [-1], [1]])
    assert nearest_rows(table, 2, of=np.array([2])).ids.tolist() == [[1, 3]]
    assert nearest_rows(np.zeros((9, 2)), 3, of=np.array([1])).ids.tolist() == [[0, 2, 3]]


def test_the_components_are_those_of_the_rows_that_are_drawn():
    table = np.random.default_rng(5).standard_normal((V, 6)) * [9, 1, 1, 1, 1, 1]
    table[:5, 0] = 0.0  # what the others differ in most, these have in common
    ids = np.array([1, 4, 2, 0])
    plane = project_embedding(table, LETTERS, ids)
    alone = project_embedding(table[ids], Vocab((".", "a", "b", "c")))
    np.testing.assert_allclose(plane.places, alone.places, atol=1e-12)
    assert plane.explained == pytest.approx(alone.explained)
    assert plane.groups == ["vowels", "consonants", "consonants", "the boundary"]
