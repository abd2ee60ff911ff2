"""Whole studies, made once and shared by many tests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


STUDIES = ("demo", "tiny", "diseases")
"""Studies that a session makes once; the one that takes longest first."""


@cache
def study_of(file: Path) -> str | None:
    """Return the study that the tests of a file use; the one that takes longest, where they use several."""
    text = file.read_text()
    return next((name for name in STUDIES if re.search(rf"\b{name}: FinishedStudy", text)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of studies, so that processes side by side end together."""
    order = {name: place for place, name in enumerate(STUDIES)}
    places = {file: order.get(study_of(file) or "", len(STUDIES)) for file in {item.path for item in items}}
    items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal tests to processes by file, and the files that share a study to one process."""
    from xdist.scheduler import LoadScopeScheduling

    class ByStudy(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return study_of(config.rootpath / file) or file

    return ByStudy(config, log)


@dataclass(frozen=True)
class FinishedStudy:
    """A study that the driver has materialised, with what is needed to look into it."""

    study: Any
    folder: Path
    instance: Any
    outcome: Any
    lines: list[str]

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process that works on this study."""
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.folder / "home"),
            "HISTO_STORAGE": str(self.folder / "data"),
            "HISTO_COHORTS": str(self.folder / "cohorts"),
            "HISTO_CACHE": str(self.folder / "cache"),
            "HISTO_STUDY": self.study.name,
            "DO_NOT_TRACK": "1",
        }

    @property
    def cohort(self) -> Path:
        """Folder of the cohort's files."""
        return Path(self.study.resolve(self.study.cohort.manifest)).parent

    def driver(self, study: Any = None) -> Any:
        """Return a driver of the study, or of an edited copy of it."""
        from histo_assets.definitions import build_definitions
        from histo_assets.defs.whole_study import StudyDriver

        study = study or self.study
        definitions = build_definitions(study, str(self.folder / "data"))
        return StudyDriver(definitions, study, self.instance)

    @property
    def slides(self) -> Path:
        """Folder that the paths of raw slides are relative to."""
        return Path(self.study.resolve(self.study.slides.folder))

    def load(self, asset: str, partition: str | None = None) -> Any:
        """Return what an asset holds."""
        from histo_assets.storage.io_managers import StorageResource

        return StorageResource(root=str(self.folder / "data" / self.study.name)).load(asset, partition)


def make_study(name: str, folder: Path) -> FinishedStudy:
    """Write the cohort of a packaged study and bring everything up to date."""
    from histo_assets.demo.cohort import write_cohort
    from histo_assets.studies.study import load_study

    os.environ["HISTO_COHORTS"] = str(folder / "cohorts")
    study = load_study(name)
    assert study.synthetic is not None
    write_cohort(study.synthetic, Path(study.resolve(study.cohort.manifest)).parent)
    return run_study(study, folder)


def run_study(study: Any, folder: Path, select: list[str] | None = None) -> FinishedStudy:
    """Bring a study (or some of its assets) up to date in an instance and a storage of its own below `folder`."""
    import dagster as dg

    from histo_assets.definitions import build_definitions
    from histo_assets.defs.whole_study import StudyDriver

    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text((package_folder() / "defs" / "instance.yaml").read_text())
    os.environ["HISTO_CACHE"] = str(folder / "cache")
    instance = dg.DagsterInstance.from_config(str(home))
    lines: list[str] = []
    driver = StudyDriver(build_definitions(study, str(folder / "data")), study, instance)
    outcome = driver.bring_up_to_date(lines.append, select)
    return FinishedStudy(study, folder, instance, outcome, lines)


def package_folder() -> Path:
    """Return the folder of the package under test."""
    import histo_assets

    return Path(histo_assets.__file__).parent


def finished(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedStudy]:
    """Yield a finished study and close its instance in the end."""
    made = make_study(name, tmp_path_factory.mktemp(name))
    yield made
    made.instance.dispose()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedStudy]:
    yield from finished("tiny", tmp_path_factory)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedStudy]:
    yield from finished("demo", tmp_path_factory)


@pytest.fixture(scope="session")
def diseases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedStudy]:
    yield from finished("diseases", tmp_path_factory)


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("HISTO_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("HISTO_REAL_DATA names no folder of real data")
    return Path(folder)
