"""Samples that have image and expression: slides pooled by hand, rows in the order of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from histo_assets.core.prediction.covariates import PredictionError
from histo_assets.core.prediction.paired_samples import pooled_samples, with_expression


@pytest.fixture
def slides() -> AnnData:
    """Return three slides of two dimensions: the first two are of sample `s2`."""
    obs = pd.DataFrame({"tiles": [1, 3, 2]}, index=["a", "b", "c"])
    return AnnData(np.array([[0, 8], [4, 0], [5, 6]], np.float32), obs=obs)


@pytest.fixture
def expression() -> AnnData:
    obs = pd.DataFrame(
        {
            "slides": ["c", "lost", "a;b;lost"],
            "donor": ["d1", "d2", "d3"],
            "tissue": ["liver", "liver", "heart"],
            "fold": [-1, 0, 1],
            "rin": [7.0, 6.5, 8.0],
        },
        index=["s0", "s1", "s2"],
    )
    return AnnData(np.arange(6, dtype=np.float32).reshape(3, 2), obs=obs, var=pd.DataFrame(index=["G1", "G2"]))


def test_slides_of_a_sample_are_averaged_by_their_tiles(slides: AnnData, expression: AnnData) -> None:
    samples = pooled_samples(slides, expression)
    assert samples.obs_names.tolist() == ["s0", "s2"]
    np.testing.assert_array_equal(samples.X, [[5, 6], [3, 2]])  # (0 + 3 x 4) / 4 and (8 + 0) / 4
    assert samples.obs["tiles"].tolist() == [2, 4]
    assert samples.obs["donor"].tolist() == ["d1", "d3"]
    assert "tiles" not in expression.obs


def test_expression_is_taken_by_the_name_of_the_sample(slides: AnnData, expression: AnnData) -> None:
    samples = pooled_samples(slides, expression)
    paired = with_expression(samples, expression[["s2", "s1", "s0"]], ["rin"])
    np.testing.assert_array_equal(paired.X, [[5, 6], [3, 2]])
    np.testing.assert_array_equal(paired.Y, [[0, 1], [4, 5]])
    assert (list(paired.genes), list(paired.donors), list(paired.tissues)) == (
        ["G1", "G2"],
        ["d1", "d3"],
        ["liver", "heart"],
    )
    assert list(paired.folds) == [-1, 1]
    assert paired.covariates is not None and paired.covariates["rin"].tolist() == [7.0, 8.0]
    assert with_expression(samples, expression).covariates is None


def test_an_unknown_covariate_is_named_with_those_there_are(slides: AnnData, expression: AnnData) -> None:
    samples = pooled_samples(slides, expression)
    with pytest.raises(PredictionError, match="covariate 'age' is no column of the cohort; it has donor, fold, rin"):
        with_expression(samples, expression, ["age"])


def test_where_no_slide_was_embedded_there_are_no_samples(slides: AnnData, expression: AnnData) -> None:
    expression.obs["slides"] = "lost"
    assert pooled_samples(slides, expression).shape == (0, 2)
