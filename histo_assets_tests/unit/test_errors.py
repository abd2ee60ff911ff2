"""What the package raises on purpose, and how the command line tells it from a fault."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import histo_assets
from histo_assets.cli import app
from histo_assets.core.errors import HistoError


def modules() -> list[ModuleType]:
    packages = pkgutil.walk_packages(histo_assets.__path__, "histo_assets.")
    return [importlib.import_module(module.name) for module in packages if module.name != "histo_assets.__main__"]


def test_every_public_error_of_the_package_is_of_its_own_kind() -> None:
    errors = {
        value
        for module in modules()
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == module.__name__
        if not name.startswith("_")
    }
    assert len(errors) > 10
    assert [error.__name__ for error in errors if not issubclass(error, HistoError)] == []


def test_an_error_of_the_package_is_one_sentence_and_another_is_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(error: Exception) -> None:
        def app_that_fails() -> None:
            raise error

        monkeypatch.setattr(app, "app", app_that_fails)
        app.main()

    with pytest.raises(SystemExit, match="2"):
        fail(HistoError("a.svs is empty;\n fetch it again"))
    assert capsys.readouterr().err == "histo-assets: a.svs is empty; fetch it again\n"
    with pytest.raises(ValueError, match="no shape"):
        fail(ValueError("no shape"))
