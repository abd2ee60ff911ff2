"""The short form of `make faults`: a few kills, an interrupt, a full disk, lost parts, lost instances."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from histo_assets_tests.conftest import FinishedStudy
from histo_assets_tests.faults import SCENARIOS, SHORT
from histo_assets_tests.faults.campaign import run_scenarios, table
from histo_assets_tests.faults.place import Place
from histo_assets_tests.faults.study import adopt_reference

pytestmark = pytest.mark.study
SEED = 20


@pytest.fixture(scope="module")
def place(tiny: FinishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A copy of the finished tiny study to break."""
    made = Place(tmp_path_factory.mktemp("faults"), tiny.folder / "cohorts")
    adopt_reference(made, tiny.folder)
    yield made
    made.end_processes()


@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_by(name: str, place: Place) -> None:
    (row,) = run_scenarios({name: SCENARIOS[name]}, place, short=True, seed=SEED)
    if row.skipped:
        pytest.skip(row.skipped)
    assert not row.lost, table([row])
