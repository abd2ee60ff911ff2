"""The files below a folder, wherever links lead."""

from __future__ import annotations

import os
from collections.abc import Iterator


def files_below(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of the files below `folder`, sorted.

    Links to folders are followed, and every folder is listed once: by its own path where it lies below `folder`, else
    by that of the first link that leads to it, so that a link back up ends there. A link to a file that is listed
    under the same name already is left out. So are hidden files and folders, and names that are no UTF-8, for which
    no path can be printed or stored (see `names_that_are_no_text`).
    """
    own, linked = [], []
    for parent, name in _walked(os.fspath(folder)):
        path = os.path.join(parent, name)
        if is_text(path):
            (linked if os.path.islink(path) else own).append(path)
    real = {(os.path.realpath(path), os.path.basename(path)) for path in own} if linked else set()
    for path in sorted(linked):
        place = (os.path.realpath(path), os.path.basename(path))
        if place not in real and os.path.isfile(path):
            real.add(place)
            own.append(path)
    return sorted(own)


def names_that_are_no_text(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of files below `folder` that are no UTF-8, as they can be printed."""
    root = os.fspath(folder)
    paths = [os.path.relpath(os.path.join(parent, name), root) for parent, name in _walked(root)]
    return sorted(printable(path) for path in paths if not is_text(path))


def is_text(path: str) -> bool:
    """Return whether a path is UTF-8; bytes of another encoding are surrogates in Python's strings."""
    return not any("\ud800" <= letter <= "\udfff" for letter in path)


def printable(path: str) -> str:
    """Return a path with every byte that is no UTF-8 in hexadecimal."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walked(root: str) -> Iterator[tuple[str, str]]:
    """Yield folder and name of every file that is not hidden, links to folders last, each folder once."""
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        links: list[str] = []
        for parent, folders, files in os.walk(waiting.pop(0)):
            real = os.path.realpath(parent)
            shown = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
            paths = {name: os.path.join(parent, name) for name in shown}
            links += [path for path in paths.values() if os.path.islink(path)]
            folders[:] = [name for name, path in paths.items() if not os.path.islink(path)]
            if real not in seen:
                yield from ((parent, name) for name in files if not name.startswith("."))
            seen.add(real)
        waiting += sorted(links)
