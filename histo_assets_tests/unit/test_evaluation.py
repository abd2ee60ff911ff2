"""Predictions, their figures, baselines, and the choice of an experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gmean
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, f1_score, recall_score

from histo_assets.core.evaluation.baselines import colour_histogram_baseline, colour_histograms, majority_baseline
from histo_assets.core.evaluation.classification import (
    _interval,
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


def predictions(truth: list[str], said: list[str], donors: list[str], confidence: float = 0.8, side: str = "test"):
    """Return a slide-level table in which each slide is predicted with the same confidence."""
    rows = []
    for number, (tissue, predicted, donor) in enumerate(zip(truth, said, donors, strict=True)):
        scores = {f"p_{name}": np.log((1 - confidence) / 2) for name in TISSUES} | {
            f"p_{predicted}": np.log(confidence)
        }
        row = {"slide": f"s{number}", "donor": donor, "tissue": tissue, "side": side}
        rows.append(row | {"predicted": predicted, "confidence": confidence} | scores)
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


def test_slides_stand_in_order_with_their_donors_tissues_and_counts_of_tiles() -> None:
    tiles = predictions(["skin", "liver", "liver"], ["skin", "liver", "skin"], ["d2", "d1", "d1"])
    slides = slide_predictions(tiles.assign(slide=["s2", "s1", "s1"], tile=["a", "b", "c"]))
    assert list(slides.columns[:5]) == ["slide", "donor", "tissue", "side", "tiles"]
    assert slides.iloc[:, :5].to_numpy().tolist() == [["s1", "d1", "liver", "test", 2], ["s2", "d2", "skin", "test", 1]]
    mixed = np.array([0.1, gmean([0.8, 0.1]), gmean([0.1, 0.8])])
    probabilities = np.exp(slides[[f"p_{tissue}" for tissue in TISSUES]].to_numpy(float))
    assert np.allclose(probabilities, [mixed / mixed.sum(), [0.1, 0.1, 0.8]])


def test_tiles_that_are_sure_of_different_tissues_leave_their_slide_undecided() -> None:
    """The means of the logarithms lie far below that of the smallest number there is."""
    tiles = predictions(["skin"] * 3, ["skin", "liver", "colon"], ["d"] * 3)
    tiles = tiles.assign(slide=["s1", "s1", "s2"], p_colon=[-4e3, -4e3, 0.0], p_liver=[-4e3, 0.0, -4e3])
    slides = slide_predictions(tiles.assign(p_skin=[0.0, -4e3, -4e3]))
    scores = slides[[f"p_{tissue}" for tissue in TISSUES]].to_numpy(float)
    assert np.allclose(scores, [[-2e3 - np.log(2), -np.log(2), -np.log(2)], [0, -4e3, -4e3]], atol=1e-9)


def test_a_slide_with_tiles_on_two_sides_has_a_row_for_each() -> None:
    tiles = predictions(["skin"] * 2, ["skin"] * 2, ["d"] * 2).assign(
        slide="s", tile=["a", "b"], side=["test", "train"]
    )
    assert slide_predictions(tiles)["side"].to_list() == ["test", "train"]


def test_figures_of_a_known_table() -> None:
    truth = ["skin"] * 4 + ["liver"] * 2
    said = ["skin", "skin", "skin", "liver", "liver", "colon"]
    table = predictions(truth, said, list("abcdef"), confidence=0.9)
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


def figures_by_sklearn(rows: pd.DataFrame) -> dict[str, float]:
    """Return accuracy, macro F1, calibration error and the recall of every tissue that is there, by scikit-learn."""
    truth, said, sure = rows["tissue"], rows["predicted"], rows["confidence"]
    here = sorted(set(truth))
    hit, claimed = calibration_curve(truth == said, sure, n_bins=15)
    counts = np.histogram(sure, 15, (0, 1))[0]
    return {
        "accuracy": accuracy_score(truth, said),
        "macro_f1": f1_score(truth, said, labels=here, average="macro", zero_division=0),
        "ece": np.abs(hit - claimed) @ counts[counts > 0] / len(rows),
        **dict(zip(here, recall_score(truth, said, labels=here, average=None), strict=True)),
    }


def test_figures_and_intervals_are_those_of_scikit_learn_side_by_side() -> None:
    """Two donors drawn anew are the first twice, both, or the second twice; b alone has skin, and on one tile."""
    rng = np.random.default_rng(7)
    parts = []
    for side in ("train", "test", "validation"):
        said = [*rng.choice(TISSUES, 29), "skin"]
        part = predictions(["liver"] * 29 + ["skin"], said, ["a"] * 15 + ["b"] * 15, side=side)
        parts.append(part.assign(confidence=rng.random(30), tile=[f"t{number}" for number in range(30)]))
    figures = classification_figures(pd.concat(parts, ignore_index=True), 200)
    assert list(figures.columns) == ["level", "side", "metric", "tissue", "value", "low", "high", "n"]
    assert set(figures["level"]) == {"tile"}
    assert list(figures["side"].unique()) == ["test", "train", "validation"]
    for part in parts:
        of_side = figures[figures["side"] == part["side"].iloc[0]]
        assert of_side["metric"].to_list() == ["accuracy", "macro_f1", "ece", "recall", "recall", "recall"]
        assert of_side["tissue"].to_list() == ["", "", "", *TISSUES]
        assert of_side["n"].to_list() == [30, 30, 30, 0, 29, 1]
        a, b = part[:15], part[15:]
        drawn = [figures_by_sklearn(pd.concat(donors)) for donors in ((a, a), (a, b), (b, b))]
        for row in of_side.itertuples():
            values = [draw[name] for draw in drawn if (name := row.tissue or row.metric) in draw] or [np.nan]
            value = drawn[1].get(row.tissue or row.metric, np.nan)
            assert [row.value, row.low, row.high] == pytest.approx([value, min(values), max(values)], nan_ok=True)


def test_each_of_fifteen_bins_of_confidence_counts_alone() -> None:
    """By hand: 0.98 + 0.1 + 0.1 + 1, each in a bin of its own, and the two of the tenth bin together 0.26."""
    said = ["skin", "liver", "skin", "liver", "skin", "liver"]
    table = predictions(["skin"] * 6, said, list("abcdef")).assign(confidence=[0.02, 0.1, 0.9, 1.0, 0.61, 0.65])
    assert figure(classification_figures(table, 10), "ece")["value"] == pytest.approx(2.44 / 6)


def test_intervals_come_from_donors_not_from_slides() -> None:
    truth, said = ["skin"] * 40, ["skin"] * 20 + ["liver"] * 20
    two_donors = classification_figures(predictions(truth, said, ["a"] * 20 + ["b"] * 20), 500)
    many = classification_figures(predictions(truth, said, [f"d{i % 20}" for i in range(40)]), 500)
    assert figure(two_donors, "accuracy")[["low", "high"]].to_list() == [0.0, 1.0]
    assert figure(many, "accuracy")["low"] == figure(many, "accuracy")["high"] == 0.5


def test_an_interval_holds_the_middle_95_per_cent_of_what_is_known() -> None:
    assert _interval(np.array([*range(1001), np.nan])) == (25, 975)
    assert np.isnan(_interval(np.array([np.nan]))).all()


def test_the_same_seed_draws_the_same_donors_and_another_one_others() -> None:
    table = predictions(["skin"] * 30, ["skin"] * 20 + ["liver"] * 10, [f"d{number}" for number in range(30)])
    first = classification_figures(table, 50, seed=1)
    assert classification_figures(table, 50, seed=1).equals(first)
    assert not classification_figures(table, 50, seed=2).equals(first)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(TISSUES)] * 2, st.sampled_from("abcde")), min_size=1, max_size=40))
def test_recalls_weighted_by_their_slides_are_the_accuracy_and_the_confusions_diagonal(rows) -> None:
    truth, said, donors = (list(column) for column in zip(*rows, strict=True))
    table = predictions(truth, said, donors)
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
    with pytest.raises(LearningError, match=r"^tissue 'lung' has rows but no column p_lung in the table"):
        classification_figures(predictions(["colon", "lung"], ["colon", "skin"], ["a", "b"]))


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
    judged = comparison.assign(validation_accuracy=[0.7, 0.9, 0.8], validation_loss=[1.0, 0.5, 0.6])
    choice = choose(judged)
    assert (choice.experiment, choice.epoch) == ("two", 2)
    assert "0.800" in choice.why
    assert choose(judged, "one").experiment == "one"
    tied = judged.assign(validation_accuracy=0.8, validation_loss=[0.4, 0.1, 0.6])
    assert choose(tied).experiment == "one"
    unjudged = choose(judged.assign(validation_accuracy=np.nan))
    assert (unjudged.experiment, unjudged.epoch) == ("one", 1) and "unjudged" in unjudged.why
    with pytest.raises(LearningError, match="three"):
        choose(judged, "three")
