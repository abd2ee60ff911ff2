"""What assets declare: every study's graph hangs together, whatever is trained."""

from __future__ import annotations

import pytest

from histo_assets.core.training.settings import FrozenSettings
from histo_assets.defs.rooms import study_assets
from histo_assets.storage.layout import Artefact
from histo_assets.studies.study import Study, load_study, packaged_studies


def frozen(study: Study) -> Study:
    """Return the study with a backbone that serves as it is."""
    learning = study.learning.model_copy(
        update={"frozen": FrozenSettings(backbone="efficientnet_lite0"), "experiments": {}, "studied": ""}
    )
    copy = study.model_copy(update={"learning": learning})
    copy._base = study._base
    return copy


@pytest.mark.parametrize("name", packaged_studies())
@pytest.mark.parametrize("trains", [True, False])
def test_everything_that_an_artefact_is_made_from_is_asked_for_before_it(name: str, trains: bool) -> None:
    study = load_study(name)
    seen: set[Artefact] = set()
    for need in study_assets(study if trains else frozen(study)).needs():
        assert set(need.parents) <= seen, need.artefact
        seen.add(need.artefact)
    assert {artefact.asset for artefact in seen} >= {"tiles", "selected_model", "study_report"}
    assert ("epoch_projection" in {artefact.asset for artefact in seen}) == trains
