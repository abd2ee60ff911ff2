"""Pictures of the expression matrix and of its projection, with a legend of forty tissues."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from histo_assets.core.figures.expression import _edges, gene_filter_figure, keyed_maps, samples_figure
from histo_assets.core.figures.palette import GTEX, short_name
from histo_assets.core.figures.style import png


def samples(tissues: list[str], each: int = 45) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    donors = [f"D{number}" for number in rng.integers(0, 300, each * len(tissues))]
    return pd.DataFrame({"tissue": np.repeat(tissues, each), "donor": donors})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tissues", [list(GTEX), ["liver"], ["grade_2", ""]])
def test_samples_are_counted_per_tissue_and_per_donor(tissues: list[str]) -> None:
    obs = samples(tissues)
    figure = samples_figure(obs)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()].count(short_name(tissues[0])) == 1
    assert sum(bar.get_width() for bar in bars(left)) == len(obs)
    assert sum(bar.get_height() for bar in bars(right)) == obs["donor"].nunique()
    assert len(png(figure)) <= 190_000


@pytest.mark.filterwarnings("error")
def test_every_one_of_forty_tissues_is_named_in_the_legend_of_the_maps() -> None:
    tissues = list(np.repeat(list(GTEX), 45))
    points = np.random.default_rng(0).normal(size=(len(tissues), 2)).astype(np.float32)
    figure = keyed_maps(points, 3 * points, tissues)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(named) == sorted(short_name(tissue) for tissue in GTEX)
    picture = png(figure)
    assert len(picture) <= 190_000
    with Image.open(io.BytesIO(picture)) as image:
        assert image.width > 900, "so small that its legend could not be read"


@pytest.mark.filterwarnings("error")
def test_nothing_to_draw_is_said() -> None:
    for figure in (samples_figure(samples([])), keyed_maps(np.empty((0, 2)), np.empty((0, 2)), [])):
        assert "nothing to draw" in figure.axes[0].texts[0].get_text()


@given(st.floats(0.01, 50), st.floats(1.3, 40))
def test_a_threshold_is_an_edge_of_its_histogram(limit: float, times: float) -> None:
    top = limit * times
    edges = _edges(limit, top)
    assert np.isclose(edges, limit).any()
    assert edges[0] == 0 and top * (1 - 1e-9) <= edges[-1] < top * 1.2
    assert 20 <= len(edges) <= 80


def bars(axes: Axes) -> list[Rectangle]:
    assert all(isinstance(patch, Rectangle) for patch in axes.patches)
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_genes_that_stay_never_stand_left_of_a_threshold() -> None:
    rng = np.random.default_rng(0)
    maximum, sd = rng.gamma(1.2, 3, 4000), rng.gamma(1.3, 0.5, 4000)
    genes = pd.DataFrame({"max": maximum, "sd": sd, "name_class": "standard", "kept": (maximum > 5) & (sd > 0.5)})
    figure = gene_filter_figure(genes)
    for axes, limit in zip(figure.axes[:2], (5, 0.5), strict=True):
        half = len(axes.patches) // 2
        staying = bars(axes)[half:]
        assert sum(bar.get_height() for bar in staying if bar.get_x() < limit - 1e-9) == 0
        assert sum(bar.get_height() for bar in staying) == genes["kept"].sum()
