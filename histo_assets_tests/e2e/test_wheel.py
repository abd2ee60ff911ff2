"""The wheel that is built from the tree is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path


def test_the_wheel_loads_its_definitions_in_an_empty_folder(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(root)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    code = (
        "import histo_assets, histo_assets.definitions as d;"
        "from histo_assets.core.figures.page import render_page; render_page('t', 's', []);"
        "assert not any('tests' in n for n in __import__('sys').modules if n.startswith('histo_assets'));"
        "print(histo_assets.__file__, len(list(d.defs.resolve_asset_graph().materializable_asset_keys)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HISTO_STUDY": "gtex_post"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=empty, capture_output=True, text=True, check=True
    )
    where, count = ran.stdout.split()
    assert where.startswith(str(tmp_path / "site"))
    assert int(count) == 30
