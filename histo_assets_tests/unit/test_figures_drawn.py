"""What a figure draws is what its tables hold, counted by pandas and numpy."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from PIL import Image

from histo_assets.core.figures import cohort, evaluation, expression, learning, prediction, projection, slides
from histo_assets.core.figures.palette import short_name
from histo_assets.core.figures.style import ACCENT, ALARM, GOOD
from histo_assets_tests.unit.figure_tables import DEMO, made_images, made_tables

T = made_tables(DEMO[:4])


def rows(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def lengths(bars: Iterable[Any]) -> list[float]:
    return [bar.get_width() for bar in bars]


def bars(axes: Axes, place: int = 0) -> dict[str, float]:
    """Return the name of every row and the length of its bar."""
    return dict(zip(rows(axes), lengths(axes.containers[place]), strict=True))


def columns(axes: Axes) -> dict[str, float]:
    """Return the name of every column and its height."""
    names = [label.get_text() for label in axes.get_xticklabels()]
    return {name: bar.get_height() for name, bar in zip(names, axes.containers[0], strict=True)}


def parts(axes: Axes, beside: Axes | None = None) -> dict[tuple[str, str], float]:
    """Return the lengths of stacked bars by row (named there or `beside`) and part, without those of length 0."""
    found = {
        (name, str(part.get_label())): length
        for part in axes.containers
        for name, length in zip(rows(beside or axes), lengths(part), strict=True)
    }
    return {key: length for key, length in found.items() if length}


def named(counts: pd.Series) -> dict[Any, float]:
    """Return a count per tissue, or per tissue and something else, by the tissue's short name."""
    return {
        short_name(key) if isinstance(key, str) else (short_name(key[0]), *key[1:]): count  # type: ignore[index]
        for key, count in counts.items()
    }


def test_the_cohort_is_counted_by_tissue_with_and_without_rna_and_by_donors_traits() -> None:
    slides_and_pairs, sex, age = cohort.cohort_overview(T.manifest, T.pairs).axes
    assert bars(slides_and_pairs) == named(T.manifest["tissue"].value_counts())
    assert bars(slides_and_pairs, 1) == named(T.pairs["tissue"].value_counts())
    donors = T.manifest.drop_duplicates("donor")
    assert columns(sex) == donors["sex"].value_counts().to_dict()
    assert columns(age) == donors["age"].value_counts().to_dict()


def test_pairs_are_shares_of_the_tissue_s_slides_and_counted_by_donor() -> None:
    left, right = cohort.pairing_figure(T.manifest, T.pairs).axes
    assert bars(left) == pytest.approx(
        named(100 * T.pairs["tissue"].value_counts() / T.manifest["tissue"].value_counts())
    )
    drawn = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in right.containers[0]}
    assert {pairs: donors for pairs, donors in drawn.items() if donors} == (
        T.pairs["donor"].value_counts().value_counts().to_dict()
    )


def test_selected_slides_stand_beside_those_available() -> None:
    selected = T.pairs[T.pairs["tissue"] == T.tissues[0]]
    figure = cohort.selection_figure(selected, available=len(selected) + 12)
    assert columns(figure.axes[0]) == {"available": len(selected) + 12, "taken": len(selected)}
    per_donor = selected["donor"].value_counts().value_counts()
    assert columns(figure.axes[1]) == {str(taken): donors for taken, donors in per_donor.items()}


def test_the_split_counts_donors_and_not_slides() -> None:
    left, right = cohort.split_figure(T.split, T.pairs).axes
    assert parts(left) == named(T.pairs.merge(T.split, on="donor").groupby(["tissue", "side"])["donor"].nunique())
    folds = T.split["fold"].value_counts()
    assert columns(right) == {"locked" if fold == -1 else str(fold): donors for fold, donors in folds.items()}


def test_slides_stand_at_their_size_in_millimetres() -> None:
    """The first of the slides is quarantined, and of the last one no width is known."""
    raw = T.raw_slides
    in_use, quarantined = slides.slide_sizes(raw).axes[0].collections
    sizes = raw[["width", "height"]].to_numpy() * 0.4942 / 1000
    np.testing.assert_allclose(np.asarray(in_use.get_offsets()), sizes[1:-1])
    np.testing.assert_allclose(np.asarray(quarantined.get_offsets()), sizes[:1])


def test_grid_cells_and_tiles_are_counted_by_what_became_of_them() -> None:
    left, right = slides.funnel_figure(T.funnel).axes
    funnel = T.funnel.set_index("slide")
    cells = pd.DataFrame({"tissue": funnel["candidates"] - funnel["no_tissue"], "no tissue": funnel["no_tissue"]})
    looked = funnel[["kept", "half_empty", "dirt", "blur", "pen", "lost"]].rename(columns={"half_empty": "half empty"})
    looked["good, not needed"] = funnel["good"] - funnel["kept"]
    looked = looked.assign(**{"small file": funnel["jpeg_size"], "damaged": looked.pop("lost")})
    for axes, table in ((left, cells), (right, looked)):
        assert parts(axes, left) == {key: count for key, count in table.stack().items() if count}


def test_tile_sizes_have_their_median_and_threshold_in_the_row_of_their_tissue() -> None:
    limits = {tissue: 0.1 + 0.01 * row for row, tissue in enumerate(T.tissues)}
    axes = slides.jpeg_size_figure(T.index, limits).axes[0]
    medians = T.index.to_pandas().groupby("tissue")["jpeg_bytes"].median()
    assert rows(axes) == [short_name(str(tissue)) for tissue in medians.index]
    drawn = [float(np.asarray(line.get_xdata())[0]) for line in axes.lines if line.get_color() == ACCENT]
    assert drawn == pytest.approx(medians.to_list())
    points = [[limits[str(tissue)], row] for row, tissue in enumerate(medians.index)]
    np.testing.assert_allclose(np.asarray(axes.collections[-1].get_offsets()), points)


def test_the_tiles_of_one_tissue_are_a_histogram_of_all_of_them() -> None:
    axes = slides.jpeg_size_figure(T.index[:60].drop("tissue"), 0.14).axes[0]
    assert sum(bar.get_height() for part in axes.containers for bar in part) == 60  # type: ignore[attr-defined]
    assert [float(np.asarray(line.get_xdata())[0]) for line in axes.lines] == [0.14]


def test_images_are_drawn_as_they_are_above_their_captions() -> None:
    captions = [f"slide {number} of the tissue" for number in range(3)]
    axes = slides.image_grid(made_images(24)[:3], captions, 2, "Tiles").axes
    assert [" ".join(panel.get_xlabel().split()) for panel in axes] == captions
    for panel, jpeg in zip(axes, made_images(24), strict=False):
        assert np.array_equal(np.asarray(panel.images[0].get_array()), np.asarray(Image.open(io.BytesIO(jpeg))))


def test_genes_left_after_each_filter_have_their_share_of_the_first() -> None:
    axes = expression.filter_funnel(T.gene_funnel).axes[0]
    assert bars(axes) == dict(zip(T.gene_funnel["step"], T.gene_funnel["genes"], strict=True))
    assert [text.get_text() for text in axes.texts][-1] == "17\u2009408  (31%)"


def test_components_and_their_sum_are_in_per_cent() -> None:
    axes = expression.explained_variance([0.5, 0.25, 0.125]).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [50, 25, 12.5]  # type: ignore[attr-defined]
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == [50, 75, 87.5]


def test_tiles_are_counted_by_tissue_and_side() -> None:
    axes = learning.sides_figure(T.training_set).axes[0]
    assert parts(axes) == named(T.training_set.to_pandas().groupby(["tissue", "side"]).size())


def test_the_history_is_drawn_column_by_column() -> None:
    accuracy, loss = learning.training_history(T.history).axes
    for axes, metric, factor in ((accuracy, "accuracy", 100), (loss, "loss", 1)):
        lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in axes.lines}
        assert list(lines) == ["train, while training", "train", "validation"]
        for line, column in zip(lines.values(), ("train", "train_eval", "validation"), strict=True):
            np.testing.assert_allclose(line, factor * T.history[f"{column}_{metric}"])


def test_the_fastest_experiment_stands_on_top() -> None:
    axes = learning.experiment_times(T.experiments).axes[0]
    means = T.experiments.groupby("experiment")[["seconds", "cpu_seconds"]].mean().sort_values("seconds")
    assert rows(axes) == [str(name).replace("_", " ") for name in means.index]
    assert lengths(axes.containers[0]) == pytest.approx(means["seconds"].to_list())
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == pytest.approx(means["cpu_seconds"].to_list())


def test_curves_are_those_of_the_named_experiments() -> None:
    axes = learning.experiment_curves(T.experiments, ["resnet50", "b0_30"]).axes[0]
    drawn = {str(line.get_label()): np.asarray(line.get_ydata()) for line in axes.lines if line.get_linestyle() == "-"}
    assert list(drawn) == ["resnet50", "b0 30"]
    for name, curve in zip(("resnet50", "b0_30"), drawn.values(), strict=True):
        of_one = T.experiments[T.experiments["experiment"] == name]
        np.testing.assert_allclose(curve, 100 * of_one["validation_accuracy"])


def test_the_table_of_epochs_holds_the_figures_of_the_named_ones() -> None:
    cells = [text.get_text() for text in learning.epoch_table_figure(T.history, [5, 30]).axes[0].texts]
    named_epochs = T.history.set_index("epoch").loc[[5, 30]]
    assert cells[:3] == ["", "epoch 5", "epoch 30"]
    assert cells[3:6] == ["Accuracy, train (%)", *(f"{v:.2f}" for v in 100 * named_epochs["train_eval_accuracy"])]
    assert cells[12:] == ["Loss, validation", *(f"{v:.2f}" for v in named_epochs["validation_loss"])]


def test_recalls_stand_from_best_to_worst_and_accuracies_beside_the_baselines() -> None:
    left, right = learning.classification_figure(T.classification).axes
    recalls = T.classification[T.classification["metric"] == "recall"].sort_values("value", ascending=False)
    assert rows(left) == [f"{short_name(tissue)}  (12)" for tissue in recalls["tissue"]]
    points = [float(np.asarray(line.get_xdata())[0]) for line in left.lines if len(np.asarray(line.get_xdata())) == 1]
    assert points == pytest.approx(recalls["value"].to_list())
    drawn = dict(zip(rows(right), (text.get_text() for text in right.texts), strict=True))
    assert drawn == {
        "network, slide, accuracy": "0.90",
        "colour histogram, slide, accuracy": "0.62",
        "majority, slide, accuracy": "0.25",
        "network, tile, accuracy": "0.90",
        "colour histogram, tile, accuracy": "0.62",
        "majority, tile, accuracy": "0.25",
        "network, slide, macro f1": "0.88",
    }


def test_what_tiles_are_taken_for_is_in_per_cent_of_them_with_the_true_tissue_in_bold() -> None:
    axes = learning.tissue_mix_figure(pd.Series({"liver": 30, "stomach": 10, "lung": 0}), "stomach").axes[0]
    assert bars(axes) == {"Liver": 75, "Stomach": 25}
    assert [label.get_fontweight() for label in axes.get_yticklabels()] == ["normal", "bold"]


def test_points_stand_where_they_are_in_the_order_of_tissues_and_epochs() -> None:
    axes = projection.scatter(T.umap, T.point_tissues, "Slides", marked=projection.Mark(T.tsne[:1], "new")).axes[0]
    drawn = np.concatenate([np.asarray(some.get_offsets()) for some in axes.collections])
    order = np.argsort(T.point_tissues, kind="stable")
    np.testing.assert_allclose(drawn, [*T.umap[order], T.tsne[0]])
    assert "new" in [text.get_text() for text in axes.texts]
    epochs = projection.epochs_figure({10: T.tsne, 5: T.umap}, T.point_tissues, "Slides").axes
    beside = projection.two_scatters(T.umap, T.tsne, T.point_tissues, "Slides").axes
    for panels, names in ((epochs, ["UMAP after epoch 5", "UMAP after epoch 10"]), (beside, ["UMAP", "t-SNE"])):
        assert [panel.get_title(loc="left") for panel in panels] == names
        for panel, points in zip(panels, (T.umap, T.tsne), strict=True):
            drawn = np.concatenate([np.asarray(some.get_offsets()) for some in panel.collections])
            np.testing.assert_allclose(drawn, points[order])


def test_every_gene_is_in_the_histogram_of_its_regressor() -> None:
    for axes, column in zip(prediction.r2_figure(T.gene_figures).axes, ("r2", "r2_within"), strict=True):
        medians = T.gene_figures.groupby("regressor", sort=False)[column].median()
        handles, labels = axes.get_legend_handles_labels()
        assert labels == [f"{kind}: median {median:.2f}" for kind, median in medians.items()]
        assert [handle.get_data().values.sum() for handle in handles] == [400, 400]  # type: ignore[attr-defined]


def test_the_best_genes_stand_in_order_with_their_regressor() -> None:
    figure = prediction.recoverable_figure(T.recoverable, top=10)
    best = T.recoverable.sort_values(["recoverable", "r2_within"], ascending=False).head(10)
    assert rows(figure.axes[0]) == [f"{row.gene} ({row.regressor})" for row in best.itertuples()]
    assert figure.get_suptitle() == f"Genes an image can tell: {T.recoverable['recoverable'].sum()} pass"


def test_a_cluster_s_row_is_the_shares_of_its_tissues() -> None:
    axes = prediction.cluster_figure(T.clusters).axes[0]
    shown = np.asarray(axes.images[0].get_array())
    tissues = [label.get_text() for label in axes.get_xticklabels()]
    drawn = {
        (row, t): s for row, line in zip(rows(axes), shown, strict=True) for t, s in zip(tissues, line, strict=True)
    }
    counts = pd.crosstab(T.clusters["cluster"], T.clusters["tissue"])
    assert drawn == pytest.approx({
        (f"{cluster}  ({line.sum()})", short_name(str(tissue))): count / line.sum()
        for cluster, line in counts.iterrows()
        for tissue, count in line.items()
    })  # fmt: skip


def test_the_genes_that_vary_most_between_clusters_are_drawn_over_their_means() -> None:
    axes = prediction.cluster_expression_figure(T.cluster_expression, top=15).axes[0]
    genes = [label.get_text() for label in axes.get_xticklabels()]
    assert set(genes) == set(T.cluster_expression.std().nlargest(15).index)
    over_mean = T.cluster_expression[genes] - T.cluster_expression[genes].mean()
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), over_mean)


def test_ways_to_predict_stand_beside_one_another_with_the_best_in_green() -> None:
    """The last method has the largest r2 and the smallest error; distance from the mean knows no best."""
    metrics = list(dict.fromkeys(T.comparison["metric"]))
    for axes, metric in zip(prediction.comparison_figure(T.comparison).axes, metrics, strict=True):
        of_metric = T.comparison[T.comparison["metric"] == metric]
        folds, locked = (of_metric[of_metric["side"] == side]["value"].to_list() for side in ("folds", "locked"))
        assert lengths(axes.containers[0]) == pytest.approx(folds)
        assert np.asarray(axes.lines[0].get_xdata()).tolist() == pytest.approx(locked)
        green = [row for row, bar in enumerate(axes.patches) if to_hex(bar.get_facecolor()) == GOOD]
        assert green == ([] if metric == "from_tissue_mean" else [6])


def test_tiles_lie_where_they_were_cut_over_a_slide_with_a_scale() -> None:
    """20,000 px of 0.5 um are 10 mm, and the bar is the longest of 1, 2 or 5 that fits into a quarter of them."""
    places = prediction.TilePlaces([2000, 2448], [3000, 3000], 448)
    drawn = prediction.DrawnSlide(made_images(24)[0], (20_000, 14_000), 0.5)
    axes = prediction.tile_heatmap(places, [1.0, 3.0], "KRT5", slide=drawn).axes[0]
    tiles = axes.collections[0]
    assert np.asarray(tiles.get_array()).tolist() == [1.0, 3.0]
    corners = [np.asarray(path.vertices) for path in tiles.get_paths()]
    assert [[*corner.min(axis=0), *corner.max(axis=0)] for corner in corners] == [
        [2000, 3000, 2448, 3448],
        [2448, 3000, 2896, 3448],
    ]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 20_000), (14_000, 0))
    assert [text.get_text() for text in axes.texts] == ["2 mm; slide 10.0 mm wide"]


def test_the_most_probable_tissue_stands_on_top_and_in_the_title() -> None:
    figure = prediction.tissue_probabilities(["liver", "stomach", "lung"], [0.3, 0.6, 0.1], top=2)
    assert bars(figure.axes[0]) == {"Stomach": 0.6, "Liver": 0.3}
    assert figure.get_suptitle() == "Which tissue is it? Stomach, 60%"


def test_genes_furthest_from_the_tissue_mean_stand_from_above_to_below_it() -> None:
    genes, predicted = ["A", "B", "C", "D"], [5.0, 1.0, 3.0, 4.0]
    axes = prediction.top_genes_figure(genes, predicted, [1.0, 4.0, 3.0, 3.0], top=3).axes[0]
    assert rows(axes) == ["A", "D", "B"]
    drawn = {to_hex(line.get_color()): np.asarray(line.get_xdata()).tolist() for line in axes.lines}
    assert drawn[ALARM] == [5.0, 4.0] and drawn[ACCENT] == [1.0]
    assert bars(prediction.top_genes_figure(genes, predicted, top=2).axes[0]) == {"A": 5.0, "D": 4.0}


def test_confusions_of_experiments_stand_side_by_side_with_their_accuracy() -> None:
    tissues = ["liver", "lung"]
    counts = {"b0_30": [[3, 1], [0, 4]], "resnet50": [[0, 2], [2, 0]], "not judged": [[0, 0], [0, 0]]}
    tables = {name: pd.DataFrame(table, index=tissues, columns=tissues) for name, table in counts.items()}
    panels = [axes for axes in evaluation.confusion_grid(tables).axes if axes.images]
    assert [axes.get_title(loc="left") for axes in panels] == ["b0 30  0.88", "resnet50  0.00"]
    drawn = [np.asarray(axes.images[0].get_array()).tolist() for axes in panels]
    assert drawn == [[[0.75, 0.25], [0, 1]], [[0, 1], [1, 0]]]


def test_mistakes_among_look_alikes_are_in_per_cent_by_sex_on_locked_donors() -> None:
    row = {"metric": "mistaken", "level": "slide", "tissue": "liver", "predicted": "lung", "low": 0.1, "high": 0.9}
    on_test = [row | {"side": "test", "sex": sex, "value": value, "n": 8} for sex, value in (("", 0.5), ("male", 0.25))]
    elsewhere = [
        row | other | {"sex": "", "value": 0.75, "n": 8}
        for other in ({"side": "train"}, {"side": "test", "level": "tile"})
    ]
    axes = evaluation.mistaken_figure(pd.DataFrame(on_test + elsewhere)).axes[0]
    assert rows(axes) == ["Liver taken for Lung, all  (8)", "Liver taken for Lung, male  (8)"]
    spans = [np.asarray(line.get_xdata()).tolist() for line in axes.lines]
    assert spans == [[10, 90], [50], [10, 90], [25]]


def test_first_epochs_stand_beside_the_range_of_the_post() -> None:
    table = pd.DataFrame(
        {"experiment": ["a", "a", "b_2"], "epoch": [1, 2, 1], "validation_accuracy": [0.125, 0.9, 0.5]}
    )
    axes = learning.first_epochs_figure(table, ["b_2", "a", "never ran"]).axes[0]
    assert rows(axes) == ["b 2", "a"] and np.asarray(axes.lines[0].get_xdata()).tolist() == [50, 12.5]
    assert axes.get_title(loc="left").endswith(": 12 to 50 %")
    assert (axes.patches[0].get_x(), axes.patches[0].get_width()) == (3, 67)  # type: ignore[attr-defined]
