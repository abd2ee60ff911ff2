"""Room `integration`: image and expression together, every gene predicted, clusters and their means."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from histo_assets.defs.metadata import picture, table_metadata
from histo_assets.defs.projections import projection_result
from histo_assets.defs.study_assets import StudyAssets, result, verdict, worker_count
from histo_assets.defs.types import CrossValidation, Matrix, Table
from histo_assets.studies.study import Study

ROOM = "integration"
_PAIRED_FORMERLY = {"paired_samples": "slide_embeddings"}  # each asset paired the samples for itself


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""
    return [_samples(assets), *_joint_space(assets), *_regressors(assets), *_clusters(assets), _comparison(assets)]


def _paired_inputs(assets: StudyAssets) -> dict[str, dg.AssetIn]:
    return {
        "paired_samples": assets.one("paired_samples"),
        "expression_matrix": assets.one("expression_matrix"),
    }


def _samples(assets: StudyAssets) -> Any:
    @assets.asset(
        ROOM,
        "matrices",
        table="prediction.PooledSamples",
        kinds={"anndata"},
        ins={
            "slide_embeddings": assets.one("slide_embeddings"),
            "expression_matrix": assets.one("expression_matrix"),
        },
        checks={"every_sample_has_an_embedding": "Every sample with expression has a slide that was embedded."},
    )
    def paired_samples(study: Study, slide_embeddings: Matrix, expression_matrix: Matrix) -> dg.MaterializeResult:
        """The samples that have both image and expression, with the mean embedding of their slides' tiles."""
        from histo_assets.core.figures.expression import samples_figure
        from histo_assets.core.prediction.paired_samples import pooled_samples

        samples = pooled_samples(slide_embeddings, expression_matrix)
        without = [name for name in expression_matrix.obs_names if name not in samples.obs_names]
        return result(
            samples,
            {
                "samples": samples.n_obs,
                "donors": samples.obs["donor"].nunique(),
                "tiles": int(samples.obs["tiles"].sum()),
                "without_embedding": ", ".join(without[:20]) or "none",
                "preview": picture(samples_figure(samples.obs), "samples per tissue and donor"),
            },
            [
                verdict(
                    "every_sample_has_an_embedding",
                    not without,
                    f"{len(without)} of {expression_matrix.n_obs} samples without",
                    warn=True,
                )
            ],
        )

    return paired_samples


def _joint_space(assets: StudyAssets) -> list[Any]:
    @assets.asset(
        ROOM,
        "matrices",
        table="projection.ProjectedRows",
        kinds={"anndata", "umap"},
        reads=["projection"],
        ins=_paired_inputs(assets),
        formerly=_PAIRED_FORMERLY,
        checks={"numbers_are_finite": "No coordinate is missing or infinite."},
    )
    def joint_projection(study: Study, paired_samples: Matrix, expression_matrix: Matrix) -> dg.MaterializeResult:
        """The joint space: principal components of image and expression, scaled to equal variance and joined."""
        from histo_assets.core.prediction.paired_samples import with_expression
        from histo_assets.core.projection.joint import expression_from_image, joint_space, matching_figures
        from histo_assets.core.projection.project import component_scores, fit_pca

        paired, obs = with_expression(paired_samples, expression_matrix), paired_samples.obs
        training = (obs["side"] == "train").to_numpy()
        image, expression = (
            component_scores(block, *fit_pca(block[training], study.projection.components)[:2])
            for block in (paired.X, paired.Y)
        )
        predicted = expression_from_image(image, expression, obs["fold"].to_numpy())
        matches = matching_figures(predicted, expression, obs["tissue"].to_numpy())
        return projection_result(
            joint_space(image, expression, training),
            obs,
            study.projection,
            "Image and expression",
            more={f"{row['metric']} {row['scope']}": float(row["value"]) for row in matches.to_dict("records")},
        )

    return [joint_projection]


def _regressors(assets: StudyAssets) -> list[Any]:
    order = list(assets.study.prediction.regressors)

    @assets.asset(
        ROOM,
        "folders",
        kinds={"scikit-learn", "lightgbm"},
        reads=[
            "prediction.regressors",
            "prediction.covariates",
            "prediction.bootstraps",
            "prediction.permutations",
            "prediction.seed",
            "split.unit",
        ],
        ins=_paired_inputs(assets),
        formerly=_PAIRED_FORMERLY,
        partitions=assets.partitions.regressors,
        checks={"every_gene_has_figures": "Every gene has cross-validated figures and finite predictions."},
        blocking=["every_gene_has_figures"],
    )
    def gene_regressors(
        study: Study, context: dg.AssetExecutionContext, paired_samples: Matrix, expression_matrix: Matrix
    ) -> dg.MaterializeResult:
        """A regressor of every gene on the slide embedding, over the tissue mean, with cross-validated figures.

        Folds are the donors' folds of the study. The network has seen the training folds; only locked
        donors are free of it.
        """
        import numpy as np

        from histo_assets.core.figures.prediction import r2_figure
        from histo_assets.core.prediction.crossval import cross_validate
        from histo_assets.core.prediction.paired_samples import with_expression
        from histo_assets.core.prediction.tables import GeneFigures

        paired = with_expression(paired_samples, expression_matrix, study.prediction.covariates)
        fitted = cross_validate(
            paired,
            study.prediction.regressors[context.partition_key],
            study.prediction,
            context.log.info,
            workers=worker_count(study),
        )
        figures = fitted.figures
        finite = bool(np.isfinite(fitted.predictions[fitted.known]).all())
        return result(
            fitted,
            {
                "genes": len(figures),
                "samples": len(paired.X),
                "median_r2": float(figures["r2"].median()),
                "median_r2_within": float(figures["r2_within"].median()),
                "genes_over_tissue_mean": int((figures["r2_within"] > 0).sum()),
                "seen_by_the_network": (
                    "training folds; locked donors are not" if study.split.unit == "donor" else "donors of every side"
                ),
                "notes": "; ".join(fitted.notes) or "none",
                "preview": picture(r2_figure(figures), "r2 and r2 within tissue"),
                **table_metadata(figures, GeneFigures),
            },
            [verdict("every_gene_has_figures", finite and len(figures) == expression_matrix.n_vars, f"{len(figures)}")],
        )

    @assets.asset(
        ROOM,
        "tables",
        table="prediction.RecoverableGenes",
        kinds={"pandas"},
        reads=["prediction.min_r2_within", "prediction.max_q", "split.unit"],
        derived={"prediction.regressors": order},
        ins={"gene_regressors": assets.every("gene_regressors"), "donor_split": assets.one("donor_split")},
    )
    def recoverable_genes(
        study: Study, gene_regressors: dict[str, CrossValidation], donor_split: Table
    ) -> dg.MaterializeResult:
        """The genes that are recoverable from images beyond the tissue label, with intervals and the evidence."""
        import pandas as pd

        from histo_assets.core.figures.prediction import recoverable_figure
        from histo_assets.core.prediction import methods

        by_donor = study.split.unit == "donor"  # split by tile, the network has seen every donor
        locked = int((donor_split["side"] == "test").sum()) if by_donor else 0
        figures = pd.concat([gene_regressors[name].figures.assign(regressor=name) for name in order])
        table = methods.recoverable_genes(figures.reset_index(drop=True), locked, study.prediction)
        recoverable = table[table["recoverable"]]
        return result(
            table,
            {
                "genes": table["gene"].nunique(),
                "recoverable": recoverable["gene"].nunique(),
                "evidence": str(table["evidence"].iloc[0]) if len(table) else "none",
                "preview": picture(recoverable_figure(table), "recoverable genes"),
            },
        )

    return [gene_regressors, recoverable_genes]


def _clusters(assets: StudyAssets) -> list[Any]:
    wanted = assets.study.prediction.clusters or len(assets.study.selection.tissues)

    @assets.asset(
        ROOM,
        "tables",
        table="prediction.SlideClusters",
        kinds={"scikit-learn", "pandas"},
        reads=["prediction.seed"],
        derived={"prediction.clusters": wanted},
        ins={"slide_projection": assets.one("slide_projection")},
        checks={"every_slide_has_a_cluster": "Every slide with an embedding belongs to a cluster."},
    )
    def expression_clusters(study: Study, slide_projection: Matrix) -> dg.MaterializeResult:
        """The cluster of every slide: k-means in the PCA space of slides, fitted on training donors."""
        from histo_assets.core.figures.prediction import cluster_figure
        from histo_assets.core.prediction.slide_clusters import cluster_agreement, cluster_slides

        table = cluster_slides(slide_projection, wanted, study.prediction.seed)
        return result(
            table,
            {
                "clusters": table["cluster"].nunique(),
                "slides": len(table),
                **asdict(cluster_agreement(table)),
                "preview": picture(cluster_figure(table), "tissues of each cluster"),
            },
            [verdict("every_slide_has_a_cluster", len(table) == slide_projection.n_obs, f"{len(table)} slides")],
        )

    @assets.asset(
        ROOM,
        "matrices",
        table="prediction.ClusterMeans",
        kinds={"anndata"},
        ins={
            "expression_clusters": assets.one("expression_clusters"),
            "expression_matrix": assets.one("expression_matrix"),
        },
        checks={"numbers_are_finite": "Every cluster has a finite mean of every gene."},
    )
    def cluster_expression(study: Study, expression_clusters: Table, expression_matrix: Matrix) -> dg.MaterializeResult:
        """The mean expression vector of each cluster, over training donors."""
        import numpy as np

        from histo_assets.core.figures.prediction import cluster_expression_figure
        from histo_assets.core.prediction.slide_clusters import cluster_means

        adata = cluster_means(expression_clusters, expression_matrix)
        finite = bool(np.isfinite(adata.X).all())
        return result(
            adata,
            {
                "clusters": adata.n_obs,
                "genes": adata.n_vars,
                "preview": picture(
                    cluster_expression_figure(adata.X, list(adata.obs["name"]), list(adata.var_names)), "cluster means"
                ),
            },
            [verdict("numbers_are_finite", finite, f"{adata.n_obs} x {adata.n_vars}")],
        )

    return [expression_clusters, cluster_expression]


def _comparison(assets: StudyAssets) -> Any:
    @assets.asset(
        ROOM,
        "tables",
        table="prediction.MethodFigures",
        kinds={"pandas"},
        reads=["prediction.covariates", "prediction.clusters", "prediction.bootstraps", "prediction.seed"],
        ins={
            **_paired_inputs(assets),
            "gene_regressors": assets.every("gene_regressors"),
        },
        formerly=_PAIRED_FORMERLY,
        checks={"every_method_is_there": "Baselines, cluster average and every regressor have figures."},
    )
    def prediction_comparison(
        study: Study,
        paired_samples: Matrix,
        expression_matrix: Matrix,
        gene_regressors: dict[str, CrossValidation],
    ) -> dg.MaterializeResult:
        """Tissue mean, cluster average, ridge and LightGBM side by side, out of fold."""
        from histo_assets.core.figures.prediction import comparison_figure
        from histo_assets.core.prediction.methods import compare_predictions
        from histo_assets.core.prediction.paired_samples import with_expression

        paired = with_expression(paired_samples, expression_matrix, study.prediction.covariates)
        predictions = {name: fitted.predictions for name, fitted in gene_regressors.items()}
        table = compare_predictions(paired, predictions, study.prediction)
        methods = set(table["method"])
        return result(
            table,
            {
                "methods": len(methods),
                "preview": picture(comparison_figure(table), "methods"),
            },
            [verdict("every_method_is_there", set(gene_regressors) <= methods, ", ".join(sorted(methods)))],
        )

    return prediction_comparison
