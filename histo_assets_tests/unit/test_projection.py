"""Projections: fitted on training rows, the same every time, and open to new rows without any object kept."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.projection.place import place, tsne_positions, umap_positions
from histo_assets.core.projection.project import (
    Projection,
    ProjectionError,
    evenly_drawn,
    fit_pca,
    project,
    tsne_affinities,
    umap_estimator,
)
from histo_assets.core.projection.settings import ProjectionSettings

SETTINGS = ProjectionSettings(components=8, seed=3)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = np.repeat(generator.normal(size=(5, 40)) * 3, 16, axis=0)
    return (centres + generator.normal(size=(80, 40))).astype(np.float32)


@pytest.fixture(scope="module")
def projection(rows: np.ndarray) -> Projection:
    return project(rows, np.arange(80) % 5 != 0, SETTINGS)


def test_components_are_those_of_scikit_learn_on_the_fitted_rows(rows, projection):
    from sklearn.decomposition import PCA

    fit = np.arange(80) % 5 != 0
    reference = PCA(8, svd_solver="full").fit(rows[fit].astype(np.float64))
    assert np.allclose(np.abs(projection.pca), np.abs(reference.transform(rows)), atol=1e-3)
    assert np.allclose(projection.explained, reference.explained_variance_ratio_, atol=1e-5)


def test_wide_and_tall_matrices_have_the_same_components(rows):
    tall = np.vstack([rows, rows + 0.1])[:, :20]
    for matrix in (rows[:30], tall):
        mean, components, explained = fit_pca(matrix, 5)
        centred = matrix - mean
        values = np.linalg.svd(centred, compute_uv=False) ** 2
        assert np.allclose(components @ components.T, np.eye(5), atol=1e-5)
        assert np.allclose(explained, values[:5] / values.sum(), atol=1e-5)


def test_rows_that_are_not_fitted_do_not_move_the_components(rows, projection):
    changed = rows.copy()
    changed[np.arange(80) % 5 == 0] += 100
    mean, components, _ = fit_pca(changed[np.arange(80) % 5 != 0], 8)
    assert np.array_equal(mean, projection.mean)
    assert np.array_equal(components, projection.components)


def test_a_projection_is_the_same_every_time(rows, projection):
    again = project(rows, np.arange(80) % 5 != 0, SETTINGS)
    assert np.array_equal(again.umap, projection.umap)
    assert np.array_equal(again.tsne, projection.tsne)


def test_groups_stand_apart_in_both_pictures(projection):
    labels = np.repeat(np.arange(5), 16)
    for picture in (projection.umap, projection.tsne):
        distances = np.linalg.norm(picture[:, None] - picture[None], axis=2) + np.eye(80) * 1e9
        assert (labels[distances.argmin(axis=1)] == labels).mean() > 0.95


def test_umap_places_a_row_where_the_original_object_would_bit_for_bit(rows, projection):
    original = umap_estimator(80, SETTINGS).fit(projection.pca)
    new = projection.scores(rows[:2] + 0.3)
    assert np.array_equal(original.embedding_, projection.umap)
    expected = np.concatenate([original.transform(row[None]) for row in new])
    assert np.array_equal(umap_positions(projection.pca, projection.umap, new, SETTINGS), expected)


def test_tsne_places_a_row_where_the_original_object_would_bit_for_bit(rows, projection):
    from openTSNE import TSNE

    original = TSNE(n_jobs=1, random_state=3).fit(
        np.asarray(projection.pca, dtype=np.float64), affinities=tsne_affinities(projection.pca, SETTINGS)
    )
    original -= (np.max(original, axis=0) + np.min(original, axis=0)) / 2
    new = projection.scores(rows[:1] + 0.3)
    expected = np.array(original.transform(new.astype(np.float64)))
    picture = np.array(original)
    assert np.array_equal(tsne_positions(projection.pca, picture, new, SETTINGS), expected)


def test_rows_are_placed_one_by_one_so_that_they_do_not_move_each_other(rows, projection):
    new = rows[:3] + 0.3
    together = place(projection, new, SETTINGS)
    alone = place(projection, new[1], SETTINGS)
    for both, one in zip(together, alone, strict=True):
        assert np.allclose(np.asarray(both)[1:2], np.asarray(one), atol=1e-5)
    assert together[0].shape == (3, 8) and together[1].shape == together[2].shape == (3, 2)


def test_a_new_row_falls_among_its_own_group(rows, projection):
    labels = np.repeat(np.arange(5), 16)
    _, umap, tsne = place(projection, rows[20] + 0.05, SETTINGS)
    for picture, position in ((projection.umap, umap), (projection.tsne, tsne)):
        nearest = np.linalg.norm(picture - position, axis=1).argsort()[:5]
        assert (labels[nearest] == labels[20]).all()


def test_a_projection_survives_an_h5ad_bit_for_bit(tmp_path, projection):
    obs = pd.DataFrame({"tissue": ["liver"] * 80}, index=[f"slide{i}" for i in range(80)])
    projection.to_adata(obs).write_h5ad(tmp_path / "projection.h5ad")
    read = Projection.from_adata(anndata.read_h5ad(tmp_path / "projection.h5ad"))
    for name in ("pca", "umap", "tsne", "drawn", "mean", "components", "explained"):
        stored, original = getattr(read, name), getattr(projection, name)
        assert stored.dtype == original.dtype and np.array_equal(stored, original), name


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
def test_a_handful_of_rows_can_be_projected_and_added_to(rows, count):
    few = project(rows[:count], np.ones(count, dtype=bool), SETTINGS)
    pca, umap, tsne = place(few, rows[10], SETTINGS)
    assert few.umap.shape == (count, 2)
    for values in (few.pca, few.umap, few.tsne, pca, umap, tsne):
        assert np.isfinite(values).all()
    if count < 5 and few.pca.shape[1] > 1:
        assert np.array_equal(few.umap, few.pca[:, :2])


def test_of_too_many_rows_a_spread_sample_is_drawn_and_the_rest_has_no_place(rows):
    drawn = project(rows, np.ones(80, dtype=bool), ProjectionSettings(components=4, max_points=10))
    assert drawn.drawn.sum() == 10 and drawn.pca.shape == (80, 4)
    assert np.isfinite(drawn.umap[drawn.drawn]).all() and np.isnan(drawn.umap[~drawn.drawn]).all()
    assert len(set(np.flatnonzero(drawn.drawn) // 8)) == 10


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_sample_has_the_asked_size_and_comes_from_every_stretch(count, at_most, seed):
    drawn = evenly_drawn(count, at_most, seed)
    assert drawn.sum() == min(count, at_most)
    gaps = np.diff(np.flatnonzero(drawn))
    assert not len(gaps) or gaps.max() <= 2 * -(-count // min(count, at_most))


def test_a_broken_row_and_a_lonely_row_are_refused_by_name(rows):
    broken = rows.copy()
    broken[7, 3] = np.nan
    with pytest.raises(ProjectionError, match="row 7"):
        project(broken, np.ones(80, dtype=bool), SETTINGS)
    with pytest.raises(ProjectionError, match="at least two training rows"):
        project(rows, np.arange(80) == 1, SETTINGS)


def test_rows_of_another_width_cannot_be_placed(projection):
    with pytest.raises(ProjectionError, match="40 columns"):
        place(projection, np.zeros(12), SETTINGS)
