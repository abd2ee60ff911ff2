"""Room `model` of a study that trains nothing: the backbone that serves as it is."""

from typing import Any

import dagster as dg

from histo_assets.defs.study_assets import StudyAssets, result
from histo_assets.defs.types import FrozenModel
from histo_assets.studies.study import Study

ROOM = "model"


def serves(study: Study) -> bool:
    """Return whether a frozen backbone serves the study."""
    return study.learning.frozen is not None


def build(assets: StudyAssets) -> list[Any]:
    """Return the asset of the room."""

    @assets.asset(ROOM, "folders", kinds={"pytorch"}, reads=["learning.frozen", "learning.input_px"])
    def selected_model(study: Study) -> dg.MaterializeResult:
        """The frozen backbone that serves: its weights, their licence and revision; nothing is trained."""
        from histo_assets.core.networks.registry import find_backbone
        from histo_assets.core.training.frozen import frozen_model

        frozen = study.learning.frozen
        assert frozen is not None, "this room is built for studies with a frozen backbone"
        model: FrozenModel = frozen_model(frozen, study.learning.offline)
        backbone = find_backbone(model.backbone)
        return result(
            model,
            {
                "backbone": model.backbone,
                "dimensions": backbone.dim,
                "input_px": study.learning.input_px,
                "weights": model.weights_digest,
                "licence": model.licence,
                "commercial_use": backbone.commercial,
                "revision": model.revision or "none: not from a hub",
                "why": "the study names it; nothing is trained",
            },
        )

    return [selected_model]
