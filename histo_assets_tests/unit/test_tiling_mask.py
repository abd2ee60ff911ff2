"""The tissue mask, the tile filters and the sampling."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from histo_assets.core.tiling.filters.pen import pen_pixels
from histo_assets.core.tiling.mask import tissue_mask, tissue_shares
from histo_assets.core.tiling.pictures import encoded
from histo_assets.core.tiling.quality import judge, tile_quality
from histo_assets.core.tiling.sampling import balanced_counts, candidate_order
from histo_assets.core.tiling.settings import QualitySettings
from histo_assets_tests.unit.tissue_slides import fat, glass, stroma

SLIDES = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.integers(0, 60), min_size=1, max_size=12)


def verdict(pixels: np.ndarray, settings: QualitySettings | None = None) -> str | None:
    quality = tile_quality(pixels, len(encoded(pixels, 90)), 1.0)
    return judge(quality, settings or QualitySettings())


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Return what the mask sees of level-0 pixels at 0.5 um/px: 8 um/px."""
    return cv2.resize(pixels, None, fx=1 / 16, fy=1 / 16, interpolation=cv2.INTER_AREA)


def test_the_mask_covers_tissue_and_not_glass() -> None:
    picture = glass(200, 300)
    picture[50:150, 100:250] = stroma(100, 150)
    mask = tissue_mask(picture)
    assert mask[55:145, 105:245].mean() > 0.99
    assert mask[:40].sum() == mask[:, :90].sum() == 0


def test_the_mask_of_empty_glass_is_empty_whatever_its_tint() -> None:
    for tint in ((0, 0, 0), (-12, -6, 0), (0, -8, -4)):
        assert not tissue_mask((glass(200, 200).astype(int) + tint).astype(np.uint8)).any()


def test_the_mask_keeps_fat_beside_dense_tissue() -> None:
    slide = glass(2400, 3200)
    slide[400:2000, 200:1600] = fat(1600, 1400)
    slide[400:2000, 1600:3000] = stroma(1600, 1400)
    mask = tissue_mask(thumbnail(slide))
    assert mask[28:122, 15:95].mean() > 0.95
    assert mask[:20].sum() == 0


@pytest.mark.parametrize("ink", [(30, 60, 160), (20, 120, 60), (30, 30, 38)])
def test_the_mask_leaves_out_pen_strokes(ink: tuple[int, int, int]) -> None:
    picture = glass(200, 300)
    picture[50:150, 100:250] = stroma(100, 150)
    cv2.line(picture, (20, 20), (240, 140), ink, 9)
    mask = tissue_mask(picture)
    assert not mask[pen_pixels(picture)].any()
    assert mask[120:145, 105:140].all()


def test_the_mask_leaves_out_dust_and_the_edge_of_the_glass() -> None:
    picture = glass(200, 300)
    picture[:, :12] = 120
    picture[190:] = 60
    for x in range(40, 280, 30):
        cv2.circle(picture, (x, 100), 4, (50, 46, 42), -1)
    assert not tissue_mask(picture).any()


def test_the_mask_fills_no_bay_at_the_border_of_the_picture() -> None:
    picture = stroma(200, 300)
    picture[80:100, :20] = glass(20, 20)
    assert not tissue_mask(picture)[84:96, :14].any()


def test_the_mask_is_the_same_for_the_same_pixels() -> None:
    picture = stroma(150, 150)
    assert np.array_equal(tissue_mask(picture), tissue_mask(picture.copy()))


@given(st.integers(0, 90), st.integers(0, 90), st.integers(1, 60))
def test_tissue_shares_are_means_of_the_mask(left: int, top: int, side: int) -> None:
    mask = np.random.default_rng(3).random((100, 100)) < 0.4
    share = tissue_shares(mask, np.array([left]), np.array([top]), side)[0]
    assert share == pytest.approx(mask[top : top + side, left : left + side].mean())


def test_tissue_and_fat_pass_the_filters() -> None:
    assert verdict(stroma(448, 448)) is None
    assert verdict(stroma(224, 224)) is None
    assert verdict(fat(448, 448)) is None


def test_each_filter_rejects_what_it_is_for() -> None:
    half = stroma(224, 224)
    half[:, 100:] = glass(224, 124)
    inked = stroma(224, 224)
    cv2.line(inked, (0, 100), (224, 130), (30, 60, 160), 12)
    gray = np.clip(cv2.GaussianBlur(stroma(224, 224), (0, 0), 1.2) // 8 + 160, 0, 255)
    noise = np.random.default_rng(0).integers(-3, 4, (224, 224, 1))
    assert verdict(glass(224, 224)) == "jpeg_size"
    assert verdict(half) == "half_empty"
    assert verdict((gray + noise).astype(np.uint8)) in ("dirt", "half_empty")
    shaded = stroma(224, 224) * np.linspace(0.6, 1, 224)[:, None, None]
    assert verdict(cv2.GaussianBlur(shaded, (0, 0), 5).astype(np.uint8)) == "blur"
    assert verdict(inked) == "pen"


def test_a_tissue_can_have_thresholds_of_its_own() -> None:
    strict = QualitySettings(per_tissue={"brain_cortex": {"min_sharpness": 1e9}})
    assert verdict(stroma(224, 224), strict.for_tissue("brain_cortex")) == "blur"
    assert verdict(stroma(224, 224), strict.for_tissue("liver")) is None


def test_an_unknown_threshold_of_a_tissue_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="liver: unknown threshold 'min_sharpnes'"):
        QualitySettings(per_tissue={"liver": {"min_sharpnes": 1}})


@given(SLIDES, st.integers(1, 400))
def test_a_tissue_s_tiles_are_exact_and_as_even_as_the_slides_allow(available: dict[str, int], wanted: int) -> None:
    counts = balanced_counts(available, 10, wanted)
    assert sum(counts.values()) == min(wanted, sum(available.values()))
    assert all(0 <= counts[slide] <= available[slide] for slide in available)
    most = max(counts.values())
    assert all(counts[slide] >= most - 1 for slide in available if counts[slide] < available[slide])


@given(SLIDES, st.integers(1, 400), st.randoms())
def test_counts_do_not_depend_on_the_order_of_slides(available: dict[str, int], wanted: int, random: object) -> None:
    shuffled = list(available.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert balanced_counts(dict(shuffled), 10, wanted) == balanced_counts(available, 10, wanted)


@given(SLIDES, st.integers(1, 50))
def test_without_a_number_for_the_tissue_every_slide_gives_the_same(available: dict[str, int], per_slide: int) -> None:
    counts = balanced_counts(available, per_slide, None)
    assert counts == {slide: min(count, per_slide) for slide, count in available.items()}


@given(st.sets(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1), st.integers(0, 5))
def test_candidates_keep_their_order_when_others_leave(positions: set[tuple[int, int]], seed: int) -> None:
    order = candidate_order("slide", sorted(positions), seed)
    assert set(order) == positions
    some = [position for position in sorted(positions) if position[0] % 2]
    assert candidate_order("slide", some, seed) == [position for position in order if position[0] % 2]


def test_the_order_of_candidates_follows_slide_and_seed() -> None:
    positions = [(x, y) for x in range(10) for y in range(10)]
    orders = {tuple(candidate_order(slide, positions, seed)) for slide in "ab" for seed in (0, 1)}
    assert len(orders) == 4
