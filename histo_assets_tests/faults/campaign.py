"""The runner: scenarios one after another, and the table of what was tried and what was lost."""

from __future__ import annotations

import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from histo_assets_tests.faults.place import Place

MOST = 4  # losses of one fault that are printed; all are in the JSON
Scenario = Callable[["Trial"], None]


class Skipped(Exception):
    """A scenario that this machine cannot run; the message says why."""


@dataclass
class Row:
    """One line of the table: every fault that was tried, and for each by which something was lost, what."""

    name: str
    tried: list[str] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    skipped: str | None = None


@dataclass
class Trial:
    """What a scenario works with: the place, chance, whether the short form is wanted, and its row."""

    place: Place
    chance: random.Random
    short: bool
    row: Row
    began: float = field(default_factory=time.monotonic)

    def tried(self, what: str, lost: Sequence[str]) -> bool:
        """Note one fault and what was lost by it; return whether nothing was."""
        numbered = f"{len(self.row.tried) + 1}. {what}"
        self.row.tried.append(numbered)
        if lost:
            self.row.lost[numbered] = list(lost)
        seconds, self.began = time.monotonic() - self.began, time.monotonic()
        say(f"  {numbered}: {_summary(lost) if lost else 'nothing lost'} ({seconds:.0f} s)")
        return not lost


def run_scenarios(scenarios: dict[str, Scenario], place: Place, short: bool, seed: int) -> list[Row]:
    """Run each scenario on a restored study and return its row; an error of the suite counts as a loss."""
    rows = []
    for name, scenario in scenarios.items():
        row = Row(name)
        say(f"{name}: {(scenario.__doc__ or '').splitlines()[0]}")
        began = time.monotonic()
        try:
            place.changes = {}
            place.restore()
            scenario(Trial(place, random.Random(f"{seed} {name}"), short, row))
        except Skipped as reason:
            row.skipped = str(reason)
            say(f"  skipped: {reason}")
        except Exception as error:
            traceback.print_exc()
            row.lost["the suite itself"] = [f"{type(error).__name__}: {error}"]
        finally:
            place.end_processes()
        row.seconds = time.monotonic() - began
        rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, the losses below."""
    lines = [f"{'scenario':<22} {'tried':>6} {'lost':>6} {'seconds':>8}"]
    for row in rows:
        outcome = f"skipped: {row.skipped}" if row.skipped else ""
        lines.append(f"{row.name:<22} {len(row.tried):>6} {len(row.lost):>6} {row.seconds:>8.0f} {outcome}".rstrip())
    total, lost = sum(len(row.tried) for row in rows), sum(len(row.lost) for row in rows)
    lines.append(f"{'all':<22} {total:>6} {lost:>6} {sum(row.seconds for row in rows):>8.0f}")
    for row in rows:
        lines += [f"lost in {row.name}: {what}: {_summary(losses)}" for what, losses in row.lost.items()]
    return "\n".join(lines)


def _summary(losses: Sequence[str]) -> str:
    more = f"; and {len(losses) - MOST} more" if len(losses) > MOST else ""
    return "; ".join(losses[:MOST]) + more


def write_rows(path: Path, rows: Sequence[Row], seed: int) -> None:
    """Write the table as JSON."""
    path.write_text(json.dumps({"seed": seed, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a table that `write_rows` wrote."""
    return [Row(**row) for row in json.loads(path.read_text())["rows"]]


def say(line: str) -> None:
    """Print a line at once."""
    print(line, file=sys.stdout, flush=True)
