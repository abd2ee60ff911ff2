"""What an asset records of a study's settings, and what its body is given."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
from pydantic import Field

from histo_assets.core.files import Settings
from histo_assets.core.settings import (
    FILE_OR_NAME,
    INDIFFERENT,
    PLACE,
    Partition,
    UndeclaredSettingError,
    by_partition,
    masked,
    recorded,
)
from histo_assets.studies.study import Study


class Regressor(Settings):
    kind: str = "ridge"
    penalties: tuple[float, ...] = (1.0, 10.0)


class Room(Settings):
    folder: Annotated[str, PLACE] = "slides"
    workers: Annotated[int, INDIFFERENT] = 2
    tile_px: int = 224
    mpp: float = 0.5
    weights: Annotated[str, FILE_OR_NAME] = "imagenet"
    regressors: Annotated[dict[str, Regressor], by_partition("regressor")] = Field(default_factory=dict)
    groups: tuple[tuple[str, ...], ...] = (("a", "b"),)


class Protocol(Settings):
    tiling: Room = Room()
    other: Room = Room()


def test_every_setting_below_a_name_is_recorded_as_json_holds_it() -> None:
    assert recorded(Protocol(), ["tiling"]) == {
        "tiling.groups": [["a", "b"]],
        "tiling.mpp": 0.5,
        "tiling.tile_px": 224,
        "tiling.weights": "imagenet",
    }
    assert recorded(Protocol(), ["tiling.mpp"]) == {"tiling.mpp": 0.5}


def test_a_name_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'tiling\.tilepx' is no setting of a Protocol"):
        recorded(Protocol(), ["tiling.tilepx"])


def test_weights_in_a_file_are_recorded_by_content_and_not_by_place(tmp_path: Path) -> None:
    one, two = tmp_path / "one.pth", tmp_path / "two.pth"
    one.write_bytes(b"w")
    two.write_bytes(b"w")
    first, second = (recorded(Room(weights=str(path)), ["weights"]) for path in (one, two))
    assert first == second
    two.write_bytes(b"x")
    assert recorded(Room(weights=str(two)), ["weights"]) != first


def test_a_partition_records_its_own_entry_alone() -> None:
    room = Room(regressors={"ridge": Regressor(), "forest": Regressor(kind="forest")})
    own = recorded(room, ["regressors"], Partition("regressor", "forest"))
    assert own == {"regressors.forest.kind": "forest", "regressors.forest.penalties": [1.0, 10.0]}
    assert len(recorded(room, ["regressors"], Partition("tissue", "liver"))) == 4


def test_a_body_reads_what_it_declares_and_what_decides_nothing() -> None:
    view = masked(Protocol(), ["tiling.mpp"], reader="tiles")
    assert view.tiling.mpp == 0.5
    assert view.other.folder == "slides"
    assert view.other.workers == 2


@pytest.mark.parametrize(
    "use",
    [
        lambda value: value == 224,
        lambda value: bool(value),
        lambda value: value + 1,
        lambda value: 1 / value,
        lambda value: value < 3,
        lambda value: list(value),
        lambda value: value.bit_length(),
        lambda value: f"{value}",
        lambda value: int(value),
        lambda value: range(value),
        lambda value: hash(value),
        lambda value: pickle.loads(pickle.dumps(value)) == 1,
    ],
)
def test_any_use_of_another_setting_is_an_error_that_names_it(use: object) -> None:
    view = masked(Protocol(), ["tiling.mpp"], reader="tiles")
    with pytest.raises(UndeclaredSettingError, match=r"tiles reads the setting tiling\.tile_px, which it does not"):
        use(view.tiling.tile_px)  # type: ignore[operator]


def test_a_partition_is_given_its_own_entry_alone() -> None:
    room = Protocol(tiling=Room(regressors={"ridge": Regressor(), "forest": Regressor()}))
    view = masked(room, ["tiling"], Partition("regressor", "ridge"), "gene_regressors")
    assert list(view.tiling.regressors) == ["ridge"]
    assert list(room.tiling.regressors) == ["ridge", "forest"]


def models_within(annotation: Any) -> Iterator[type[Settings]]:
    """Yield the settings models that an annotation names, and those that their fields name."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_within(field.annotation)
    for part in get_args(annotation):
        yield from models_within(part)


def test_every_setting_of_a_study_says_what_it_is() -> None:
    models = dict.fromkeys(models_within(Study))
    assert {Regressor, Room} < set(dict.fromkeys(models_within(Protocol)))
    silent = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not (field.description or "").endswith(".")
    ]
    assert not silent, f"without a description: {', '.join(silent)}"
