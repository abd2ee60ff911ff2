"""Colours keep to their tissues, labels keep apart, and pictures keep to their budget."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from histo_assets.core.figures import cohort, slides
from histo_assets.core.figures.labels import apart
from histo_assets.core.figures.palette import GTEX, SLOTS, ink_of, short_name, tissue_colours, tissue_marker
from histo_assets.core.figures.style import FigureError, new_figure, png
from histo_assets_tests.unit.figure_tables import DEMO, made_tables


def test_a_tissue_keeps_its_colour_and_marker_in_whatever_company() -> None:
    for tissue in GTEX:
        assert tissue_colours([tissue])[tissue] == tissue_colours(GTEX)[tissue] == GTEX[tissue][1]
    assert tissue_colours(reversed(["grade_1", "grade_2", "liver"])) == tissue_colours(["grade_1", "grade_2", "liver"])
    named = "tissue_marker('grade_2'), tissue_colours(['grade_2'])"
    code = f"from histo_assets.core.figures.palette import tissue_colours, tissue_marker; print({named})"
    for seed in ("1", "2"):  # Python hashes strings anew in every process
        ran = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        assert ran.stdout.strip() == f"{tissue_marker('grade_2')} {tissue_colours(['grade_2'])}", ran.stderr


def test_the_forty_tissues_have_forty_colours_and_names() -> None:
    assert len(set(tissue_colours(GTEX).values())) == len({short_name(tissue) for tissue in GTEX}) == len(GTEX) == 40


@given(st.sets(st.text("abcdefgh_0123", min_size=1, max_size=8), max_size=len(SLOTS)))
def test_up_to_48_other_labels_never_share_a_colour(keys: set[str]) -> None:
    assert len(set(tissue_colours(keys).values())) == len(keys)


@given(st.sampled_from([*SLOTS, *(colour for _, colour in GTEX.values())]))
def test_text_in_the_colour_of_a_tissue_is_dark_enough_for_white_paper(colour: str) -> None:
    red, green, blue = (int(ink_of(colour)[i : i + 2], 16) for i in (1, 3, 5))
    assert 0.299 * red + 0.587 * green + 0.114 * blue <= 110


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_labels_stay_inside_the_panel_and_do_not_cover_one_another(labels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = rng.uniform(0, 900, (labels, 2)) * rng.choice([0.02, 1.0])
    halves = np.stack([rng.uniform(20, 55, labels), np.full(labels, 7.0)], axis=1)
    bounds = np.array([[0.0, 0.0], [950.0, 690.0]])
    centres = apart(wanted, halves, bounds)
    assert (centres - halves >= -1e-6).all() and (centres + halves <= bounds[1] + 1e-6).all()
    overlap = (halves[:, None] + halves[None] - np.abs(centres[:, None] - centres[None])).min(axis=2)
    np.fill_diagonal(overlap, -1)
    assert overlap.max() < 6.0


def test_a_figure_that_fits_in_no_way_is_refused() -> None:
    with pytest.raises(FigureError, match="max_bytes=50"):
        png(new_figure(2, 2), max_bytes=50)


def test_a_picture_of_noise_is_made_smaller_until_it_fits() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    figure = slides.image_grid([noise], columns=1)
    picture = png(figure, 40_000)
    assert len(picture) <= 40_000 < len(png(figure, 190_000))
    assert figure.dpi == 110
    with Image.open(io.BytesIO(picture)) as image:
        assert np.asarray(image.convert("L")).std() > 20, "noise is drawn, not an even grey"


def test_equal_tables_give_equal_bytes() -> None:
    first, second = (png(cohort.cohort_overview(made_tables(DEMO[:4]).manifest)) for _ in range(2))
    assert first == second


def test_importing_the_room_does_not_import_matplotlib() -> None:
    modules = "cohort, evaluation, expression, heatmap, learning, page, prediction, projection, slides, style"
    code = f"import sys; from histo_assets.core.figures import {modules}; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
