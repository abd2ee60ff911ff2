"""What is set up on a machine before anything heavy is loaded: where compiled code is kept.

An installation may be read-only and its user without a home, as in `docker run --read-only --user 1234`.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from histo_assets.core.files import cache_root, can_be_written


def prepare_machine() -> None:
    """Say where numba keeps what it compiles (`NUMBA_CACHE_DIR`), where it could not write to its usual places.

    numba keeps compiled functions beside their source, else below the user's caches, and refuses to load a library
    such as umap-learn where neither can be written.
    """
    if not os.environ.get("NUMBA_CACHE_DIR") and not _numba_finds_a_place():
        os.environ["NUMBA_CACHE_DIR"] = str(cache_root() / "numba")


def _numba_finds_a_place() -> bool:
    libraries = [spec for name in ("umap", "pynndescent") if (spec := find_spec(name)) is not None]
    if all(can_be_written(Path(str(spec.origin)).parent / "__pycache__") for spec in libraries):
        return True
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return can_be_written(caches)
