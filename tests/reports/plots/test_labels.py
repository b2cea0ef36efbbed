"""Labels of points: apart from one another, and as near to their points as that allows."""

import numpy as np
from matplotlib.figure import Figure

from mm_jax.reports.plots.labels import GAP, place_labels, text_sizes

ROOM = np.array([400.0, 300.0])


def overlaps(places, sizes):
    """Whether each two boxes overlap."""
    apart = (sizes[:, None] + sizes) / 2
    both = (np.abs(places[:, None] - places) < apart - 1e-6).all(-1)
    return both & ~np.eye(len(places), dtype=bool)


def test_a_label_that_is_alone_stands_above_its_point():
    points = np.array([[50.0, 50], [200, 200]])
    sizes = np.array([[30.0, 8], [60, 8]])
    expected = points + np.array([0, (8 + GAP[1]) / 2])
    np.testing.assert_allclose(place_labels(points, sizes, ROOM), expected)


def test_labels_of_one_point_stand_around_it_the_first_one_nearest():
    points, sizes = np.full((20, 2), 150.0), np.full((20, 2), [40.0, 8.0])
    places = place_labels(points, sizes, ROOM)
    assert not overlaps(places, sizes).any()
    moved = np.linalg.norm(places - places[0], axis=1)
    assert (np.diff(moved) >= 0).all()
    # Twenty of 43 by 9 fill a disc of radius 50; a corner of one may stand farther out.
    assert moved.max() < 75


def test_no_label_leaves_the_room():
    points = np.array([[0.0, 0], [400, 300], [0, 300], [399, 0], [1, 1]])
    sizes = np.full((5, 2), [50.0, 8.0])
    places = place_labels(points, sizes, ROOM)
    assert not overlaps(places, sizes).any()
    assert ((places - sizes / 2 >= 0) & (places + sizes / 2 <= ROOM)).all()


def test_what_fits_nowhere_is_not_moved():
    sizes = np.array([[390.0, 290.0], [390.0, 290.0], [900.0, 8.0]])
    places = place_labels(np.full((3, 2), 150.0), sizes, ROOM)
    np.testing.assert_array_equal(places[0], places[1])
    assert np.isfinite(places).all()


def test_sizes_are_those_that_matplotlib_writes():
    texts = ["i", "consideration", "W", "$"]
    figure = Figure(dpi=720)
    written = [figure.text(0.5, 0.5, text, fontsize=7).get_window_extent() for text in texts]
    sizes = text_sizes(texts, 7)
    np.testing.assert_allclose(sizes[:, 0], [each.width / 10 for each in written], atol=0.7)
    assert all(
        each.height / 10 <= height for each, height in zip(written, sizes[:, 1], strict=True)
    )
    text_sizes(["日本"], 7)  # that the font lacks it is no warning
