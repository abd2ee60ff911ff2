"""Dotted names go; of a repeated name the first row stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from histo_assets.core.expression.name_rules.rule import NameRule, not_dotted


class KeepFirst(NameRule):
    """Dotted names go; of a repeated name the first row stays."""

    name: ClassVar[str] = "keep_first"
    description: ClassVar[str] = "dotted go, the first of a repeated name stays"
    drops_dotted: ClassVar[bool] = True

    def steps(self, symbols: Sequence[str], classes: Sequence[str]) -> list[tuple[str, list[bool]]]:
        """Return the steps in order."""
        seen: set[str] = set()
        first = []
        for symbol, each in zip(symbols, classes, strict=True):
            first.append(each != "repeated" or symbol not in seen)
            seen.add(symbol)
        return [not_dotted(classes), ("first of its name", first)]
