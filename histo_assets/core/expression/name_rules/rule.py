"""What a rule for names is: steps, each of which keeps some genes by name.

A rule is one file beside this one and a line in `registry.RULES`. This module is light.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar


class NameRule(ABC):
    """Which genes stay by their name.

    Attributes
    ----------
    name
        What a study calls it.
    description
        What it does, for the settings' schema.
    drops_dotted
        Whether names with a version (`AL627309.1`) never stay: they need not be kept while a file is read.
    may_repeat
        Whether several genes of one name may stay: a repeated id is an error then.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    drops_dotted: ClassVar[bool] = False
    may_repeat: ClassVar[bool] = False

    @abstractmethod
    def steps(self, symbols: Sequence[str], classes: Sequence[str]) -> list[tuple[str, list[bool]]]:
        """Return the steps in order: what the funnel calls it, and which genes it keeps.

        Parameters
        ----------
        symbols
            Names of all genes of the file.
        classes
            `dotted`, `repeated` or `standard` of each (`filters.name_classes`).
        """


def not_dotted(classes: Sequence[str]) -> tuple[str, list[bool]]:
    """Return the step that drops names with a version."""
    return "name without a version (not dotted)", [each != "dotted" for each in classes]
