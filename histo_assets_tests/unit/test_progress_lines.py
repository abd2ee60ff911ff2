"""Lines on how far something is, one every few seconds."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from histo_assets.core import progress
from histo_assets.core.progress import EveryFewSeconds, minutes


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock says, one reading after the other."""
    readings: list[float] = []

    def clock() -> Iterator[float]:
        while readings:
            yield readings.pop(0)

    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock().__next__))
    return readings


def test_a_line_comes_every_five_seconds_and_is_not_made_before(times: list[float]) -> None:
    times += [100, 101, 104.9, 105, 109.9, 111]
    lines: list[str] = []
    made: list[float] = []

    def line(seconds: float) -> str:
        made.append(seconds)
        return f"after {seconds} s"

    say = EveryFewSeconds(lines.append)
    for _ in range(5):
        say(line)
    assert lines == ["after 5 s", "after 11 s"]
    assert made == [5, 11]


def test_the_first_line_may_come_at_once(times: list[float]) -> None:
    times += [100, 100, 104, 105]
    lines: list[str] = []
    say = EveryFewSeconds(lines.append, at_once=True).pass_on
    for line in ("first", "second", "third"):
        say(line)
    assert lines == ["first", "third"]


def test_times_are_minutes_and_seconds() -> None:
    assert [minutes(seconds) for seconds in (0, 59.9, 60, 3725)] == ["0:00", "0:59", "1:00", "62:05"]
