"""Which RNA sample belongs to which slide."""

from __future__ import annotations

import pandas as pd

from histo_assets.core.cohort.errors import CohortError
from histo_assets.core.cohort.ids import slide_of_sample
from histo_assets.core.files import slug


def pair_slides(manifest: pd.DataFrame, samples: pd.DataFrame | None) -> pd.DataFrame:
    """Return the slides that have an RNA sample of the same piece of tissue, in manifest order.

    A manifest with a `sample` column says it itself (several slides may share a sample). Otherwise the first three
    dash fields of a GTEx RNA id are the slide's id; other ids must be equal. Donor and tissue alone never make a
    pair: 191 donors of GTEx have two slides of one tissue. Without a list of samples, a sample is called like its
    slide.

    Parameters
    ----------
    manifest
        What `read_manifest` returned.
    samples
        What `read_rna_samples` returned; its covariates are added to the pairs. None if the study has no list.

    Returns
    -------
    pandas.DataFrame
        slide, donor, tissue, tissue_name, sample (its name in the expression file), then the cohort's columns and
        those of the list of samples.

    Raises
    ------
    CohortError
        A slide has two samples, slide and sample disagree on the tissue, or nothing pairs at all.
    """
    if "sample" in manifest:
        pairs = manifest[manifest["sample"] != ""]
        return _ordered(pairs if samples is None else _listed(pairs, samples))
    own_names = manifest["original_slide"] if "original_slide" in manifest else manifest["slide"]
    if samples is None:
        return _ordered(manifest.assign(sample=own_names))
    keyed = samples.assign(_slide=samples["sample"].map(slide_of_sample))
    keyed = keyed[keyed["_slide"].isin(own_names)]
    _refuse_two_samples(keyed)
    sample_of = dict(zip(keyed["_slide"], keyed["sample"], strict=True))
    with_samples = manifest.assign(sample=own_names.map(sample_of))
    pairs = _listed(with_samples[with_samples["sample"].notna()], samples)
    _refuse_other_tissue(pairs, samples)
    return _ordered(pairs)


def _listed(pairs: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs whose sample is listed, with the covariates of the list."""
    covariates = samples.drop(columns=["donor", "tissue_name"])
    covariates = covariates.rename(columns={n: f"rna_{n}" for n in covariates if n != "sample" and n in pairs})
    return pairs.merge(covariates, on="sample", how="inner", validate="many_to_one")


def _refuse_two_samples(keyed: pd.DataFrame) -> None:
    repeated = keyed["_slide"].duplicated().to_numpy()
    if repeated.any():
        slide = keyed["_slide"].iloc[int(repeated.argmax())]
        first, second = keyed["sample"][keyed["_slide"] == slide].iloc[:2]
        raise CohortError(
            f"slide {slide} has two RNA samples, {first} and {second}; keep one of them in the list of RNA samples"
        )


def _refuse_other_tissue(pairs: pd.DataFrame, samples: pd.DataFrame) -> None:
    of_sample = pairs["sample"].map(dict(zip(samples["sample"], samples["tissue_name"], strict=True)))
    wrong = ((of_sample != "") & (of_sample.map(slug) != pairs["tissue"])).to_numpy()
    if wrong.any():
        row = pairs.iloc[int(wrong.argmax())]
        raise CohortError(
            f"slide {row['slide']} is {row['tissue_name']!r} in the manifest, but its RNA sample {row['sample']} is "
            f"{of_sample.iloc[int(wrong.argmax())]!r} in the list of samples; correct one of the two"
        )


def _ordered(pairs: pd.DataFrame) -> pd.DataFrame:
    if pairs.empty:
        raise CohortError(
            "no slide of the manifest has an RNA sample; GTEx RNA ids start with the slide's id "
            "(GTEX-1117F-0226-SM-5GZZ7 is of GTEX-1117F-0226), other cohorts name it in `cohort.columns.sample`"
        )
    first = ["slide", "donor", "tissue", "tissue_name", "sample"]
    return pairs[[*first, *(name for name in pairs.columns if name not in first)]].reset_index(drop=True)
