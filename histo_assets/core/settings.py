"""Which settings of a study decide a result, by name: those that an asset records, and that its body gets.

A setting goes by its dotted name, such as `tiling.tile_px`. Marks on a field say where it is different:

- `PLACE`: where something is. The content decides, not the place, so it is never recorded.
- `INDIFFERENT`: decides no result (a number of workers, a time limit).
- `FILE_OR_NAME`: a word, or the path of a file whose content is recorded.
- `LATER`: came after results were made; only another value than its default is recorded, so that they stay fresh.
- `by_partition(family)`: a mapping whose keys are partitions of that family; a partition reads its own entry alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union

from pydantic import AfterValidator, Discriminator, Tag

from histo_assets.core.errors import HistoError
from histo_assets.core.files import Settings, file_digest

HASHED_BELOW = 200_000_000
"""Bytes below which a file is known by its digest; larger ones by size and time."""

T = TypeVar("T", bound=Settings)


@dataclass(frozen=True)
class Mark:
    """What is different about a field."""

    kind: str
    family: str = ""


PLACE = Mark("place")
INDIFFERENT = Mark("indifferent")
FILE_OR_NAME = Mark("file or name")
LATER = Mark("later")


def by_partition(family: str) -> Mark:
    """Return the mark of a mapping whose keys are partitions of `family`."""
    return Mark("by partition", family)


class UndeclaredSettingError(HistoError):
    """A setting that an asset reads and does not declare: its result would look fresh after a change of it."""


@dataclass(frozen=True)
class Partition:
    """The partition that settings are read for: its family and key; no family where there is none."""

    family: str = ""
    key: str = ""


def one_of(*kinds: type[Settings]) -> Any:
    """Return the type of a setting that is one of several models, told apart by its key `kind`.

    Each model has a `kind: Literal[...]` with a default; the first is the default. A wrong key is reported as one
    of the model that the study names, not of another.
    """
    names = {kind.model_fields["kind"].default: kind for kind in kinds}
    first = next(iter(names))

    def meant(value: Any) -> Any:
        return value.get("kind", first) if isinstance(value, Mapping) else getattr(value, "kind", None)

    members = tuple(Annotated[kind, Tag(name)] for name, kind in names.items())
    return Annotated[
        Union[members],  # type: ignore[valid-type]  # noqa: UP007
        Discriminator(
            meant,
            custom_error_type="kind",
            custom_error_message=f"kind is none of {', '.join(names)}",
        ),
    ]


def one_of_names(known: Collection[str], what: str) -> AfterValidator:
    """Return a validator that refuses a name that is none of `known`, such as the names of a registry."""

    def checked(name: str) -> str:
        if name not in known:
            raise ValueError(f"there is no {what} of that name; there are {', '.join(known)}")
        return name

    return AfterValidator(checked)


def recorded(settings: Settings, names: Collection[str], partition: Partition = Partition()) -> dict[str, Any]:
    """Return dotted name -> value of the settings below `names` that decide a result, as JSON holds them.

    Raises
    ------
    ValueError
        One of `names` is no setting.
    """
    values: dict[str, Any] = {}
    for name in names:
        value, mark = _at(settings, name)
        values.update(_flat(value, name, mark, partition))
    return dict(sorted(values.items()))


def masked(settings: T, names: Collection[str], partition: Partition = Partition(), reader: str = "") -> T:
    """Return a copy of `settings` in which only what lies below `names` can be read, besides what decides nothing.

    Anything else raises `UndeclaredSettingError` as soon as it is used. `reader` is who reads, for the sentence.
    """
    return _masked(settings, "", frozenset(names), partition, reader)


def file_version(path: str | Path) -> str:
    """Return the version of a local file's content: a digest, size and time of a large one, or `missing`."""
    path = Path(path)
    if not path.is_file():
        return "missing"
    status = path.stat()
    return file_digest(path)[:16] if status.st_size < HASHED_BELOW else f"{status.st_size}-{status.st_mtime_ns}"


def _at(settings: Settings, name: str) -> tuple[Any, Mark | None]:
    """Return the value of a setting, and the mark of its field."""
    value: Any = settings
    mark = None
    for part in name.split("."):
        if not isinstance(value, Settings) or part not in type(value).model_fields:
            raise ValueError(f"{name!r} is no setting of a {type(settings).__name__}")
        mark = _mark(value, part)
        value = getattr(value, part)
    return value, mark


def _mark(settings: Settings, field: str) -> Mark | None:
    return next((item for item in type(settings).model_fields[field].metadata if isinstance(item, Mark)), None)


def _flat(value: Any, name: str, mark: Mark | None, partition: Partition) -> Iterator[tuple[str, Any]]:
    if mark in (PLACE, INDIFFERENT):
        return
    if isinstance(value, Settings):
        for field, declared in type(value).model_fields.items():
            own, mark = getattr(value, field), _mark(value, field)
            if mark != LATER or own != declared.default:
                yield from _flat(own, f"{name}.{field}", mark, partition)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if _is_read(str(key), mark, partition):
                yield from _flat(item, f"{name}.{key}", None, partition)
    elif mark == FILE_OR_NAME and isinstance(value, str):
        yield name, _file_or_name(value)
    else:
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _is_read(key: str, mark: Mark | None, partition: Partition) -> bool:
    own = mark is not None and mark.kind == "by partition" and mark.family == partition.family
    return not own or key == partition.key


def _file_or_name(value: str) -> str:
    version = file_version(value) if "/" in value or "." in value else ""
    return f"file {version}" if version else value


def _masked(settings: T, path: str, names: frozenset[str], partition: Partition, reader: str) -> T:
    changed: dict[str, Any] = {}
    for field in type(settings).model_fields:
        name, value, mark = f"{path}{field}", getattr(settings, field), _mark(settings, field)
        if mark in (PLACE, INDIFFERENT):
            continue
        if name in names:
            changed[field] = _narrowed(value, mark, partition)
        elif isinstance(value, Settings):
            changed[field] = _masked(value, f"{name}.", names, partition, reader)
        else:
            changed[field] = Undeclared(name, reader)
    copy = settings.model_copy(update=changed)
    if copy.__pydantic_private__ is not None and settings.__pydantic_private__ is not None:
        copy.__pydantic_private__.update(settings.__pydantic_private__)
    return copy


def _narrowed(value: Any, mark: Mark | None, partition: Partition) -> Any:
    """Return a declared value as the partition may read it: of a mapping by partition its own entry alone."""
    if isinstance(value, Settings):
        fields = {field: getattr(value, field) for field in type(value).model_fields}
        return value.model_copy(
            update={field: _narrowed(item, _mark(value, field), partition) for field, item in fields.items()}
        )
    if isinstance(value, Mapping) and mark is not None:
        return {key: item for key, item in value.items() if _is_read(str(key), mark, partition)}
    return value


class Undeclared:
    """Stands for a setting that was not declared; whatever is done with it raises. It can travel to workers."""

    def __init__(self, name: str, reader: str) -> None:
        self.__dict__.update(_name=name, _reader=reader)

    def __reduce__(self) -> tuple[type[Undeclared], tuple[str, str]]:
        return Undeclared, (self.__dict__["_name"], self.__dict__["_reader"])

    def __repr__(self) -> str:
        return f"<{self.__dict__['_name']} is not declared>"

    def _refuse(self, *_: Any, **__: Any) -> Any:
        name, reader = self.__dict__["_name"], self.__dict__["_reader"]
        raise UndeclaredSettingError(f"{reader} reads the setting {name}, which it does not declare; add it to `reads`")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refuse()

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = __call__ = __str__ = __format__ = _refuse
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __hash__ = _refuse
    __int__ = __float__ = __index__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __pow__ = __neg__ = _refuse


def settings_version(values: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal characters that change when one of the recorded settings does."""
    import json

    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]
