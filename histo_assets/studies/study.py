"""The Study model: everything that decides a result, composed from the rooms' own settings."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, PrivateAttr, ValidationError, field_validator

from histo_assets.core.cohort.settings import CohortSettings, SelectionSettings, SplitSettings
from histo_assets.core.embedding.settings import EmbeddingSettings
from histo_assets.core.errors import HistoError
from histo_assets.core.expression.settings import ExpressionSettings
from histo_assets.core.files import Settings
from histo_assets.core.prediction.settings import PredictionSettings
from histo_assets.core.projection.settings import ProjectionSettings
from histo_assets.core.settings import INDIFFERENT, PLACE
from histo_assets.core.slides.settings import SlideSettings
from histo_assets.core.tiling.settings import TilingSettings
from histo_assets.core.training.settings import LearningSettings
from histo_assets.demo.settings import SyntheticSettings

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class StudyError(HistoError):
    """A study that cannot be used: the message names the file, the key and what is allowed."""


class IncomingSettings(Settings):
    """The folder that is watched for new slides, relative like every other path of a study."""

    folder: Annotated[str, PLACE] = "incoming"


class ResourceSettings(Settings):
    """What a step may use of a machine. Decides no result, so a change makes nothing stale.

    `workers` is the number of processes that cut slides or fit genes (`HISTO_WORKERS` goes before it; default:
    the cores, at most 4), `worker_megabytes` the memory that one of those that cut slides may allocate.
    """

    workers: Annotated[int | None, INDIFFERENT] = Field(default=None, ge=1)
    worker_megabytes: Annotated[int, INDIFFERENT] = Field(default=2000, ge=500)


class Study(Settings):
    """One whole protocol. Field by field, the settings of each room."""

    name: str
    title: str
    description: str = ""
    synthetic: SyntheticSettings | None = None
    cohort: CohortSettings
    selection: SelectionSettings
    split: SplitSettings = SplitSettings()
    slides: SlideSettings = SlideSettings()
    tiling: TilingSettings = TilingSettings()
    expression: ExpressionSettings
    learning: LearningSettings
    embedding: EmbeddingSettings = EmbeddingSettings()
    projection: ProjectionSettings = ProjectionSettings()
    prediction: PredictionSettings = PredictionSettings()
    incoming: IncomingSettings = IncomingSettings()
    resources: ResourceSettings = ResourceSettings()
    assumptions: tuple[str, ...] = ()

    _base: Path = PrivateAttr(default_factory=lambda: cohorts_root())

    @field_validator("name")
    @classmethod
    def _name_is_a_key(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a study's name is lower case letters, digits and underscores, as in 'gtex_liver'")
        return name

    def resolve(self, path: str) -> str:
        """Return `path` as it can be opened: a URL as it is, else absolute or below the study's base folder."""
        return path if "://" in path else str(self._base / os.path.expanduser(path))

    def located_slides(self) -> SlideSettings:
        """Return the slides' settings with the files that their source names as they can be opened."""
        named = {"listing": self.slides.source.listing, "slide_index": self.slides.source.slide_index}
        located = {field: self.resolve(path) for field, path in named.items() if path}
        return self.slides.model_copy(update={"source": self.slides.source.model_copy(update=located)})


def cohorts_root() -> Path:
    """Return the folder that packaged studies find their cohorts in (`HISTO_COHORTS`, default `data/cohorts`)."""
    return Path(os.environ.get("HISTO_COHORTS") or "data/cohorts").absolute()


def packaged_studies() -> list[str]:
    """Return the names of the studies that come with the package."""
    folder = resources.files("histo_assets.studies")
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_study(name_or_file: str | os.PathLike[str] | None = None) -> Study:
    """Return a study by packaged name or YAML file; None means `HISTO_STUDY`, else `demo`.

    Raises
    ------
    StudyError
        The study is unknown, is not YAML, or has an unknown key or an impossible value.
    """
    chosen = os.fspath(name_or_file or os.environ.get("HISTO_STUDY") or "demo")
    content, base = _merged(chosen, seen=())
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise StudyError(f"study {chosen}: {_first_problem(error)}") from None
    study._base = base
    return study


def _merged(chosen: str, seen: tuple[str, ...]) -> tuple[dict[str, Any], Path]:
    """Return the content of a study over that of the study it extends, and its base folder."""
    if chosen in seen:
        raise StudyError(f"study {chosen} extends itself: {' -> '.join([*seen, chosen])}")
    text, base = _source(chosen)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"study {chosen} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StudyError(f"study {chosen} holds no keys; start from `extends: demo` and a name of its own")
    parent = content.pop("extends", None)
    if parent is None:
        return content, base
    if parent not in packaged_studies():
        parent = str(base / parent)
    inherited, where = _merged(parent, (*seen, chosen))
    if where != base:
        inherited = _anchored(inherited, where)
    _drop_replaced(inherited, content)
    return _overridden(inherited, content), base


def _drop_replaced(inherited: dict[str, Any], content: Mapping[str, Any]) -> None:
    """Remove from `inherited` what no longer holds once `content` is laid over it."""
    if {"cohort", "slides"} & set(content):
        inherited.pop("synthetic", None)  # a cohort of one's own is never generated over
    own = content.get("expression") or {}
    expression = dict(inherited.get("expression") or {})
    if "file" in own:
        expression.pop("release", None)  # a file of one's own is none of the parent's release
    elif own.get("release"):
        expression.pop("file", None)
    if expression:
        inherited["expression"] = expression


_PATHS = (
    ("cohort", "manifest"),
    ("cohort", "rna_samples"),
    ("slides", "folder"),
    ("slides", "source", "listing"),
    ("slides", "source", "slide_index"),
    ("incoming", "folder"),
    ("expression", "file"),
    ("expression", "gene_lengths"),
)


def _anchored(content: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return the content of a study with its paths made absolute below its own base folder."""
    anchored = copy.deepcopy(dict(content))
    for *rooms, field in _PATHS:
        settings: Any = anchored
        for room in rooms:
            settings = (settings or {}).get(room)
        path = (settings or {}).get(field)
        if path and "://" not in path:
            settings[field] = str(base / path)
    return anchored


def _source(chosen: str) -> tuple[str, Path]:
    if chosen in packaged_studies():
        return (resources.files("histo_assets.studies") / f"{chosen}.yaml").read_text(), cohorts_root()
    path = Path(chosen)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path.read_text(), path.absolute().parent
    raise StudyError(
        f"study {chosen!r} is neither a YAML file nor one of the packaged studies {', '.join(packaged_studies())}"
    )


# Mappings that a child replaces as a whole: their keys are names, not fields.
_REPLACED = frozenset({"experiments", "regressors", "assume_mpp"})


def _overridden(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it, mapping by mapping."""
    merged = dict(base)
    for key, value in changes.items():
        deep = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and key not in _REPLACED
        merged[key] = _overridden(merged[key], value) if deep else value
    return merged


def _first_problem(error: ValidationError) -> str:
    """Return the first validation error as one sentence that names the key and what is allowed."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}; allowed here: {', '.join(_allowed(problem['loc']))}"
    if problem["type"] == "missing":
        return f"missing key {key!r}"
    said = problem["msg"].removeprefix("Value error, ")
    found = problem.get("input")
    return f"{key}: {said}" if isinstance(found, Mapping) else f"{key}: {said} (found {found!r})"


def _allowed(location: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the settings model in which the last part of `location` was found."""
    model: Any = Study
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            model = field.annotation
            continue
        candidates = [a for a in getattr(model, "__args__", ()) if hasattr(a, "model_fields")]
        model = candidates[0] if candidates else model
    models = [model, *getattr(model, "__args__", ())]
    return sorted({name for m in models for name in getattr(m, "model_fields", {})})
