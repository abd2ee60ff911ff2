"""No gene goes by its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from histo_assets.core.expression.name_rules.rule import NameRule


class EveryName(NameRule):
    """No gene goes by its name."""

    name: ClassVar[str] = "all"
    description: ClassVar[str] = "no gene goes by its name"
    may_repeat: ClassVar[bool] = True

    def steps(self, symbols: Sequence[str], classes: Sequence[str]) -> list[tuple[str, list[bool]]]:
        """Return the steps in order."""
        return []
