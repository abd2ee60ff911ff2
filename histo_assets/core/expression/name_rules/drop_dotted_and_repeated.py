"""The post's rule: dotted names go, and every row of a repeated name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from histo_assets.core.expression.name_rules.rule import NameRule, not_dotted


class DropDottedAndRepeated(NameRule):
    """The post's rule: dotted names go, and every row of a repeated name."""

    name: ClassVar[str] = "drop_dotted_and_repeated"
    description: ClassVar[str] = "every row of a repeated name goes"
    drops_dotted: ClassVar[bool] = True

    def steps(self, symbols: Sequence[str], classes: Sequence[str]) -> list[tuple[str, list[bool]]]:
        """Return the steps in order."""
        return [not_dotted(classes), ("name of its own (not repeated)", [each != "repeated" for each in classes])]
