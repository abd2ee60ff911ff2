"""What was observed of files outside the storage, such as the cohort's tables and slides, and when.

A source is looked at as a whole, part by part (a file, a slide), and the look is stored. What an artefact was
made of is recorded in its pointer, and compared with the last look.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from histo_assets.storage.layout import Artefact, StudyStorage

Parts = Mapping[str, str]
"""Part -> version; what is not there has the version `missing`."""


def as_it_is(look: Parts, recorded: Parts) -> Parts:
    """Return the whole look, for sources whose every part concerns everyone."""
    return look


def unknown(storage: StudyStorage, artefact: Artefact, written_at: datetime) -> Parts | None:
    """Return None: nothing is known of what an artefact of version 0.1.0 was made of."""
    return None


@dataclass(frozen=True)
class Source:
    """Files outside the storage that assets read.

    Attributes
    ----------
    look
        Returns everything that is there now.
    place
        What identifies where it is looked for: a study that names another file has another look.
    concerning
        Returns, of a look, the parts that an artefact was made of (as its pointer recorded them) as they are now.
    seen_before
        Returns the parts that an artefact written at a time was made of, where they have not changed since by
        the times of the files, else None: for pointers of version 0.1.0, which recorded none.
    """

    look: Callable[[], Parts]
    place: str = ""
    concerning: Callable[[Parts, Parts], Parts] = as_it_is
    seen_before: Callable[[StudyStorage, Artefact, datetime], Parts | None] = unknown


@dataclass(frozen=True)
class Look:
    """What was there, and when somebody looked."""

    observed_at: datetime
    parts: Parts


class Sources:
    """The sources of one study, each looked at when first asked for, or by the last look that is stored."""

    def __init__(self, storage: StudyStorage, sources: Mapping[str, Source]) -> None:
        self._storage = storage
        self._sources = dict(sources)
        self._looks: dict[str, Look] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The sources' names."""
        return tuple(self._sources)

    def look(self, name: str) -> Look:
        """Return the source as it is now, and store the look."""
        parts = dict(self._sources[name].look())
        look = Look(datetime.now(UTC), parts)
        content = {"observed_at": look.observed_at.isoformat(), "place": self._sources[name].place, "parts": parts}
        self._storage.write_look(f"{name}.json", json.dumps(content, indent=1, sort_keys=True))
        self._looks[name] = look
        return look

    def last(self, name: str) -> Look:
        """Return the last look at the source, or a first one."""
        if name not in self._looks:
            stored = self._stored(name)
            if stored is None:
                return self.look(name)
            self._looks[name] = stored
        return self._looks[name]

    def current(self, name: str, recorded: Parts, parts: tuple[str, ...]) -> Parts:
        """Return, as they were at the last look, the parts that were `recorded`; only `parts`, where any are named."""
        now = self._sources[name].concerning(self.last(name).parts, recorded)
        return {part: version for part, version in now.items() if not parts or part in parts}

    def seen_before(self, name: str, written_at: datetime, storage: StudyStorage, artefact: Artefact) -> Parts | None:
        """Return what an artefact of version 0.1.0 was made of, where that can be told."""
        return self._sources[name].seen_before(storage, artefact, written_at)

    def _stored(self, name: str) -> Look | None:
        try:
            text = self._storage.read_look(f"{name}.json")
            content = json.loads(text) if text else None
            if content is None or content["place"] != self._sources[name].place:
                return None
            return Look(datetime.fromisoformat(content["observed_at"]), dict(content["parts"]))
        except (ValueError, KeyError, TypeError):
            return None  # a look that cannot be read is taken anew
