"""The page of one new slide."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from histo_assets.core.figures import prediction as figures
from histo_assets.core.figures.page import Paragraph, PictureBlock, Section, TableBlock, render_page
from histo_assets.core.figures.projection import Mark, two_scatters
from histo_assets.core.figures.style import png
from histo_assets.core.files import Bundle

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from anndata import AnnData


class Prediction(Protocol):
    """What the page needs to know of a predicted slide."""

    @property
    def tissue(self) -> str: ...  # noqa: D102
    @property
    def probability(self) -> float: ...  # noqa: D102
    @property
    def probabilities(self) -> pd.Series: ...  # noqa: D102
    @property
    def genes(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def cluster(self) -> str: ...  # noqa: D102
    @property
    def novelty_percentile(self) -> float: ...  # noqa: D102
    @property
    def unlike_training(self) -> bool: ...  # noqa: D102
    @property
    def umap(self) -> np.ndarray[Any, Any]: ...  # noqa: D102
    @property
    def tsne(self) -> np.ndarray[Any, Any]: ...  # noqa: D102
    @property
    def tiles(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def heat_gene(self) -> str | None: ...  # noqa: D102
    @property
    def heat(self) -> np.ndarray[Any, Any] | None: ...  # noqa: D102


@dataclass(frozen=True)
class SlidePage:
    """The page as a bundle of files, and its pictures by name."""

    bundle: Bundle
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class SlideSummary:
    """What the study says of one new slide, as `summary.json` holds it.

    Attributes
    ----------
    slide
        Its name.
    tissue, probability
        The likeliest tissue and how likely it is, 0 to 1.
    probabilities
        Tissue -> probability, 0 to 1.
    cluster
        Name of the cluster of slides that it belongs to.
    novelty_percentile
        Share of the training slides that lie nearer to their neighbours than it does, per cent.
    unlike_training
        Whether it lies further away than training slides do, so that its prediction may be meaningless.
    novelty_sentence
        The same in words.
    top_genes
        The first rows of the table of genes: column -> value, expression in log2(1+TPM).
    """

    slide: str
    tissue: str
    probability: float
    probabilities: dict[str, float]
    cluster: str
    novelty_percentile: float
    unlike_training: bool
    novelty_sentence: str
    top_genes: list[dict[str, Any]]


def slide_page(
    study: str,
    slide: str,
    prediction: Prediction,
    previews: Mapping[str, bytes],
    slide_projection: AnnData,
    drawn: figures.DrawnSlide,
) -> SlidePage:
    """Return the page of one new slide: tissue, genes, heat maps, and how near it lies to the training slides.

    `slide` is its name; `previews` show mask and chosen tiles, `drawn` is what lies below the heat maps.
    """
    pictures = _pictures(prediction, slide_projection, drawn)
    html = render_page(
        slide,
        f"A new slide against the study: {study}",
        _sections(prediction, pictures, list(previews.values())),
        key_figures={
            "tissue": prediction.tissue.replace("_", " "),
            "probability": f"{prediction.probability:.0%}",
            "cluster": prediction.cluster.replace("_", " "),
            "tiles": str(len(prediction.tiles)),
        },
    )
    summary = SlideSummary(
        slide=slide,
        tissue=prediction.tissue,
        probability=prediction.probability,
        probabilities={str(tissue): float(p) for tissue, p in prediction.probabilities.round(5).items()},
        cluster=prediction.cluster,
        novelty_percentile=prediction.novelty_percentile,
        unlike_training=prediction.unlike_training,
        novelty_sentence=_novelty(prediction),
        top_genes=[
            {str(name): value for name, value in row.items()}
            for row in prediction.genes.head(20).to_dict(orient="records")
        ],
    )
    files = {
        "page.html": html.encode(),
        "summary.json": json.dumps(asdict(summary), indent=1, default=float).encode(),
        "genes.csv": prediction.genes.to_csv(index=False).encode(),
        **{f"{name}.png": content for name, content in pictures.items()},
    }
    return SlidePage(Bundle(files), pictures)


def _pictures(prediction: Prediction, slide_projection: AnnData, slide: figures.DrawnSlide) -> dict[str, bytes]:
    tissues = slide_projection.obs["tissue"].astype(str).to_numpy()
    drawn = slide_projection.obs["drawn"].to_numpy(dtype=bool)
    shown = prediction.probabilities.sort_values(ascending=False).head(10)
    top = prediction.genes.head(20)
    among = two_scatters(
        slide_projection.obsm["X_umap"][drawn],
        slide_projection.obsm["X_tsne"][drawn],
        tissues[drawn],
        "Among the study's slides",
        marked={"UMAP": Mark(prediction.umap, "new slide"), "t-SNE": Mark(prediction.tsne, "new slide")},
    )
    genes = figures.top_genes_figure(list(top["gene"]), top["predicted"].to_numpy(), top["tissue_mean"].to_numpy())
    pictures = {
        "preview": png(figures.tissue_probabilities(list(shown.index), shown.to_numpy())),
        "among_slides": png(among),
        "genes": png(genes),
    }
    tiles = prediction.tiles
    places = figures.TilePlaces(tiles["x"].to_numpy(), tiles["y"].to_numpy(), tiles["size"].to_numpy())
    probability = tiles["probability"].to_numpy()
    title = f"Probability of {prediction.tissue.replace('_', ' ')}"
    pictures["heat_tissue"] = png(figures.tile_heatmap(places, probability, title, slide=slide, label="probability"))
    if prediction.heat is not None:
        pictures["heat_gene"] = png(
            figures.tile_heatmap(places, prediction.heat, str(prediction.heat_gene), slide=slide)
        )
    return pictures


def _novelty(prediction: Prediction) -> str:
    share = f"it lies further from the nearest training slides than {prediction.novelty_percentile:.0f} % of those do"
    if prediction.unlike_training:
        return f"{share}; tissue and genes predicted here may be meaningless."
    return f"{share}, which is within the training range."


def _sections(prediction: Prediction, pictures: dict[str, bytes], previews: Sequence[bytes]) -> list[Section]:
    warning = (
        [Paragraph(f"Unlike the training slides: {_novelty(prediction)}", "warning")]
        if prediction.unlike_training
        else []
    )
    heat = [PictureBlock(pictures["heat_tissue"], "Where the tiles say so. The slide's probability pools all tiles.")]
    if "heat_gene" in pictures:
        heat.append(
            PictureBlock(
                pictures["heat_gene"],
                f"{prediction.heat_gene}: what each tile adds; the mean over the tiles is the slide's prediction.",
            )
        )
    return [
        Section(
            "Slide",
            (*warning, *[PictureBlock(image, "The slide, its tissue mask and the tiles taken.") for image in previews]),
        ),
        Section(
            "Tissue",
            (
                PictureBlock(pictures["preview"], "Probability of each tissue."),
                PictureBlock(pictures["among_slides"], f"The new slide (marked): {_novelty(prediction)}"),
            ),
        ),
        Section("Where", tuple(heat)),
        Section(
            "Genes",
            (
                Paragraph(
                    "Genes that the study shows to be recoverable come first, then those of the best r2 within tissue."
                ),
                PictureBlock(pictures["genes"], "Predicted expression beside the mean of the predicted tissue."),
                TableBlock(prediction.genes.head(40), "Predicted by the regressor and by the cluster average."),
            ),
        ),
    ]
