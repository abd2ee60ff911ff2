"""A study whose slides are fetched, through Dagster: nothing turns stale by dropping a slide."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from histo_assets.core.cohort.ids import canonical_slide
from histo_assets.definitions import build_definitions
from histo_assets.defs.whole_study import StudyDriver
from histo_assets.studies.plan import plan_study
from histo_assets.studies.study import load_study
from histo_assets_tests.conftest import FinishedStudy
from histo_assets_tests.unit.lying_server import serving

pytestmark = pytest.mark.study

TILED = ["slide_manifest", "slide_pairs", "selected_slides", "raw_slides", "tiles"]


def test_slides_are_fetched_tiled_dropped_and_stay_fresh(
    tiny: FinishedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    cohort = Path(tiny.study.resolve(tiny.study.slides.folder)).parent
    shutil.copytree(cohort, tmp_path / "cohort", ignore=shutil.ignore_patterns("slides"))
    files = {path.stem: path.read_bytes() for path in (cohort / "slides").rglob("*.svs")}
    # A server knows slides by the manifest's names; some of the cohort's files bear their sibling's.
    contents = {f"/{canonical_slide(name)}": content for name, content in files.items()}
    contents |= {f"/{name}": content for name, content in files.items()}
    with serving(contents) as server:
        source = {"kind": "url", "url": server.address + "/{slide}", "keep": "none"}
        content = {
            "extends": "tiny",
            "name": "fetched",
            "cohort": {"manifest": "cohort/portal.csv", "rna_samples": "cohort/sample_attributes.txt"},
            "slides": {"folder": "slides", "source": source},
        }
        (tmp_path / "fetched.yaml").write_text(yaml.safe_dump(content))
        study = load_study(tmp_path / "fetched.yaml")
        plan = plan_study(study)
        assert plan.slides_to_fetch == plan.slides > 0
        assert not any("slides are not in" in sentence for sentence in plan.missing)
        with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path / "dagster")) as instance:
            driver = StudyDriver(build_definitions(study, str(tmp_path / "storage")), study, instance)
            said: list[str] = []
            outcome = driver.bring_up_to_date(said.append, TILED)
            assert outcome.success, said
            assert list((tmp_path / "slides").glob("*.svs")) == []
            asked = len(server.asked)
            assert asked == plan.slides
            driver.observe_sources()
            assert driver.plan(TILED) == []
            assert driver.bring_up_to_date(said.append, ["raw_slides", "tiles"], force=True).success
            assert len(server.asked) == asked
    assert plan_study(study).slides_to_fetch == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "slides").glob(".*.fetched.json")]
    assert len(records) == plan.slides
    assert all(record["tiled"] for record in records)
