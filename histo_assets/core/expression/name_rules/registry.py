"""The rules for names that a study can choose. This module is light."""

from __future__ import annotations

from histo_assets.core.expression.name_rules.drop_dotted import DropDotted
from histo_assets.core.expression.name_rules.drop_dotted_and_repeated import DropDottedAndRepeated
from histo_assets.core.expression.name_rules.every_name import EveryName
from histo_assets.core.expression.name_rules.keep_first import KeepFirst
from histo_assets.core.expression.name_rules.rule import NameRule

RULES: dict[str, NameRule] = {
    rule.name: rule
    for rule in (
        DropDottedAndRepeated(),
        KeepFirst(),
        DropDotted(),
        EveryName(),
    )
}
"""One line a rule."""
