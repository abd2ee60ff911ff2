"""Every figure, of one, four and forty tissues, is drawn; of nothing at all it says so.

What a figure draws of its tables is seen to in test_figures_drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.text import Text
from PIL import Image

from histo_assets.core.figures import cohort, expression, learning, prediction, projection, slides
from histo_assets.core.figures.palette import GTEX, short_name
from histo_assets.core.figures.style import png
from histo_assets_tests.unit.figure_tables import DEMO, Tables, figures_of, made_images, made_tables

NAMES = list(figures_of(made_tables(DEMO[:1], 3, 3)))
FIXTURES = {"one tissue": DEMO[:1], "four tissues": DEMO[:4], "forty tissues": list(GTEX)}


@cache
def drawn_from(case: str) -> dict[str, Callable[[], Any]]:
    return figures_of(made_tables(FIXTURES[case]))


def words(figure: Any) -> str:
    """Return all that is written in a figure once it is drawn, with single spaces."""
    png(figure)
    texts = [text.get_text() for text in figure.findobj(Text) if text.get_visible()]
    return " ".join(" ".join(texts).split())


# These do not depend on the tissues: one drawing of each is enough.
ALIKE = {"image_grid", "gene_filter_figure", "filter_funnel", "explained_variance", "training_history", "r2_figure"}
ALIKE |= {"experiment_times", "experiment_curves", "epoch_table_figure", "recoverable_figure", "comparison_figure"}
ALIKE |= {"tile_heatmap", "top_genes_figure", "top_genes_alone"}
CASES = [(case, name) for case in FIXTURES for name in NAMES if case == "forty tissues" or name not in ALIKE]


@pytest.mark.parametrize(("case", "name"), CASES)
@pytest.mark.filterwarnings("error")
def test_every_figure_is_drawn_on_every_panel_and_large_enough_to_read(case: str, name: str) -> None:
    figure = drawn_from(case)[name]()
    with Image.open(io.BytesIO(png(figure))) as picture:
        assert picture.width >= 0.4 * figure.bbox.width, "so much smaller than drawn that it could not be read"
    assert all(panel.has_data() or panel.texts for panel in figure.axes if panel.axison)
    nothing = re.search(r"nothing to draw|\bnan\b", words(figure), re.IGNORECASE) is not None
    assert nothing == ((case, name) == ("one tissue", "cluster_expression_figure")), "one cluster differs from none"


@pytest.mark.filterwarnings("error")
def test_every_figure_of_an_empty_table_says_so_instead_of_failing() -> None:
    t = made_tables(DEMO[:2], 3, 3)
    empty = {field.name: emptied(getattr(t, field.name)) for field in fields(t) if field.name != "tissues"}
    e = Tables(tissues=t.tissues, **empty)
    nothing = np.empty((0, 2))
    nobody = "There is nothing to draw: the table is empty."
    said = [
        (cohort.cohort_overview(e.manifest, e.pairs), nobody),
        (cohort.cohort_overview(t.manifest, e.pairs), ", 0 slides with RNA"),
        (cohort.pairing_figure(t.manifest, e.pairs), "No slide has an RNA sample."),
        (cohort.pairing_figure(e.manifest, e.pairs), nobody),
        (cohort.selection_figure(e.pairs), nobody),
        (cohort.split_figure(e.split, e.pairs), nobody),
        (cohort.split_figure(t.split, t.pairs.assign(donor="another")), "no selected donor is in the split"),
        (slides.slide_sizes(e.raw_slides), nobody),
        (slides.funnel_figure(e.funnel), nobody),
        (slides.jpeg_size_figure(e.index, 10.0), nobody),
        (slides.image_grid([]), "no images"),
        (expression.gene_filter_figure(e.genes), nobody),
        (expression.filter_funnel(e.gene_funnel), nobody),
        (expression.explained_variance([]), "no components"),
        (learning.standard_batch([], []), "no images"),
        (learning.sides_figure(e.training_set), nobody),
        (learning.training_history(e.history), nobody),
        (learning.experiment_times(e.experiments), nobody),
        (learning.experiment_curves(e.experiments), nobody),
        (learning.experiment_curves(t.experiments, ["no such experiment"]), "none of the named experiments"),
        (learning.epoch_table_figure(e.history), nobody),
        (learning.epoch_table_figure(t.history, [99]), "none of the named epochs was trained"),
        (learning.confusion_figure(e.confusion), nobody),
        (learning.classification_figure(e.classification), nobody),
        (learning.tissue_mix_figure(pd.Series(dtype=float)), "no tiles"),
        (projection.scatter(nothing, [], "Slides"), "no points"),
        (projection.two_scatters(nothing, nothing, [], "Slides"), "no points"),
        (projection.epochs_figure({}, [], "Slides"), "no points"),
        (prediction.r2_figure(e.gene_figures), nobody),
        (prediction.recoverable_figure(e.recoverable), nobody),
        (prediction.cluster_figure(e.clusters), nobody),
        (prediction.cluster_expression_figure(e.cluster_expression), "fewer than two clusters have values"),
        (prediction.comparison_figure(e.comparison), nobody),
        (prediction.tile_heatmap(prediction.TilePlaces([], [], []), []), "the slide has no tiles"),
        (prediction.tissue_probabilities([], []), "no probabilities"),
        (prediction.top_genes_figure([], []), "no predicted genes"),
    ]
    assert [sentence for figure, sentence in said if sentence not in words(figure)] == []


def emptied(value: Any) -> Any:
    return value.head(0) if isinstance(value, (pd.DataFrame, pl.DataFrame)) else value[:0]


@pytest.mark.filterwarnings("error")
def test_missing_numbers_are_left_out_instead_of_failing() -> None:
    t = made_tables(DEMO[:2], 3, 3)

    def without_numbers(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{c: np.nan for c in table.columns if pd.api.types.is_float_dtype(table[c])})

    places = prediction.TilePlaces([0, 448], [0, 0], 448)
    said = [
        (slides.slide_sizes(t.raw_slides.assign(mpp=np.nan, bytes=np.nan)), "width, 1,000 px"),
        (slides.slide_sizes(t.raw_slides.assign(mpp=np.nan, width=0, height=0)), "No slide's size is known."),
        (slides.jpeg_size_figure(t.index.with_columns(jpeg_bytes=np.nan), 0.1), "120 tiles of 2 tissues"),
        (expression.gene_filter_figure(without_numbers(t.genes)), "> 5: 0%"),
        (expression.explained_variance([np.nan, np.nan]), "no components"),
        (learning.training_history(without_numbers(t.history)), "Training: 30 epochs"),
        (learning.experiment_times(without_numbers(t.experiments)), "densenet121"),
        (learning.experiment_curves(without_numbers(t.experiments)), "densenet121"),
        (learning.epoch_table_figure(without_numbers(t.history), [5]), "Accuracy, train (%) - "),
        (learning.classification_figure(without_numbers(t.classification)), "Classification: slides of test donors"),
        (projection.scatter(np.full((6, 2), np.nan), t.point_tissues, "Slides"), "no points"),
        (projection.two_scatters(t.umap, np.full_like(t.tsne, np.nan), t.point_tissues, "Slides"), "no points"),
        (projection.scatter(np.zeros((6, 2)), t.point_tissues, "All in one place"), "(6 points, 2 tissues)"),
        (prediction.r2_figure(without_numbers(t.gene_figures)), "No gene has a r2_within."),
        (prediction.recoverable_figure(without_numbers(t.recoverable)), "no gene has a value"),
        (prediction.recoverable_figure(t.recoverable.assign(recoverable=False, low=np.nan)), "none passes"),
        (prediction.cluster_expression_figure(without_numbers(t.cluster_expression)), "fewer than two clusters"),
        (prediction.comparison_figure(without_numbers(t.comparison)), "Ways of predicting genes"),
        (prediction.tile_heatmap(places, [np.nan, np.nan], title="KRT5"), "KRT5"),
        (prediction.tissue_probabilities(DEMO[:2], [np.nan, 0.4]), f"{short_name(DEMO[1])}, 40%"),
    ]
    written = [(words(figure), sentence) for figure, sentence in said]
    assert [sentence for text, sentence in written if sentence not in text] == []
    assert [text for text, _ in written if re.search(r"\bnan\b", text)] == []


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
