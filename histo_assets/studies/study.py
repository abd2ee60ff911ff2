"""The Study model: everything that decides a result, composed from the rooms' own settings."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator

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
    """Where new slides arrive."""

    folder: Annotated[str, PLACE] = Field(
        default="incoming", description="The folder that is watched, relative like every other path of a study."
    )


class ResourceSettings(Settings):
    """What a step may use of a machine. Decides no result, so a change makes nothing stale."""

    workers: Annotated[int | None, INDIFFERENT] = Field(
        default=None,
        ge=1,
        description="Processes that cut slides or fit genes (`HISTO_WORKERS` goes before it); None: the cores, at "
        "most 4.",
    )
    worker_megabytes: Annotated[int, INDIFFERENT] = Field(
        default=2000, ge=500, description="Memory that a process that cuts slides may allocate, in MB."
    )


class Study(Settings):
    """One whole protocol. Field by field, the settings of each room."""

    name: str = Field(description="Lower case letters, digits and underscores; prefixes assets, jobs and folders.")
    title: str = Field(description="What pages call the study.")
    description: str = Field(default="", description="A sentence or two for the study's page.")
    synthetic: SyntheticSettings | None = Field(
        default=None, description="A cohort that is generated where it is not there; None: it is one's own."
    )
    cohort: CohortSettings = Field(description="Where the cohort's tables are and how to read them.")
    selection: SelectionSettings = Field(description="Which paired slides are taken.")
    split: SplitSettings = Field(default=SplitSettings(), description="How donors are divided.")
    slides: SlideSettings = Field(default=SlideSettings(), description="Where slide files are.")
    tiling: TilingSettings = Field(default=TilingSettings(), description="Which tiles are cut.")
    expression: ExpressionSettings = Field(description="The expression matrix and its genes.")
    learning: LearningSettings = Field(description="Networks and their training.")
    embedding: EmbeddingSettings = Field(default=EmbeddingSettings(), description="How tiles are embedded.")
    projection: ProjectionSettings = Field(default=ProjectionSettings(), description="PCA, UMAP and t-SNE.")
    prediction: PredictionSettings = Field(default=PredictionSettings(), description="How genes are predicted.")
    incoming: IncomingSettings = Field(default=IncomingSettings(), description="Where new slides arrive.")
    resources: ResourceSettings = Field(default=ResourceSettings(), description="What a step may use of a machine.")
    assumptions: tuple[str, ...] = Field(
        default=(), description="Sentences on what the protocol leaves open, for the study's page."
    )

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
    own, base = _content(chosen)
    content, base = _merged(chosen, own, base, seen=())
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise StudyError(f"study {chosen}: {_first_problem(error)}") from None
    _refuse_unknown_tissues(chosen, own, study)
    study._base = base
    return study


def _refuse_unknown_tissues(chosen: str, own: Mapping[str, Any], study: Study) -> None:
    """Raise where a study has thresholds for a tissue that it does not select; what it inherits may have more."""
    quality = (own.get("tiling") or {}).get("quality") or {}
    unknown = [tissue for tissue in quality.get("per_tissue") or {} if tissue not in study.selection.tissues]
    if unknown:
        raise StudyError(
            f"study {chosen}: tiling.quality.per_tissue: {unknown[0]!r} is none of the study's tissues "
            f"{', '.join(study.selection.tissues)}"
        )


def _content(chosen: str) -> tuple[dict[str, Any], Path]:
    """Return a study's own settings, and its base folder."""
    text, base = _source(chosen)
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"study {chosen} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise StudyError(f"study {chosen} holds no keys; start from `extends: demo` and a name of its own")
    return content, base


def _merged(chosen: str, own: Mapping[str, Any], base: Path, seen: tuple[str, ...]) -> tuple[dict[str, Any], Path]:
    """Return the content of a study over that of the study it extends, and its base folder."""
    if chosen in seen:
        raise StudyError(f"study {chosen} extends itself: {' -> '.join([*seen, chosen])}")
    content = {key: value for key, value in own.items() if key != "extends"}
    parent = own.get("extends")
    if parent is None:
        return content, base
    if parent not in packaged_studies():
        parent = str(base / parent)
    inherited, where = _merged(parent, *_content(parent), (*seen, chosen))
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
    place, model = _place(problem["loc"])
    key = ".".join(place)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}; allowed here: {', '.join(sorted(getattr(model, 'model_fields', {})))}"
    if problem["type"] == "missing":
        return f"missing key {key!r}"
    if problem["type"] == "kind":
        value = problem["input"].get("kind") if isinstance(problem["input"], Mapping) else problem["input"]
        return f"{key}: {problem['msg']} (found {value!r})"
    message = problem["msg"].removeprefix("Value error, ")
    value = problem.get("input")
    return f"{key}: {message}" if isinstance(value, Mapping) else f"{key}: {message} (found {value!r})"


def _place(location: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """Return the keys of a location as they stand in the file, and the settings model that holds the last one.

    A location also names which of several models was meant; nobody wrote that there.
    """
    place: list[str] = []
    holder: Any = None
    here: Any = Study
    for part in location:
        meant = next((one for one in _choices(here) if _kind_of(one) == part), None)
        if meant is not None:
            here = meant
            continue
        place.append(str(part))
        model = _model_in(here)
        if model is not None:
            holder = model
            field = model.model_fields.get(str(part))
            here = field.annotation if field is not None else None
        else:
            holder, here = None, (get_args(here) or (None,))[-1]
    return place, holder


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the models that a setting may be one of."""
    bare = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return get_args(bare) if get_origin(bare) in (Union, UnionType) else ()


def _kind_of(annotation: Any) -> str | None:
    model = _model_in(annotation)
    field = model.model_fields.get("kind") if model is not None else None
    return field.default if field is not None else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the settings model that an annotation is, or holds beside marks and None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, UnionType):
        models = [model for one in get_args(annotation) if (model := _model_in(one)) is not None]
        return models[0] if len(models) == 1 else None
    return None
