"""An edited study must not look fresh: what turns stale, and that nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from histo_assets.defs.sources import study_sources
from histo_assets.studies.study import Study, load_study
from histo_assets_tests.conftest import FinishedStudy

pytestmark = pytest.mark.study


def edited(study: Study, **changes: object) -> Study:
    """Return a copy of `study` in which the named rooms' settings are changed."""
    copy = study.model_copy(update=changes)
    copy._base = study._base
    return copy


def due(finished: FinishedStudy, study: Study | None = None) -> dict[str, set[str | None]]:
    """Return asset -> partitions that are due under a study."""
    partitions: dict[str, set[str | None]] = {}
    for work in finished.driver(study).plan():
        for asset in work.assets:
            partitions.setdefault(asset, set()).add(work.partition)
    return partitions


def test_a_finished_study_is_fresh(tiny: FinishedStudy) -> None:
    assert tiny.outcome.success, [*tiny.outcome.failed, *tiny.outcome.blocked]
    assert due(tiny) == {}


def test_a_changed_tile_size_makes_every_tissue_of_tiles_stale(tiny: FinishedStudy) -> None:
    study = edited(tiny.study, tiling=tiny.study.tiling.model_copy(update={"tile_px": 72}))
    assert due(tiny, study)["tiles"] == set(tiny.study.selection.tissues)
    assert "raw_slides" not in due(tiny, study)


def test_a_removed_tissue_makes_stale_what_reads_all_tissues(tiny: FinishedStudy) -> None:
    kept = tiny.study.selection.tissues[:-1]
    study = edited(tiny.study, selection=tiny.study.selection.model_copy(update={"tissues": kept}))
    due_now = due(tiny, study)
    assert {"donor_split", "expression_matrix", "training_set", "slide_embeddings"} <= set(due_now)
    assert not {"selected_slides", "raw_slides", "tiles"} & set(due_now)


def test_a_swapped_tissue_is_missing_and_what_reads_all_is_stale(tiny: FinishedStudy) -> None:
    swapped = (*tiny.study.selection.tissues[:-1], "stomach")
    study = edited(tiny.study, selection=tiny.study.selection.model_copy(update={"tissues": swapped}))
    due_now = due(tiny, study)
    assert due_now["tiles"] == {"stomach"}
    assert due_now["selected_slides"] == {"stomach"}
    assert "training_set" in due_now


def test_another_threshold_of_the_projection_touches_only_projections_and_what_is_made_from_them(
    tiny: FinishedStudy,
) -> None:
    study = edited(tiny.study, projection=tiny.study.projection.model_copy(update={"min_dist": 0.3}))
    projections = {
        "expression_projection",
        "tile_projection",
        "slide_projection",
        "epoch_projection",
        "joint_projection",
    }
    assert set(due(tiny, study)) == projections
    statuses = tiny.driver(study).staleness.statuses()
    assert {status.artefact.asset for status in statuses if status.state != "fresh"} == {
        *projections,
        "expression_clusters",
        "cluster_expression",
        "study_report",
    }
    reasons = {str(reason) for status in statuses for reason in status.reasons}
    assert reasons == {"projection.min_dist 0.1 -> 0.3"}


def test_a_malformed_matrix_is_one_sentence_and_costs_no_other_work(tiny: FinishedStudy, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gct"
    samples = list(tiny.load("expression_matrix").obs_names)
    bad.write_text(
        "#1.2\n1\t2\nName\tDescription\t" + "\t".join(samples) + "\nENSG1.1\tABC\tx" + "\t1" * len(samples[1:]) + "\n"
    )
    expression = tiny.study.expression.model_copy(update={"file": str(bad)})
    outcome = tiny.driver(edited(tiny.study, expression=expression)).bring_up_to_date(
        lambda text: None, ["expression_matrix", "training_set"], force=True
    )
    [(work, problem)] = outcome.failed
    assert work.assets == ("expression_matrix",)
    assert "bad.gct" in problem and "line 4" in problem and "\n" not in problem
    assert not outcome.blocked
    tiny.driver().observe_sources()
    assert due(tiny) == {}


def test_a_forced_run_that_fails_is_a_failure_though_what_is_stored_is_fresh(
    tiny: FinishedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tiny.driver()
    monkeypatch.setattr(driver, "_run", lambda work, say, force: ("no space left on device", set()))
    outcome = driver.bring_up_to_date(lambda text: None, ["slide_manifest"], force=True)
    assert [problem for _, problem in outcome.failed] == ["no space left on device"]


def test_what_another_run_made_meanwhile_is_no_failure(tiny: FinishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, other = tiny.driver(), tiny.driver()

    def slower(work: object, say: object, force: object) -> tuple[str, set[str]]:
        assert other.run(("slide_manifest",), None, force=True).success
        return "that one stays", set()

    monkeypatch.setattr(driver, "_run", slower)
    lines: list[str] = []
    outcome = driver.bring_up_to_date(lines.append, ["slide_manifest"], force=True)
    assert outcome.success
    assert "was made by another run meanwhile" in lines[0]


def observed_expression(study: Study) -> dict[str, str]:
    """Return what a look at the study's expression file notes."""
    return dict(study_sources(study)["expression_file"].look())


def test_a_releases_file_goes_by_the_release_and_gene_lengths_are_seen(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text("extends: gtex\nname: lab\nexpression: {release: gtex_v8}\n")
    due_now = observed_expression(load_study(tmp_path / "lab.yaml"))
    assert any(value.startswith("gtex_v8 ") for value in due_now.values()), due_now
    (tmp_path / "lab.yaml").write_text(
        "extends: gtex\nname: lab\nexpression: {file: a.csv, units: counts, gene_lengths: lengths.csv}\n"
    )
    lengths = tmp_path / "lengths.csv"
    before = observed_expression(load_study(tmp_path / "lab.yaml"))
    lengths.write_text("gene,length\nG,1000\n")
    after = observed_expression(load_study(tmp_path / "lab.yaml"))
    assert before["expression file"] == after["expression file"] == "missing"
    assert before["gene lengths"] == "missing" != after["gene lengths"]


def test_one_slide_file_less_and_again_makes_its_tissue_due_alone(tiny: FinishedStudy) -> None:
    table = tiny.load("raw_slides", "liver")
    folder = Path(tiny.study.resolve(tiny.study.slides.folder))
    slide = folder / Path(table["path"].iloc[0]).name
    away = slide.with_name(f".{slide.name}")
    slide.rename(away)
    try:
        tiny.driver().observe_sources()
        assert due(tiny) == {"raw_slides": {"liver"}}
    finally:
        away.rename(slide)
    tiny.driver().observe_sources()
    assert due(tiny) == {}


def test_a_changed_table_is_due_once_somebody_looked(tiny: FinishedStudy) -> None:
    manifest = tiny.cohort / "portal.csv"
    before = manifest.read_bytes()
    manifest.write_bytes(before + b"\n")
    try:
        assert due(tiny) == {}
        tiny.driver().staleness.sources.look("cohort_tables")
        assert due(tiny) == {"slide_manifest": {None}}
    finally:
        manifest.write_bytes(before)
    tiny.driver().observe_sources()
    assert due(tiny) == {}


def test_one_more_slide_in_the_manifest_redoes_one_tissue(tiny: FinishedStudy) -> None:
    """Last in this module: it edits the cohort, and puts it back."""
    manifest = tiny.cohort / "portal.csv"
    before = manifest.read_text()
    header, *rows = before.splitlines()
    pairs = tiny.load("slide_pairs")
    victim = pairs[pairs["tissue"] == "liver"]["slide"].iloc[0]
    manifest.write_text("\n".join([header, *[row for row in rows if victim not in row]]) + "\n")
    try:
        driver = tiny.driver()
        without = driver.bring_up_to_date(lambda text: None, ["slide_manifest", "slide_pairs", "selected_slides"])
        assert without.success
        due_now = due(tiny)
        assert due_now["raw_slides"] == {"liver"}
        manifest.write_text(before)
        driver = tiny.driver()
        lines: list[str] = []
        assert driver.bring_up_to_date(lines.append, ["slide_manifest", "slide_pairs", "selected_slides"]).success
        assert due(tiny) == {}
    finally:
        manifest.write_text(before)
