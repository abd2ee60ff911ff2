"""Lost and older storage: the storage is the truth, and what it lacks is due."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from histo_assets_tests.faults.artefacts import POINTER, Stored, shards, stored
from histo_assets_tests.faults.campaign import Trial
from histo_assets_tests.faults.judge import after_the_next_run, reference_of, result_of_the_next_run, status
from histo_assets_tests.faults.place import LIMIT, STUDY, Place

BACKUP = """extends: tiny
name: tiny
prediction: {clusters: 3}
"""


def lost_parts(trial: Trial) -> None:
    """A pointer, a version, a file of it, a shard, a sidecar lost or cut, one at a time."""
    for fault in (lost_pointer, lost_shard) if trial.short else (*PARTS, lost_file, cut_file):
        what = fault(trial.place, trial.chance)
        lost = noticed(trial.place)
        if not trial.tried(what, [*lost, *result_of_the_next_run(trial.place)]):
            trial.place.restore()
    if not trial.short:
        trial.tried("the whole study after that", after_the_next_run(trial.place))


def lost_storage(trial: Trial) -> None:
    """The whole storage removed under a Dagster that remembers everything."""
    shutil.rmtree(trial.place.data)
    _without_incoming(trial, "rm -rf of the study's storage", limit=600)
    trial.place.restore()
    for asset in ("tiles", "trained_model"):
        shutil.rmtree(trial.place.data / asset)
    _without_incoming(trial, "rm -rf of all tiles and models", limit=600)


def older_storage(trial: Trial) -> None:
    """The storage restored from a backup that was made under another setting."""
    place = trial.place
    study = place.root / "older.yaml"
    study.write_text(BACKUP)
    older = place.run("materialize", "--study", str(study), limit=2 * LIMIT)
    place.keep("older")
    newer = place.materialize(limit=2 * LIMIT)
    if not (older.ended_well and newer.ended_well):
        trial.tried("a study under another setting", [str(ran) for ran in (older, newer) if not ran.ended_well])
        return
    trial.tried("another setting, and back again", after_the_next_run(place))
    place.restore("older", parts=["data"])
    trial.tried("storage of an older backup", [*noticed(place), *after_the_next_run(place)])
    place.restore("older", parts=["data"])
    shutil.rmtree(place.home)
    trial.tried("storage of an older backup, and the instance lost", [*noticed(place), *after_the_next_run(place)])


def prune_after_loss(trial: Trial) -> None:
    """`prune --days 0` where a pointer is missing or unreadable must not remove what it may have meant."""
    place = trial.place
    for artefact in (Stored("tiles", "liver"), Stored("trained_model", "lite0"), Stored("slide_pairs")):
        for spoil in ("missing", "unreadable"):
            place.restore()
            pointer = artefact.folder(place.data) / POINTER
            pointer.unlink() if spoil == "missing" else pointer.write_text("{")
            before = _files(place.data)
            ran = place.run("prune", "--study", STUDY, "--days", "0", "--yes")
            lost = [f"prune removed {path}" for path in sorted(before - _files(place.data))]
            if ran.hung or "Traceback" in ran.errors:
                lost.append(str(ran))
            trial.tried(f"prune beside the {spoil} pointer of {artefact}", [*lost, *after_the_next_run(place)])


def lost_pointer(place: Place, chance: random.Random) -> str:
    """Remove a pointer; return what was done."""
    artefact = _any(place, chance)
    (artefact.folder(place.data) / POINTER).unlink()
    return f"pointer of {artefact} lost"


def spoilt_pointer(place: Place, chance: random.Random) -> str:
    """Cut a pointer short; return what was done."""
    artefact = _any(place, chance)
    path = artefact.folder(place.data) / POINTER
    path.write_text(path.read_text()[: chance.randrange(40)])
    return f"pointer of {artefact} cut"


def lost_version(place: Place, chance: random.Random) -> str:
    """Remove the version that counts; return what was done."""
    artefact = _any(place, chance)
    shutil.rmtree(artefact.folder(place.data) / stored(place.data)[artefact]["version"])
    return f"version of {artefact} lost"


def lost_file(place: Place, chance: random.Random) -> str:
    """Remove one file of a version; return what was done."""
    artefact, path = _any_file(place, chance)
    path.unlink()
    return f"{path.name} of {artefact} lost"


def cut_file(place: Place, chance: random.Random) -> str:
    """Cut one file of a version; return what was done."""
    artefact, path = _any_file(place, chance)
    path.write_bytes(path.read_bytes()[:-1])
    return f"{path.name} of {artefact} cut"


def lost_shard(place: Place, chance: random.Random) -> str:
    """Remove a shard of the tiles; return what was done."""
    path = place.data / chance.choice([p for p in shards(place.data) if p.endswith(".tar") and "incoming" not in p])
    path.unlink()
    return f"{path.name} lost"


def lost_sidecar(place: Place, chance: random.Random) -> str:
    """Remove the file beside a shard; return what was done."""
    path = place.data / chance.choice([p for p in shards(place.data) if p.endswith(".json") and "incoming" not in p])
    path.unlink()
    return f"{path.name} lost"


def cut_shard(place: Place, chance: random.Random) -> str:
    """Cut a shard short; return what was done."""
    path = place.data / chance.choice([p for p in shards(place.data) if p.endswith(".tar") and "incoming" not in p])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return f"{path.name} cut"


PARTS = (lost_pointer, spoilt_pointer, lost_version, lost_file, cut_file, lost_shard, lost_sidecar, cut_shard)


def noticed(place: Place) -> list[str]:
    """Return what is wrong where the study is called finished though something of it is not there."""
    if all(state == "fresh" for state in status(place).values()):
        return ["status calls everything fresh"]
    return []


def _without_incoming(trial: Trial, what: str, limit: float) -> None:
    """Judge after the loss of everything: what `predict` had made comes with the next prediction only."""
    from histo_assets_tests.faults.study import predict

    place = trial.place
    lost = noticed(place)
    ran = place.materialize(limit=limit)
    predicted = predict(place)
    lost += [str(ended) for ended in (ran, predicted) if not ended.ended_well]
    trial.tried(what, [*lost, *after_the_next_run(place)])


def _any(place: Place, chance: random.Random) -> Stored:
    return chance.choice([a for a in stored(reference_of(place)) if not a.incoming])


def _any_file(place: Place, chance: random.Random) -> tuple[Stored, Path]:
    artefact = _any(place, chance)
    pointer = stored(place.data)[artefact]
    return artefact, artefact.folder(place.data) / pointer["version"] / chance.choice(sorted(pointer["files"]))


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
