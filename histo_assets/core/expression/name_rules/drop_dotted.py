"""Dotted names go; repeated ones stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from histo_assets.core.expression.name_rules.rule import NameRule, not_dotted


class DropDotted(NameRule):
    """Dotted names go; repeated ones stay."""

    name: ClassVar[str] = "drop_dotted"
    description: ClassVar[str] = "repeated ones stay"
    drops_dotted: ClassVar[bool] = True
    may_repeat: ClassVar[bool] = True

    def steps(self, symbols: Sequence[str], classes: Sequence[str]) -> list[tuple[str, list[bool]]]:
        """Return the steps in order."""
        return [not_dotted(classes)]
