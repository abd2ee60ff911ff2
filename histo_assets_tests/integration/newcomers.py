"""Throw-away choices that a newcomer adds to a copy of the package, and what is done with them there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from histo_assets_tests.conftest import FinishedStudy, package_folder


class Newcomer:
    """A copy of the package that somebody adds a choice to, and a finished study to try it on.

    Parameters
    ----------
    made
        The finished study; its results are copied, its cohort and its instance are not.
    folder
        An empty folder.
    """

    def __init__(self, made: FinishedStudy, folder: Path) -> None:
        self.source, self.folder, self._made = folder / "source", folder, made
        shutil.copytree(
            package_folder(), self.source / "histo_assets", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
        shutil.copytree(made.folder / "data", folder / "data")  # a new instance is told of it
        self.touched: list[str] = []

    def new_file(self, path: str, text: str) -> None:
        """Add a file to the package."""
        target = self.source / "histo_assets" / path
        assert not target.exists(), path
        target.write_text(text)
        self.touched.append(path)

    def new_lines(self, path: str, *lines: tuple[str, str]) -> None:
        """Put lines into a file of the package, each before the line that stands beside it."""
        target = self.source / "histo_assets" / path
        text = target.read_text()
        for line, before in lines:
            assert text.count(f"\n{before}") == 1, before
            text = text.replace(f"\n{before}", f"\n{line}\n{before}")
        target.write_text(text)
        self.touched.append(path)

    def new_choice(self, room: str, module: str, text: str, line: str, end: str) -> None:
        """Add a file to a room, and to the room's registry its import and a line before `end`."""
        self.new_file(f"{room}/{module}.py", text)
        name = line.strip(" ,").removesuffix("()")
        imported = f"from histo_assets.{room.replace('/', '.')}.{module} import {name}\n"
        self.new_lines(f"{room}/registry.py", (line, end))
        registry = self.source / "histo_assets" / room / "registry.py"
        future = "from __future__ import annotations\n"
        registry.write_text(registry.read_text().replace(future, f"{future}\n{imported}", 1))

    def study(self, text: str) -> Path:
        """Write a study that extends the finished one under its own name."""
        path = self.folder / "study.yaml"
        path.write_text(f"extends: {self._made.study.name}\nname: {self._made.study.name}\n{text}")
        return path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command line of the changed package."""
        return self.python("-m", "histo_assets", *words)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python on the changed package."""
        environment = {
            **os.environ,
            **self._made.environment,
            "PYTHONPATH": str(self.source),
            "DAGSTER_HOME": str(self.folder / "home"),
            "HISTO_STORAGE": str(self.folder / "data"),
            "HISTO_CACHE": str(self.folder / "cache"),
        }
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600
        )
