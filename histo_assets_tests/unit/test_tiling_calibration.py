"""JPEG-size thresholds proposed from the tiles that were looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histo_assets.core.tiling.calibration import proposed_thresholds, study_reference, write_thresholds
from histo_assets.core.tiling.store import TilingError
from histo_assets.studies.study import load_study


def sizes(tissue: str, median: float, spread: float, count: int = 400, empty: int = 0) -> pd.DataFrame:
    """Return tiles of log-normal size, some of them nearly empty."""
    rng = np.random.default_rng(len(tissue))
    tissue_sizes = median * np.exp(rng.normal(0, spread, count))
    size = np.concatenate([tissue_sizes, 0.01 + 0.01 * rng.random(empty)])
    return pd.DataFrame({"tissue": tissue, "slide": [f"s{n % 7}" for n in range(len(size))], "jpeg_bytes": size})


@given(median=st.floats(0.08, 0.6), spread=st.floats(0.02, 0.3), empty=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_empty_tiles_fall_below_the_threshold_and_tissue_stays(median: float, spread: float, empty: int) -> None:
    decisions = sizes("liver", median, spread, empty=empty)
    (threshold,) = proposed_thresholds(decisions)
    assert threshold.threshold is not None
    tissue = decisions["jpeg_bytes"].to_numpy()[:400]
    assert (tissue >= threshold.threshold).mean() > 0.98
    if threshold.threshold > 0.02:
        assert (decisions["jpeg_bytes"].to_numpy()[400:] < threshold.threshold).all()


def test_every_tissue_gets_its_own_threshold_whatever_the_order() -> None:
    decisions = pd.concat([sizes("adipose", 0.1, 0.2), sizes("liver", 0.4, 0.1)])
    adipose, liver = proposed_thresholds(decisions)
    assert (adipose.tissue, liver.tissue) == ("adipose", "liver")
    assert adipose.threshold is not None
    assert liver.threshold is not None
    assert adipose.threshold < liver.threshold / 2
    assert adipose.slides == 7
    assert proposed_thresholds(decisions.sample(frac=1, random_state=0)) == [adipose, liver]


def test_a_tissue_of_few_tiles_gets_none_and_the_reason() -> None:
    (threshold,) = proposed_thresholds(sizes("liver", 0.3, 0.1, count=20))
    assert threshold.threshold is None
    assert threshold.reason == "20 tiles, at least 60 are needed"


def test_what_is_written_is_a_study_that_keeps_other_thresholds(tmp_path: Path) -> None:
    thresholds = proposed_thresholds(pd.concat([sizes("liver", 0.4, 0.1), sizes("brain_cortex", 0.2, 0.1, count=5)]))
    (tmp_path / "mine.yaml").write_text(
        "extends: tiny\nname: mine\ntiling: {quality: {per_tissue: "
        "{liver: {min_sharpness: 7.0, min_jpeg_bytes_per_pixel: 0.01}, esophagus_muscularis: {min_piece_sd: 1.0}}}}\n"
    )
    write_thresholds(tmp_path / "calibrated.yaml", "mine.yaml", "calibrated", thresholds)
    quality = load_study(tmp_path / "calibrated.yaml").tiling.quality
    assert quality.for_tissue("liver").min_jpeg_bytes_per_pixel == thresholds[1].threshold
    assert quality.for_tissue("liver").min_sharpness == 7.0
    assert quality.for_tissue("esophagus_muscularis").min_piece_sd == 1.0
    assert "brain_cortex" not in quality.per_tissue
    assert "liver: 400 tiles of 7 slides" in (tmp_path / "calibrated.yaml").read_text()


def test_nothing_is_overwritten_and_nothing_empty_is_written(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine")
    with pytest.raises(TilingError, match=r"mine.yaml exists; give another name"):
        write_thresholds(tmp_path / "mine.yaml", "tiny", "x", proposed_thresholds(sizes("liver", 0.4, 0.1)))
    with pytest.raises(TilingError, match="no tissue has enough tiles"):
        write_thresholds(tmp_path / "new.yaml", "tiny", "x", proposed_thresholds(sizes("liver", 0.4, 0.1, 5)))
    assert (tmp_path / "mine.yaml").read_text() == "name: mine"


def test_a_study_file_is_named_relative_to_the_new_one(tmp_path: Path) -> None:
    assert study_reference("gtex", tmp_path / "new.yaml") == "gtex"
    assert study_reference(str(tmp_path / "lab" / "study.yaml"), tmp_path / "new.yaml") == "lab/study.yaml"
