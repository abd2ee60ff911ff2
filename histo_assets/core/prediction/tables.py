"""The tables of prediction: figures of genes, methods side by side, clusters."""

from __future__ import annotations

from histo_assets.core.cohort.tables import SIDES
from histo_assets.core.expression.tables import Samples
from histo_assets.core.tables import Flag, Number, Table, Text, Whole, column

_WITHIN = "Share of the variance within tissues that the image explains over tissue mean and covariates"


class GeneFigures(Table):
    """Cross-validated figures of every gene. A name that ends in `_locked` is of locked donors."""

    gene: Text = column("Gene.", unique=True)
    r2: Number = column("Share of the variance explained, of samples not learned from.", missing=True, le=1)
    r2_tissue: Number = column("The same of the tissue mean.", missing=True, le=1)
    r2_within: Number = column(f"{_WITHIN}.", missing=True, le=1)
    r2_within_low: Number = column("Lower end of its 95 % interval over donors.", missing=True, le=1)
    r2_within_high: Number = column("Upper end of it.", missing=True, le=1)
    r_within: Number = column("Correlation of what is left over tissue mean and covariates.", missing=True, ge=-1, le=1)
    rmse: Number = column("Root mean square error.", "log2(1+TPM)", missing=True, ge=0)
    p: Number = column("Share of sign-flipped donors with a statistic as high.", missing=True, ge=0, le=1)
    q: Number = column("False discovery rate of `p` over the genes (Benjamini and Hochberg).", missing=True, ge=0, le=1)
    locked: Number | None = column("The figure of that name, of locked donors.", like=r"\w+_locked", missing=True)
    direction: Text = column("Whether folds and locked donors agree in sign.", isin=["", "same", "opposed"])
    r_between: Number = column("Correlation of predicted and measured tissue means.", missing=True)
    penalty: Number | None = column("Ridge penalty that was chosen.", missing=True, ge=0)


class TissueGeneFigures(Table):
    """Figures of every gene within one tissue."""

    gene: Text = column("Gene.")
    tissue: Text = column("Tissue.")
    n: Whole = column("Samples.", ge=0)
    r: Number = column("Correlation of prediction and measurement.", missing=True, ge=-1, le=1)
    rmse: Number = column("Root mean square error.", "log2(1+TPM)", missing=True, ge=0)
    p: Number = column("Share of sign-flipped donors with a statistic as high.", missing=True, ge=0, le=1)
    q: Number = column("False discovery rate of `p` within the tissue.", missing=True, ge=0, le=1)


class RecoverableGenes(Table):
    """Whether a gene is recoverable from images, a row a gene, the recoverable ones first."""

    gene: Text = column("Gene.", unique=True)
    regressor: Text = column("Regressor that it is judged by.")
    r2_within: Number = column(f"{_WITHIN}, where the evidence comes from.", missing=True, le=1)
    low: Number = column("Lower end of its 95 % interval over donors.", missing=True, le=1)
    high: Number = column("Upper end of it.", missing=True, le=1)
    q: Number = column("False discovery rate.", missing=True, ge=0, le=1)
    evidence: Text = column("Which donors decide.", isin=["locked", "nested cross-validation"])
    why: Text = column("Which criterion is not met, or that all are.")
    recoverable: Flag = column("Whether all criteria are met.")
    r2_within_folds: Number = column("`r2_within` of the folds.", missing=True, le=1)
    r2_within_locked: Number = column("`r2_within` of locked donors.", missing=True, le=1)
    direction: Text = column("Whether folds and locked donors agree in sign.", isin=["", "same", "opposed"])
    r_between: Number = column("Correlation of predicted and measured tissue means.", missing=True)


class MethodFigures(Table):
    """Methods side by side on the same samples, from the global mean to the regressors."""

    method: Text = column("Method.")
    side: Text = column("Which donors were predicted.", isin=["folds", "locked"])
    metric: Text = column("`median_r2`, `median_r2_within`, `rmse`, `share_better` or `from_tissue_mean`.")
    value: Number = column("The figure; `rmse` and `from_tissue_mean` in log2(1+TPM).", missing=True)
    low: Number = column("Lower end of the 95 % interval over donors.", missing=True)
    high: Number = column("Upper end of it.", missing=True)
    n: Whole = column("Samples.", ge=0)


class PooledSamples(Samples):
    """The samples that have both image and expression."""

    tiles: Whole = column("Tiles of its slides, whose embeddings were averaged.", ge=1)


class SlideClusters(Table):
    """The cluster of every slide, found among training donors in the space of components."""

    slide: Text = column("Slide.", unique=True)
    donor: Text = column("Donor.")
    tissue: Text = column("Tissue.")
    side: Text = column("Side of the split.", isin=SIDES)
    cluster: Whole = column("Cluster; 0 is the largest.", ge=0)
    name: Text = column("Its number and the commonest tissue of its training slides.")


class ClusterMeans(Table):
    """The clusters whose mean expression is a row of the matrix."""

    cluster: Text = column("Cluster.", unique=True)
    name: Text = column("Its number and the commonest tissue of its training slides.")
    slides: Whole = column("Training slides.", ge=0)
    samples: Whole = column("Samples of them that were averaged.", ge=0)
