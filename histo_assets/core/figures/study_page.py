"""The page of a whole study: every figure and table of the published study, drawn from stored tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import pandas as pd

from histo_assets.core.figures import cohort, evaluation, expression, learning, prediction, projection, slides
from histo_assets.core.figures.page import (
    ListBlock,
    Paragraph,
    PictureBlock,
    Section,
    TableBlock,
    render_page,
)
from histo_assets.core.figures.style import png

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure


class Headline(Protocol):
    """What the page needs to know of an evaluation: the side that reports, and accuracies, 0 to 1."""

    @property
    def judged_on(self) -> str: ...  # noqa: D102
    @property
    def slide_accuracy(self) -> float: ...  # noqa: D102
    @property
    def slide_accuracy_low(self) -> float: ...  # noqa: D102
    @property
    def slide_accuracy_high(self) -> float: ...  # noqa: D102
    @property
    def tile_accuracy(self) -> float: ...  # noqa: D102
    @property
    def logistic_regression_accuracy(self) -> float: ...  # noqa: D102
    @property
    def lightgbm_accuracy(self) -> float: ...  # noqa: D102
    @property
    def colour_histogram_accuracy(self) -> float: ...  # noqa: D102
    @property
    def majority_accuracy(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class TrainingTables:
    """What a study that trains has besides."""

    experiments: pd.DataFrame
    questions: Mapping[str, Sequence[str]]
    confusions_by_experiment: Mapping[str, pd.DataFrame]
    studied: str
    evaluation: pd.DataFrame
    headline: Headline
    confusions: Mapping[str, pd.DataFrame]
    epoch_projections: Mapping[str, AnnData]


@dataclass(frozen=True)
class StudyTables:
    """The stored tables and matrices that the page is drawn from."""

    manifest: pd.DataFrame
    pairs: pd.DataFrame
    split: pd.DataFrame
    raw_slides: pd.DataFrame
    funnel: pd.DataFrame
    contact_sheet: bytes
    expression: AnnData
    min_max: float
    min_sd: float
    expression_projection: AnnData
    chosen: str
    training: TrainingTables | None
    tile_projection: AnnData
    slide_projection: AnnData
    joint_projection: AnnData
    gene_figures: Mapping[str, pd.DataFrame]
    recoverable: pd.DataFrame
    clusters: pd.DataFrame
    cluster_expression: AnnData
    comparison: pd.DataFrame


@dataclass(frozen=True)
class KeyFigures:
    """What stands at the head of the page.

    Attributes
    ----------
    slides, quarantined, missing
        Selected slides, those of them whose file cannot be used, and those that are not there.
    donors
        Donors of the split.
    tiles
        Tiles kept.
    genes
        Genes that passed the filters.
    slide_accuracy
        The network's accuracy on slides of the side that reports, 0 to 1; None where nothing was trained.
    recoverable_genes
        Genes that are shown to be recoverable by any regressor.
    """

    slides: int
    quarantined: int
    missing: int
    donors: int
    tiles: int
    genes: int
    slide_accuracy: float | None
    recoverable_genes: int

    def by_name(self) -> dict[str, int | float]:
        """Return the figures that there are, by name, in their order."""
        return {name: figure for name, figure in asdict(self).items() if figure is not None}


@dataclass(frozen=True)
class StudyPage:
    """The page, its key figures and the picture that stands for it."""

    html: str
    key_figures: KeyFigures
    cover: bytes


def study_page(title: str, description: str, assumptions: Sequence[str], tables: StudyTables) -> StudyPage:
    """Return the page of a study, self-contained."""
    figures = key_figures(tables)
    sections = [
        _cohort_section(tables),
        _tile_section(tables),
        _expression_section(tables),
        _model_section(tables.chosen, tables.training),
        _embedding_section(tables),
        _integration_section(tables),
        _gene_section(tables),
    ]
    if assumptions:
        sections.append(Section("What was assumed", (ListBlock(tuple(assumptions)),)))
    html = render_page(
        title,
        description,
        sections,
        key_figures={name.replace("_", " "): _shown(value) for name, value in figures.by_name().items()},
    )
    return StudyPage(html, figures, png(_scatter(tables.slide_projection, "Slides")))


def key_figures(t: StudyTables) -> KeyFigures:
    """Return the counts and figures that stand at the head of the page."""
    return KeyFigures(
        slides=int(t.raw_slides["slide"].nunique()),
        quarantined=int(t.raw_slides["quarantined"].notna().sum()),
        missing=int(t.raw_slides["missing"].notna().sum()),
        donors=len(t.split),
        tiles=int(t.funnel["kept"].sum()),
        genes=t.expression.n_vars,
        slide_accuracy=t.training.headline.slide_accuracy if t.training else None,
        recoverable_genes=int(t.recoverable.loc[t.recoverable["recoverable"], "gene"].nunique()),
    )


def _shown(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def _picture(figure: Figure | bytes, caption: str) -> PictureBlock:
    return PictureBlock(figure if isinstance(figure, bytes) else png(figure), caption)


def _scatter(adata: AnnData, title: str) -> Figure:
    drawn = adata.obs["drawn"].to_numpy(dtype=bool)
    tissues = list(adata.obs["tissue"].astype(str)[drawn])
    return projection.two_scatters(adata.obsm["X_umap"][drawn], adata.obsm["X_tsne"][drawn], tissues, title)


def _cohort_section(t: StudyTables) -> Section:
    bad = t.raw_slides[t.raw_slides["quarantined"].notna()][["slide", "tissue", "quarantined"]]
    missing = t.raw_slides[t.raw_slides["missing"].notna()][["slide", "tissue", "missing"]]
    selected = t.raw_slides[["slide", "donor", "tissue"]]
    return Section(
        "Cohort",
        (
            _picture(cohort.cohort_overview(t.manifest, t.pairs), "The cohort (Fig. 1 of the post)."),
            _picture(cohort.split_figure(t.split, selected), "Donors of each tissue on each side of the split."),
            Paragraph(
                f"Selected slides: {len(t.raw_slides)}; quarantined (the file cannot be used): {len(bad)};"
                f" missing (there is no file, or it could not be fetched): {len(missing)}."
            ),
            *([TableBlock(bad, "Quarantined slides, with the reason.")] if len(bad) else []),
            *([TableBlock(missing, "Missing slides, with the reason.")] if len(missing) else []),
        ),
    )


def _tile_section(t: StudyTables) -> Section:
    counts = t.funnel.drop(columns=["slide"]).groupby("tissue", sort=False).sum(numeric_only=True).reset_index()
    funnel = slides.funnel_figure(counts.rename(columns={"tissue": "slide"}), row="tissue")
    return Section(
        "Tiles",
        (
            _picture(t.contact_sheet, "Tiles drawn from the training set (Fig. 2)."),
            _picture(funnel, "What each filter threw out."),
            TableBlock(counts, "Candidates, rejections by reason and tiles kept, by tissue."),
        ),
    )


def _expression_section(t: StudyTables) -> Section:
    return Section(
        "Expression",
        (
            Paragraph(f"{t.expression.n_obs} samples, {t.expression.n_vars} genes after the three filters."),
            _picture(
                expression.gene_filter_figure(t.expression.uns["gene_filter"], t.min_max, t.min_sd),
                "Maxima, standard deviations and names of all genes of the file (Fig. 3).",
            ),
            _picture(expression.filter_funnel(t.expression.uns["funnel"]), "What each filter left."),
            _picture(_scatter(t.expression_projection, "Expression"), "Expression, UMAP and t-SNE (Figs. 17, 18)."),
        ),
    )


def _model_section(chosen: str, t: TrainingTables | None) -> Section:
    if t is None:
        return Section("Network", (Paragraph(f"Serving as it is, nothing was trained: {chosen}."),))
    judged = t.headline
    saved = t.experiments[(t.experiments["experiment"] == t.studied) & t.experiments["saved"]]
    return Section(
        "Classifier",
        (
            Paragraph(f"Serving: {chosen}."),
            Paragraph(
                f"On {judged.judged_on}: slide accuracy {judged.slide_accuracy:.3f} (95 % over donors:"
                f" {judged.slide_accuracy_low:.3f} to {judged.slide_accuracy_high:.3f}), tile accuracy"
                f" {judged.tile_accuracy:.3f}; on its embeddings logistic regression"
                f" {judged.logistic_regression_accuracy:.3f}, LightGBM {judged.lightgbm_accuracy:.3f}; colour histogram"
                f" {judged.colour_histogram_accuracy:.3f}, commonest tissue {judged.majority_accuracy:.3f}."
            ),
            _picture(learning.experiment_times(t.experiments), "Training time by experiment (Fig. 4)."),
            _picture(learning.experiment_curves(t.experiments), "Experiments, epoch by epoch (Figs. 11, 12)."),
            *_questions(t),
            _picture(learning.epoch_table_figure(saved), "The studied experiment at its checkpoints (Table 1)."),
            _picture(
                evaluation.confusion_figure(t.confusions["slide"], "Slides"),
                f"Confusion of slides of {judged.judged_on} (Fig. 9).",
            ),
            _picture(
                evaluation.confusion_figure(t.confusions["tile"], "Tiles"),
                f"Confusion of tiles of {judged.judged_on} (Fig. 9).",
            ),
            _picture(
                evaluation.confusion_grid(t.confusions_by_experiment),
                "Confusion of validation tiles by each experiment (Fig. 10).",
            ),
            _picture(evaluation.classification_figure(t.evaluation), "Recall of each tissue, and the baselines."),
            _picture(evaluation.mistaken_figure(t.evaluation), "Tissues that pass for one another, by sex."),
        ),
    )


def _questions(t: TrainingTables) -> list[PictureBlock]:
    """Return a picture for each question that the experiments answer."""
    captions = {
        "restart": "A new optimiser every epoch against one for all (Fig. 6).",
        "learning_rates": "Learning rates (Fig. 7).",
        "architectures": "Architectures (Fig. 8).",
        "leak": "The same experiment with donors split and with tiles split: what a leak adds.",
    }
    blocks = [
        _picture(learning.experiment_curves(t.experiments, t.questions[question], caption.rstrip(".")), caption)
        for question, caption in captions.items()
        if question in t.questions
    ]
    if "first_epochs" in t.questions:
        figure = learning.first_epochs_figure(t.experiments, t.questions["first_epochs"])
        blocks.append(_picture(figure, "Accuracy after one epoch, by seed and order of tiles."))
    return blocks


def _embedding_section(t: StudyTables) -> Section:
    return Section(
        "Embeddings",
        (
            _picture(_scatter(t.tile_projection, "Tiles"), "Tile embeddings (Fig. 13)."),
            _picture(_scatter(t.slide_projection, "Slides"), "Slide embeddings (Figs. 14, 15, 16)."),
            *(
                [
                    _picture(
                        _epochs(t.training), "Slides after each checkpoint epoch of the studied experiment (Fig. 14)."
                    )
                ]
                if t.training
                else []
            ),
        ),
    )


def _epochs(t: TrainingTables) -> Figure:
    """Return the slides' UMAP at each checkpoint epoch, side by side."""
    by_epoch = {int(key.rsplit("_", 1)[-1]): adata for key, adata in t.epoch_projections.items()}
    first = next(iter(by_epoch.values()))
    points = {epoch: adata.obsm["X_umap"] for epoch, adata in sorted(by_epoch.items())}
    return projection.epochs_figure(points, list(first.obs["tissue"].astype(str)), "Slides by epoch")


def _integration_section(t: StudyTables) -> Section:
    clusters = prediction.cluster_expression_figure(
        t.cluster_expression.X, list(t.cluster_expression.obs["name"]), list(t.cluster_expression.var_names)
    )
    return Section(
        "Image and expression together",
        (
            _picture(_scatter(t.joint_projection, "Joint space"), "The joint space (Figs. 19, 20)."),
            _picture(prediction.cluster_figure(t.clusters), "Tissues of each cluster of slides."),
            _picture(clusters, "Mean expression of each cluster."),
        ),
    )


def _gene_section(t: StudyTables) -> Section:
    found = t.recoverable[t.recoverable["recoverable"]].sort_values("r2_within", ascending=False)
    shown = found[["gene", "regressor", "r2_within", "low", "high", "q", "r2_within_locked", "evidence"]]
    figures = pd.concat([table.assign(regressor=name) for name, table in t.gene_figures.items()], ignore_index=True)
    genes = t.recoverable["gene"].nunique()
    return Section(
        "Predicted genes",
        (
            Paragraph(
                "r2 over all slides mostly measures tissue identity; r2 within tissue says whether the image tells"
                " more than the tissue label does."
            ),
            _picture(prediction.r2_figure(figures), "Cross-validated r2 of every gene, by regressor."),
            _picture(prediction.comparison_figure(t.comparison), "The ways to predict a gene, out of fold."),
            Paragraph(
                f"{found['gene'].nunique()} of {genes} genes are shown to be recoverable."
                if len(found)
                else f"None of {genes} genes is shown to be recoverable beyond the tissue mean; with few donors"
                " a short or empty list is what a sound analysis gives."
            ),
            *([TableBlock(shown, "Recoverable genes, best first.")] if len(found) else []),
            _picture(prediction.recoverable_figure(t.recoverable), "r2 within tissue with its interval."),
        ),
    )
