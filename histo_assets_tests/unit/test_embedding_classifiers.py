"""The second classifier on embeddings, and tissues that pass for one another."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.embedding.classifiers import second_classifiers
from histo_assets.core.evaluation.classification import classification_figures
from histo_assets.core.evaluation.look_alikes import donor_sexes, merged_figures, mistaken_figures, present
from histo_assets.core.networks.errors import LearningError

TISSUES = ("breast", "fat", "liver")


def embedded(spread: float, seed: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the tiles of 12 donors and embeddings that lie `spread` around a centre a tissue."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 20))
    rows, vectors = [], []
    for donor in range(12):
        side = "train" if donor < 7 else "validation" if donor < 9 else "test"
        for label, tissue in enumerate(TISSUES):
            for tile in range(5):
                rows.append((f"{donor}{tissue}{tile}", f"{donor}{tissue}", f"d{donor}", tissue, side))
                vectors.append(centres[label] + rng.normal(0, spread, 20))
    columns = ["tile", "slide", "donor", "tissue", "side"]
    return pl.DataFrame(rows, schema=columns, orient="row"), np.asarray(vectors, np.float32)


def test_both_classifiers_find_what_lies_in_the_embeddings_of_tiles_and_slides() -> None:
    rows, vectors = embedded(0.3)
    predicted = second_classifiers(rows, vectors, TISSUES)
    assert set(predicted) == {"logistic regression", "LightGBM"}
    for tiles, slides in predicted.values():
        assert len(tiles) == 180 and len(slides) == 36 and "tile" not in slides
        for table in (tiles, slides):
            locked = table[table["side"] == "test"]
            assert (locked["predicted"] == locked["tissue"]).mean() > 0.9
            assert np.allclose(np.exp(table[[f"p_{t}" for t in TISSUES]].to_numpy()).sum(1), 1, atol=1e-6)


def test_where_nothing_lies_in_the_embeddings_nothing_is_found_on_locked_donors() -> None:
    rows, vectors = embedded(0.3)
    noise = np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    for tiles, _ in second_classifiers(rows, noise, TISSUES).values():
        locked = tiles[tiles["side"] == "test"]
        assert (locked["predicted"] == locked["tissue"]).mean() < 0.6


def test_only_the_training_side_is_learnt_from() -> None:
    rows, vectors = embedded(0.5)
    elsewhere = vectors.copy()
    apart = (rows["side"] != "train").to_numpy()
    elsewhere[apart] = 0
    first, second = (second_classifiers(rows, matrix, TISSUES) for matrix in (vectors, elsewhere))
    for method in first:
        for before, after in zip(first[method], second[method], strict=True):
            train = (before["side"] == "train").to_numpy()
            pd.testing.assert_frame_equal(before[train], after[train])


def test_a_tissue_without_training_tiles_gets_no_probability() -> None:
    rows, vectors = embedded(0.3)
    rows = rows.with_columns(side=pl.when(pl.col("tissue") == "liver").then(pl.lit("test")).otherwise(pl.col("side")))
    for tables in second_classifiers(rows, vectors, TISSUES).values():
        assert all((table["predicted"] != "liver").all() for table in tables)


def test_one_tissue_to_learn_from_is_refused() -> None:
    rows, vectors = embedded(0.3)
    with pytest.raises(LearningError, match="fewer than two tissues"):
        second_classifiers(rows.filter(pl.col("tissue") == "fat"), vectors[:60], TISSUES)
    with pytest.raises(LearningError, match="180 tiles are given, but 60 embeddings"):
        second_classifiers(rows, vectors[:60], TISSUES)


def slide_table(truth: list[str], predicted: list[str], donors: list[str]) -> pd.DataFrame:
    """Return a slide-level table of locked donors."""
    table = pd.DataFrame({"slide": [f"s{n}" for n in range(len(truth))], "donor": donors, "tissue": truth})
    table = table.assign(side="test", predicted=predicted, confidence=0.8)
    for tissue in TISSUES:
        table[f"p_{tissue}"] = [np.log(0.8 if tissue == best else 0.1) for best in predicted]
    return table


def test_mistakes_within_a_group_are_counted_by_sex() -> None:
    table = slide_table(["breast"] * 4 + ["fat"] * 2, ["fat", "fat", "breast", "breast", "fat", "fat"], list("abcdab"))
    sexes = {"a": "male", "b": "male", "c": "female"}
    figures = mistaken_figures(table, [("fat", "breast")], sexes, 200).set_index(["tissue", "predicted", "sex"])
    value = figures["value"].to_dict()
    assert value["breast", "fat", "male"] == 1.0 and value["breast", "fat", "female"] == 0.0
    assert value["breast", "fat", ""] == 0.5 and value["fat", "breast", ""] == 0.0
    assert figures.loc[("breast", "fat", ""), "n"] == 4
    assert figures["low"]["breast", "fat", ""] < 0.5 < figures["high"]["breast", "fat", ""]


def test_groups_of_which_a_study_has_one_tissue_count_for_nothing() -> None:
    assert present([("fat", "breast"), ("liver", "spleen")], TISSUES) == [["fat", "breast"]]
    table = slide_table(["liver"], ["fat"], ["a"])
    assert merged_figures(table, [("liver", "spleen")], 10).empty
    assert mistaken_figures(table, [("liver", "spleen")], {}, 10).empty


@given(st.lists(st.tuples(*[st.sampled_from(TISSUES)] * 2, st.sampled_from("abcd")), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_merging_forgives_mistakes_within_the_group_and_no_others(rows) -> None:
    table = slide_table(*(list(column) for column in zip(*rows, strict=True)))
    figures = merged_figures(table, [("fat", "breast")], 20).set_index("metric")
    right = [(of == predicted) or {of, predicted} == {"fat", "breast"} for of, predicted, _ in rows]
    assert figures.loc["merged_accuracy", "value"] == pytest.approx(np.mean(right))
    plain = classification_figures(table, 20).set_index("metric")
    assert figures["value"]["merged_accuracy"] >= plain["value"]["accuracy"]


def test_sexes_come_from_the_cohorts_table_where_it_has_them() -> None:
    manifest = pd.DataFrame({"slide": ["x", "y", "z"], "donor": ["a", "a", "b"], "sex": ["male", "male", None]})
    assert donor_sexes(manifest) == {"a": "male"}
    assert donor_sexes(manifest.drop(columns="sex")) == {}
