"""How well a platform recovered what was planted: compares its published tables with a cohort's truth.

Reads the truth folder and the tables given, nothing else. Nothing outside `demo` and the tests
imports it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histo_assets.demo.genes import filter_truth

QUARANTINED = ("blank", "truncated", "html", "missing")


def truth_table(truth_dir: str | Path, name: str) -> pd.DataFrame:
    """Return one table of the truth: genes, slides, dirt, filter or expression."""
    return pd.read_parquet(Path(truth_dir) / f"{name}.parquet")


def safe_id(slide: str) -> str:
    """Return a slide's id as it stands in file names; published tables may use either."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", slide)


def score_genes(truth_dir: str | Path, figures: pd.DataFrame) -> pd.DataFrame:
    """Return one row a block of genes: what was planted and what was recovered.

    Parameters
    ----------
    truth_dir
        The cohort's truth folder.
    figures
        One row a gene: gene, r2, r2_within, recoverable; other columns are ignored. A `direction`
        column (sign of the slope within tissues) is scored where it is there.

    Returns
    -------
    pd.DataFrame
        block, expectation, strength, expected_r2_within, planted (genes), scored (genes with
        figures), r2 and r2_within (medians), called (genes called recoverable), share (of scored),
        right (share called as expected; NaN where the expectation is 'undecided').
    """
    truth = truth_table(truth_dir, "genes")
    genes = truth.merge(figures, on="gene", how="left", suffixes=("_truth", ""))
    genes["scored"] = genes["r2_within"].notna()
    called = pd.Series([value is True or value == 1 for value in genes["recoverable"]], index=genes.index)
    genes["called"] = called & genes["scored"]
    rows = []
    for block, part in genes.groupby("block", sort=False):
        scored = part[part["scored"]]
        share = float(scored["called"].mean()) if len(scored) else np.nan
        expectation = str(part["expectation"].iloc[0])
        right = {"recoverable": share, "not recoverable": 1 - share}.get(expectation, np.nan)
        row = {
            "block": block,
            "expectation": expectation,
            "strength": float(part["strength"].iloc[0]),
            "expected_r2_within": float(part["expected_r2_within"].iloc[0]),
            "planted": len(part),
            "scored": len(scored),
            "r2": float(scored["r2"].median()) if "r2" in scored else np.nan,
            "r2_within": float(scored["r2_within"].median()),
            "called": int(scored["called"].sum()),
            "share": share,
            "right": right,
        }
        if "direction" in figures:
            row["direction"] = float(np.sign(pd.to_numeric(scored["direction"], errors="coerce")).mean())
        rows.append(row)
    return pd.DataFrame(rows)


def score_recoverable(truth_dir: str | Path, figures: pd.DataFrame) -> dict[str, float]:
    """Return recall over planted recoverable genes, precision, and the false discovery proportion.

    Genes whose expectation is 'undecided' count neither way.
    """
    blocks = score_genes(truth_dir, figures)
    wanted, unwanted = (blocks[blocks["expectation"] == name] for name in ("recoverable", "not recoverable"))
    hits, false = int(wanted["called"].sum()), int(unwanted["called"].sum())
    return {
        "recall": hits / max(1, int(wanted["scored"].sum())),
        "precision": hits / (hits + false) if hits + false else np.nan,
        "false_discovery_proportion": false / (hits + false) if hits + false else 0.0,
        "false_positive_rate": false / max(1, int(unwanted["scored"].sum())),
    }


def score_dirt(truth_dir: str | Path, index: pd.DataFrame, funnel: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row a kind of dirt: how much of the published tiles lies in it.

    Parameters
    ----------
    truth_dir
        The cohort's truth folder.
    index
        Published tiles: slide, x, y, size in level-0 pixels.
    funnel
        Rejections, one row a slide, one integer column a reason; None leaves `rejected` out.

    Returns
    -------
    pd.DataFrame
        kind, slides, regions, tiles (published from these slides), touched (those more than a tenth
        in the dirt), covered (those more than half in it), rejected (tiles of these slides that the
        funnel rejected for any reason but lack of tissue).
    """
    truth = truth_table(truth_dir, "dirt")
    rows = []
    for kind, regions in truth.groupby("kind", sort=True):
        names = regions["slide"].map(safe_id)
        slides = sorted(set(names))
        tiles = index[index["slide"].map(safe_id).isin(slides)]
        share = [_dirty_share(tile, regions[names == safe_id(tile["slide"])]) for tile in tiles.to_dict("records")]
        row = {
            "kind": kind,
            "slides": len(slides),
            "regions": len(regions),
            "tiles": len(tiles),
            "touched": int(np.sum(np.array(share) > 0.1)),
            "covered": int(np.sum(np.array(share) > 0.5)),
        }
        if funnel is not None:
            reasons = [name for name in funnel.columns if name not in _NO_REASONS]
            row["rejected"] = int(funnel.loc[funnel["slide"].map(safe_id).isin(slides), reasons].to_numpy().sum())
        rows.append(row)
    return pd.DataFrame(rows)


_NO_REASONS = ("slide", "candidates", "no_tissue", "good", "kept")


def _dirty_share(tile: Mapping[Hashable, Any], regions: pd.DataFrame) -> float:
    """Return the share of a tile that the regions cover (overlapping regions counted once, on a 16 x 16 grid)."""
    x, y, size = (float(tile[name]) for name in ("x", "y", "size"))
    grid = (np.arange(16) + 0.5) / 16 * size
    covered = np.zeros((16, 16), bool)
    for region in regions.to_dict("records"):
        columns = (x + grid >= region["x"]) & (x + grid < region["x"] + region["w"])
        rows = (y + grid >= region["y"]) & (y + grid < region["y"] + region["h"])
        covered |= rows[:, None] & columns[None, :]
    return float(covered.mean())


def score_filter(truth_dir: str | Path, surviving: Iterable[str], samples: Iterable[str] | None = None) -> pd.DataFrame:
    """Return one row a kind of matrix row: how many should survive the gene filter and did.

    Parameters
    ----------
    truth_dir
        The cohort's truth folder.
    surviving
        Gene ids (with version) or symbols that the platform kept.
    samples
        The samples that the filter was fitted on; None means all of the matrix. With them the truth
        is exact; without them genes at the edge (`sensitive`) count neither way.

    Returns
    -------
    pd.DataFrame
        kind, rows, should_survive, survived, missed (should, did not), wrong (did, should not).
    """
    truth = truth_table(truth_dir, "filter")
    exact = samples is not None
    if samples is not None:
        expression = truth_table(truth_dir, "expression")
        chosen = expression[list(samples)].to_numpy(np.float64)
        truth = filter_truth(truth[["gene_id", "symbol", "kind"]], chosen)
    kept = set(surviving)
    unique = ~truth["symbol"].duplicated(keep=False)
    survived = truth["gene_id"].isin(kept) | (unique & truth["symbol"].isin(kept))
    counted = exact | ~truth["sensitive"]
    table = pd.DataFrame(
        {
            "kind": truth["kind"],
            "rows": 1,
            "should_survive": truth["should_survive"],
            "survived": survived,
            "missed": truth["should_survive"] & ~survived & counted,
            "wrong": ~truth["should_survive"] & survived & counted,
        }
    )
    return table.groupby("kind", sort=True).sum().astype(int).reset_index()


def score_quarantine(truth_dir: str | Path, raw_slides: pd.DataFrame) -> pd.DataFrame:
    """Return one row a damaged slide, and one for all good ones: what should have happened and did.

    `raw_slides` has slide, quarantined and missing (a sentence, or None). Blank slides are found by tiling:
    give the tables after it. A slide with overwritten storage tiles may be quarantined or only lose
    tiles, so `right` is None there; one with zero-length tiles must stay.
    """
    truth = truth_table(truth_dir, "slides")
    truth["slide"] = truth["slide"].map(safe_id)
    reasons = raw_slides["quarantined"]
    if "missing" in raw_slides:
        reasons = reasons.where(reasons.notna(), raw_slides["missing"])
    reason = dict(zip(raw_slides["slide"].map(safe_id), reasons, strict=True))
    rows: list[dict[str, object]] = []
    for slide in truth[truth["kind"] == "damaged"].to_dict("records"):
        if slide["slide"] not in reason:
            continue
        sentence = _sentence(reason[slide["slide"]])
        wanted = True if slide["damage"] in QUARANTINED else False if slide["damage"] == "zero_length_tiles" else None
        rows.append(
            {
                "slide": slide["slide"],
                "damage": slide["damage"],
                "should_be_quarantined": wanted,
                "quarantined": bool(sentence),
                "reason": sentence,
                "right": None if wanted is None else wanted == bool(sentence),
            }
        )
    good = [slide for slide in truth.loc[truth["kind"] != "damaged", "slide"] if slide in reason]
    lost = [slide for slide in good if _sentence(reason[slide])]
    rows.append(
        {
            "slide": f"{len(good)} good slides",
            "damage": "",
            "should_be_quarantined": False,
            "quarantined": bool(lost),
            "reason": "; ".join(f"{slide}: {_sentence(reason[slide])}" for slide in lost),
            "right": not lost,
        }
    )
    return pd.DataFrame(rows)


def _sentence(reason: object) -> str:
    return reason if isinstance(reason, str) else ""
