"""Room `expression`: from the expression file to log2(1+TPM) of the genes that passed."""

from typing import Any

import dagster as dg

from histo_assets.defs.metadata import markdown_table, picture
from histo_assets.defs.study_assets import StudyAssets, result, verdict
from histo_assets.defs.types import Matrix, Table
from histo_assets.studies.study import Study

ROOM = "expression"
GENES_IN_THE_POST = 17_408  # of GTEx v8, over all samples of the post; to compare with


def build(assets: StudyAssets) -> list[Any]:
    """Return the assets of the room."""

    @assets.asset(
        ROOM,
        "matrices",
        table="expression.Samples",
        kinds={"anndata"},
        reads=["expression"],
        revision=2,
        ins={
            "slide_pairs": assets.one("slide_pairs"),
            "selected_slides": assets.every("selected_slides"),
            "donor_split": assets.one("donor_split"),
        },
        sources={"expression_file": ()},
        checks={
            "every_sample_is_there": "Every paired sample of the selected slides has a column in the file.",
            "numbers_are_finite": "No value is missing or infinite.",
        },
        blocking=["numbers_are_finite"],
    )
    def expression_matrix(
        study: Study,
        context: dg.AssetExecutionContext,
        slide_pairs: Table,
        selected_slides: dict[str, Table],
        donor_split: Table,
    ) -> dg.MaterializeResult:
        """log2(1+TPM) of the genes that passed the three filters, samples x genes."""
        import numpy as np
        import pandas as pd

        from histo_assets.core.cohort.samples import sample_table
        from histo_assets.core.expression.reading import read_expression
        from histo_assets.core.expression.releases import refuse_mixed_releases
        from histo_assets.core.figures.expression import filter_funnel, gene_filter_figure, samples_figure
        from histo_assets.core.progress import EveryFewSeconds

        settings, path = study.expression, study.resolve(study.expression.file)
        refuse_mixed_releases(path, [study.cohort.manifest, study.cohort.rna_samples], settings.release)
        selected = pd.concat(selected_slides.values(), ignore_index=True)
        obs = sample_table(selected, donor_split)
        training = obs.index[obs["side"] == "train"]
        gene_filter = settings.filter
        fitted_on = training if gene_filter.fit_on == "training_donors" else slide_pairs["sample"].unique()
        lengths = settings.gene_lengths and study.resolve(settings.gene_lengths)
        resolved = settings.model_copy(update={"gene_lengths": lengths})
        progress = EveryFewSeconds(context.log.info, at_once=True).pass_on
        table = read_expression(path, resolved, list(obs.index), list(fitted_on), progress)
        for note in table.notes:
            context.log.info(note)
        adata = table.adata
        adata.obs = obs.loc[adata.obs_names]
        adata.uns.update(gene_filter=table.genes, funnel=table.funnel, alternatives=table.alternatives)
        finite = bool(np.isfinite(adata.X).all())
        filters = gene_filter_figure(table.genes, gene_filter.min_max, gene_filter.min_sd)
        return result(
            adata,
            {
                "samples": adata.n_obs,
                "genes": adata.n_vars,
                "genes_in_file": int(table.funnel["genes"].iloc[0]),
                "units": settings.units,
                "filter_fitted_on": f"{len(fitted_on)} samples ({gene_filter.fit_on})",
                "other_filters": dg.MetadataValue.md(markdown_table(table.alternatives)),
                **({"genes_in_the_post": GENES_IN_THE_POST} if settings.release == "gtex_v8" else {}),
                "preview": picture(filters, "gene filters"),
                "funnel_picture": picture(filter_funnel(table.funnel), "funnel"),
                "samples_picture": picture(samples_figure(adata.obs), "samples per tissue and donor"),
                "funnel": dg.MetadataValue.md(markdown_table(table.funnel)),
                "notes": "; ".join(table.notes) or "none",
            },
            [
                verdict(
                    "every_sample_is_there",
                    not table.missing_samples,
                    f"missing: {', '.join(table.missing_samples[:20]) or 'none'}",
                    warn=True,
                ),
                verdict("numbers_are_finite", finite, f"{adata.n_obs} x {adata.n_vars} values"),
            ],
        )

    @assets.asset(
        ROOM,
        "matrices",
        table="projection.ProjectedRows",
        kinds={"anndata", "umap"},
        reads=["projection"],
        ins={"expression_matrix": assets.one("expression_matrix")},
        checks={"numbers_are_finite": "No coordinate is missing or infinite."},
    )
    def expression_projection(study: Study, expression_matrix: Matrix) -> dg.MaterializeResult:
        """PCA (fitted on training donors), UMAP and t-SNE of expression."""
        from histo_assets.core.figures.expression import keyed_maps
        from histo_assets.defs.projections import projection_result

        projection = projection_result(expression_matrix.X, expression_matrix.obs, study.projection, "Expression")
        projected = projection.value.value
        drawn = projected[projected.obs["drawn"].to_numpy(dtype=bool)]
        maps = keyed_maps(drawn.obsm["X_umap"], drawn.obsm["X_tsne"], list(drawn.obs["tissue"].astype(str)))
        return projection._replace(
            metadata={**(projection.metadata or {}), "with_legend": picture(maps, "legend of tissues")}
        )

    return [expression_matrix, expression_projection]
