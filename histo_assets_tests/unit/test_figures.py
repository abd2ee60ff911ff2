"""Every figure, of one, four and forty tissues and of nothing at all, is a small picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from histo_assets.core.figures import cohort, expression, learning, prediction, projection, slides
from histo_assets.core.figures.palette import GTEX
from histo_assets.core.figures.style import png
from histo_assets_tests.unit.figure_tables import DEMO, Tables, figures_of, made_images, made_tables

NAMES = list(figures_of(made_tables(DEMO[:1], 3, 3)))
FIXTURES = {"one tissue": DEMO[:1], "four tissues": DEMO[:4], "forty tissues": list(GTEX)}


@cache
def drawn_from(case: str) -> dict[str, Callable[[], Any]]:
    return figures_of(made_tables(FIXTURES[case]))


def size_of(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG"
        return image.size


# These do not depend on the tissues: one drawing of each is enough.
ALIKE = {"image_grid", "gene_filter_figure", "filter_funnel", "explained_variance", "training_history", "r2_figure"}
ALIKE |= {"experiment_times", "experiment_curves", "epoch_table_figure", "recoverable_figure", "comparison_figure"}
ALIKE |= {"tile_heatmap", "top_genes_figure", "top_genes_alone"}
CASES = [(case, name) for case in FIXTURES for name in NAMES if case == "forty tissues" or name not in ALIKE]


@pytest.mark.parametrize(("case", "name"), CASES)
@pytest.mark.filterwarnings("error")
def test_every_figure_is_a_small_png_without_a_warning(case: str, name: str) -> None:
    picture = png(drawn_from(case)[name]())
    assert len(picture) <= 190_000
    assert min(size_of(picture)) > 150


@pytest.mark.filterwarnings("error")
def test_every_figure_of_an_empty_table_says_so_instead_of_failing() -> None:
    t = made_tables(DEMO[:2], 3, 3)
    empty = {field.name: emptied(getattr(t, field.name)) for field in fields(t) if field.name != "tissues"}
    e = Tables(tissues=t.tissues, **empty)
    nothing = np.empty((0, 2))
    figures = [
        cohort.cohort_overview(e.manifest, e.pairs),
        cohort.cohort_overview(t.manifest, e.pairs),
        cohort.pairing_figure(t.manifest, e.pairs),
        cohort.pairing_figure(e.manifest, e.pairs),
        cohort.selection_figure(e.pairs),
        cohort.split_figure(e.split, e.pairs),
        slides.slide_sizes(e.raw_slides),
        slides.funnel_figure(e.funnel),
        slides.jpeg_size_figure(e.index, 10.0),
        slides.image_grid([]),
        expression.gene_filter_figure(e.genes),
        expression.filter_funnel(e.gene_funnel),
        expression.explained_variance([]),
        learning.standard_batch([], []),
        learning.sides_figure(e.training_set),
        learning.training_history(e.history),
        learning.experiment_times(e.experiments),
        learning.experiment_curves(e.experiments),
        learning.experiment_curves(t.experiments, ["no such experiment"]),
        learning.epoch_table_figure(e.history),
        learning.epoch_table_figure(t.history, [99]),
        learning.confusion_figure(e.confusion),
        learning.classification_figure(e.classification),
        learning.tissue_mix_figure(pd.Series(dtype=float)),
        projection.scatter(nothing, [], "Slides"),
        projection.two_scatters(nothing, nothing, [], "Slides"),
        projection.epochs_figure({}, [], "Slides"),
        prediction.r2_figure(e.gene_figures),
        prediction.recoverable_figure(e.recoverable),
        prediction.cluster_figure(e.clusters),
        prediction.cluster_expression_figure(e.cluster_expression),
        prediction.comparison_figure(e.comparison),
        prediction.tile_heatmap(prediction.TilePlaces([], [], []), []),
        prediction.tissue_probabilities([], []),
        prediction.top_genes_figure([], []),
    ]
    assert all(size_of(png(figure)) for figure in figures)


def emptied(value: Any) -> Any:
    return value.head(0) if isinstance(value, (pd.DataFrame, pl.DataFrame)) else value[:0]


@pytest.mark.filterwarnings("error")
def test_missing_numbers_are_left_out_instead_of_failing() -> None:
    t = made_tables(DEMO[:2], 3, 3)

    def without_numbers(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{c: np.nan for c in table.columns if pd.api.types.is_float_dtype(table[c])})

    figures = [
        slides.slide_sizes(t.raw_slides.assign(mpp=np.nan, bytes=np.nan)),
        slides.slide_sizes(t.raw_slides.assign(mpp=np.nan, width=0, height=0)),
        expression.gene_filter_figure(without_numbers(t.genes)),
        expression.explained_variance([np.nan, np.nan]),
        learning.training_history(without_numbers(t.history)),
        learning.experiment_times(without_numbers(t.experiments)),
        learning.experiment_curves(without_numbers(t.experiments)),
        learning.epoch_table_figure(without_numbers(t.history)),
        learning.classification_figure(without_numbers(t.classification)),
        projection.scatter(np.full((6, 2), np.nan), t.point_tissues, "Slides"),
        projection.two_scatters(t.umap, np.full_like(t.tsne, np.nan), t.point_tissues, "Slides"),
        projection.scatter(np.zeros((6, 2)), t.point_tissues, "All in one place"),
        prediction.r2_figure(without_numbers(t.gene_figures)),
        prediction.recoverable_figure(without_numbers(t.recoverable)),
        prediction.recoverable_figure(t.recoverable.assign(recoverable=False, low=np.nan)),
        prediction.cluster_expression_figure(without_numbers(t.cluster_expression)),
        prediction.comparison_figure(without_numbers(t.comparison)),
        prediction.tile_heatmap(prediction.TilePlaces([0, 448], [0, 0], 448), [np.nan, np.nan], title="KRT5"),
        prediction.tissue_probabilities(DEMO[:2], [np.nan, 0.4]),
    ]
    assert all(size_of(png(figure)) for figure in figures)


def test_a_table_without_a_needed_column_is_answered_with_its_name() -> None:
    figure = learning.training_history(pd.DataFrame({"loss": [1.0]}))
    assert "'epoch'" in " ".join(text.get_text() for text in figure.axes[0].texts)


def test_a_damaged_image_is_a_crossed_out_cell() -> None:
    figure = slides.image_grid([made_images(24)[0], b"not a picture"], ["sound", "damaged"], 2)
    assert [text.get_text() for text in figure.axes[1].texts] == ["not an image"]


def test_a_confusion_matrix_is_divided_by_its_rows() -> None:
    counts = pd.DataFrame({"tissue": ["liver", "lung"], "liver": [8, 0], "lung": [2, 0]})
    shown = learning.confusion_figure(counts).axes[0].images[0].get_array()
    assert shown is not None
    np.testing.assert_allclose(shown[0], [0.8, 0.2])
    assert np.ma.getmaskarray(shown)[1].all()


def test_quarantined_slides_stand_with_their_reasons() -> None:
    figure = slides.slide_sizes(made_tables(DEMO[:1]).raw_slides)
    words = " ".join(text.get_text() for text in figure.axes[1].texts)
    assert "truncated" in words and "HTML" in words


def test_missing_slides_are_told_from_quarantined_ones() -> None:
    raw = made_tables(DEMO[:1]).raw_slides
    raw.loc[1, "missing"] = "the server answered 503"
    figure = slides.slide_sizes(raw)
    assert "2 quarantined, 1 missing" in figure.get_suptitle()
    words = " ".join(text.get_text() for text in figure.axes[1].texts)
    assert f"{raw['slide'][1]} (missing): the server answered 503" in " ".join(words.split())


def test_the_heat_map_names_the_mean_of_the_pooled_tiles_only() -> None:
    places = prediction.TilePlaces([0, 448, 896], [0, 0, 0], 448)
    figure = prediction.tile_heatmap(places, [1.0, 3.0, 99.0], pooled=[True, True, False])
    assert "mean 2.00, 2 tiles" in figure.get_suptitle()
