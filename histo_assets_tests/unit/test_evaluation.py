"""Predictions, their figures, baselines, and the choice of an experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.evaluation.baselines import colour_histogram_baseline, colour_histograms, majority_baseline
from histo_assets.core.evaluation.classification import (
    classification_figures,
    confusion,
    slide_predictions,
)
from histo_assets.core.evaluation.experiments import choose, compare_experiments
from histo_assets.core.networks.backbones import build_network
from histo_assets.core.networks.errors import LearningError
from histo_assets.core.training import loop
from histo_assets_tests.unit.training_cohort import (
    TISSUES,
    experiment,
    learning,
    predicted_tiles,
    tile_index,
    training_set,
    training_tiles,
)


def predictions(truth: list[str], predicted: list[str], donors: list[str], confidence: float = 0.8, side: str = "test"):
    """Return a slide-level table in which each slide is predicted with the same confidence."""
    rows = []
    for number, (tissue, best, donor) in enumerate(zip(truth, predicted, donors, strict=True)):
        scores = {f"p_{name}": np.log((1 - confidence) / 2) for name in TISSUES} | {f"p_{best}": np.log(confidence)}
        row = {"slide": f"s{number}", "donor": donor, "tissue": tissue, "side": side}
        rows.append(row | {"predicted": best, "confidence": confidence} | scores)
    return pd.DataFrame(rows)


def figure(figures: pd.DataFrame, metric: str, tissue: str = "") -> pd.Series:
    return figures[(figures["metric"] == metric) & (figures["tissue"] == tissue)].iloc[0]


def test_tiles_are_predicted_with_probabilities_that_sum_to_one() -> None:
    tiles, reader = training_set(experiment())
    network = build_network("efficientnet_lite0", 3)
    rows = tiles[::5]
    table = predicted_tiles(network, rows, reader)
    assert list(table.columns[:7]) == ["tile", "slide", "donor", "tissue", "side", "predicted", "confidence"]
    assert table["tile"].to_list() == rows["tile"].to_list()
    scores = table[[f"p_{tissue}" for tissue in TISSUES]].to_numpy()
    assert np.allclose(np.exp(scores).sum(1), 1, atol=1e-5)
    assert np.allclose(table["confidence"], np.exp(scores.max(1)))
    assert table["predicted"].to_list() == [TISSUES[best] for best in scores.argmax(1)]
    assert predicted_tiles(network, rows[:0], reader).empty


def test_a_slide_is_the_mean_of_its_tiles_log_probabilities() -> None:
    tiles = predictions(["skin"] * 3, ["skin", "skin", "liver"], ["d"] * 3).assign(slide="s", tile=["a", "b", "c"])
    slide = slide_predictions(tiles)
    assert len(slide) == 1 and slide["tiles"][0] == 3
    assert slide["predicted"][0] == "skin"
    expected = tiles[[f"p_{tissue}" for tissue in TISSUES]].mean()
    expected -= np.log(np.exp(expected).sum())
    assert np.allclose(slide[[f"p_{tissue}" for tissue in TISSUES]].iloc[0].astype(float), expected)


def test_a_slide_with_tiles_on_two_sides_has_a_row_for_each() -> None:
    tiles = predictions(["skin"] * 2, ["skin"] * 2, ["d"] * 2).assign(
        slide="s", tile=["a", "b"], side=["test", "train"]
    )
    assert slide_predictions(tiles)["side"].to_list() == ["test", "train"]


def test_figures_of_a_known_table() -> None:
    truth = ["skin"] * 4 + ["liver"] * 2
    predicted = ["skin", "skin", "skin", "liver", "liver", "colon"]
    table = predictions(truth, predicted, list("abcdef"), confidence=0.9)
    figures = classification_figures(table, bootstraps=200, seed=1)
    assert set(figures["level"]) == {"slide"}
    assert figure(figures, "accuracy")["value"] == pytest.approx(4 / 6)
    assert figure(figures, "recall", "skin")["value"] == pytest.approx(3 / 4)
    assert figure(figures, "recall", "liver")["value"] == pytest.approx(1 / 2)
    assert figure(figures, "macro_f1")["value"] == pytest.approx((6 / 7 + 2 / 4) / 2)
    assert figure(figures, "ece")["value"] == pytest.approx(0.9 - 4 / 6)
    colon = figure(figures, "recall", "colon")
    assert np.isnan(colon["value"]) and colon["n"] == 0
    accuracy = figure(figures, "accuracy")
    assert accuracy["low"] < accuracy["value"] < accuracy["high"] and accuracy["n"] == 6


def test_intervals_come_from_donors_not_from_slides() -> None:
    truth, predicted = ["skin"] * 40, ["skin"] * 20 + ["liver"] * 20
    two_donors = classification_figures(predictions(truth, predicted, ["a"] * 20 + ["b"] * 20), 500)
    many = classification_figures(predictions(truth, predicted, [f"d{i % 20}" for i in range(40)]), 500)
    assert figure(two_donors, "accuracy")[["low", "high"]].to_list() == [0.0, 1.0]
    assert figure(many, "accuracy")["low"] == figure(many, "accuracy")["high"] == 0.5
    assert classification_figures(predictions(truth, predicted, ["a"] * 20 + ["b"] * 20), 500).equals(two_donors)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(TISSUES)] * 2, st.sampled_from("abcde")), min_size=1, max_size=40))
def test_recalls_weighted_by_their_slides_are_the_accuracy_and_the_confusions_diagonal(rows) -> None:
    truth, predicted, donors = (list(column) for column in zip(*rows, strict=True))
    table = predictions(truth, predicted, donors)
    figures = classification_figures(table, bootstraps=20)
    recalls = figures[(figures["metric"] == "recall") & (figures["n"] > 0)]
    accuracy = (recalls["value"] * recalls["n"]).sum() / recalls["n"].sum()
    assert figure(figures, "accuracy")["value"] == pytest.approx(accuracy)
    counts = confusion(table, TISSUES)
    assert counts.to_numpy().sum() == len(rows)
    assert np.trace(counts.to_numpy()) / len(rows) == pytest.approx(accuracy)
    assert (figures["low"].fillna(0) <= figures["high"].fillna(0)).all()


def test_the_confusion_matrix_has_the_truth_in_rows() -> None:
    counts = confusion(predictions(["skin", "skin"], ["liver", "skin"], ["a", "b"]), TISSUES)
    assert counts.loc["skin", "liver"] == 1 and counts.loc["liver", "skin"] == 0
    assert counts.index.name == "tissue" and counts.columns.name == "predicted"


def test_a_tissue_without_a_score_is_refused_by_name() -> None:
    with pytest.raises(LearningError, match="tissue 'lung'"):
        classification_figures(predictions(["lung"], ["skin"], ["a"]))


def test_colour_histograms_hold_every_pixel() -> None:
    index, reader = tile_index()
    histograms = colour_histograms(index[:5], reader, px=24)
    assert histograms.shape == (5, 48)
    assert np.allclose(histograms.reshape(5, 3, 16).sum(2), 1)


def test_colours_alone_tell_tissues_of_different_colour() -> None:
    tiles, reader = training_set(experiment())
    table = colour_histogram_baseline(tiles, reader, TISSUES)
    assert len(table) == 27
    figures = classification_figures(table, 50)
    tested = figures[figures["side"] == "test"]
    assert figure(tested, "accuracy")["value"] > 0.9
    assert table.columns.to_list() == [
        "slide",
        "donor",
        "tissue",
        "side",
        "predicted",
        "confidence",
        "p_colon",
        "p_liver",
        "p_skin",
    ]
    assert colour_histogram_baseline(tiles, reader, TISSUES).equals(table)


def test_the_colour_baseline_learns_from_training_slides_only() -> None:
    tiles, reader = training_set(experiment())
    labels = tiles["tissue"].to_numpy().copy()
    elsewhere = tiles["side"].to_numpy() != "train"
    labels[elsewhere] = np.roll(labels[elsewhere], 24)
    mislabelled = tiles.with_columns(tissue=labels)
    one, other = (colour_histogram_baseline(t, reader, TISSUES).set_index("slide") for t in (tiles, mislabelled))
    assert one["predicted"].equals(other["predicted"].reindex(one.index))


def test_a_baseline_with_one_tissue_to_learn_from_always_says_it() -> None:
    tiles, reader = training_set(experiment())
    only = tiles.filter((tiles["tissue"] == "liver") | (tiles["side"] != "train"))
    assert set(colour_histogram_baseline(only, reader, TISSUES)["predicted"]) == {"liver"}


def test_the_majority_baseline_says_the_commonest_training_tissue() -> None:
    tiles, _ = training_set(experiment())
    fewer = tiles.filter(~((tiles["tissue"] != "skin") & tiles["donor"].is_in(["donor8"])))
    table = majority_baseline(fewer, TISSUES)
    assert set(table["predicted"]) == {"skin"}
    assert np.allclose(table["confidence"], 5 / 13)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> pd.DataFrame:
    chosen = {"one": experiment(epochs=1), "two": experiment(epochs=2, learning_rate=1e-5, mode="restart")}
    tiles = training_tiles(chosen["two"])
    checkpoints = []
    for name, settings_ in chosen.items():
        folder: Path = tmp_path_factory.mktemp(name)
        learned = learning(settings_, experiments={name: settings_}, studied=name)
        checkpoints.append(loop.train(name, tiles, learned, folder, lambda line: None))
    return compare_experiments(checkpoints)


def test_experiments_stand_side_by_side_epoch_by_epoch(comparison: pd.DataFrame) -> None:
    assert comparison[["experiment", "epoch"]].to_numpy().tolist() == [["one", 1], ["two", 1], ["two", 2]]
    assert comparison["saved"].to_list() == [True, False, True]
    assert comparison["mode"].to_list() == ["at_once", "restart", "restart"]
    two = comparison[comparison["experiment"] == "two"]
    assert two["total_seconds"].iloc[1] == pytest.approx(two["seconds"].sum())


def test_the_best_saved_epoch_on_validation_is_chosen(comparison: pd.DataFrame) -> None:
    epochs = comparison.assign(validation_accuracy=[0.7, 0.9, 0.8], validation_loss=[1.0, 0.5, 0.6])
    choice = choose(epochs)
    assert (choice.experiment, choice.epoch) == ("two", 2)
    assert "0.800" in choice.why
    assert choose(epochs, "one").experiment == "one"
    tied = epochs.assign(validation_accuracy=0.8, validation_loss=[0.4, 0.1, 0.6])
    assert choose(tied).experiment == "one"
    choice_of_last = choose(epochs.assign(validation_accuracy=np.nan))
    assert (choice_of_last.experiment, choice_of_last.epoch) == ("one", 1) and "unjudged" in choice_of_last.why
    with pytest.raises(LearningError, match="three"):
        choose(epochs, "three")
