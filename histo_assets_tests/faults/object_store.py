"""An object store that fails: S3 behind a proxy that answers 500, slowly and half, with kills as well."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from histo_assets_tests.faults.artefacts import Stored, shards, stored
from histo_assets_tests.faults.campaign import Skipped, Trial
from histo_assets_tests.faults.judge import UP_TO_DATE, left_in_dagster, reference_of
from histo_assets_tests.faults.place import LIMIT, STUDY, Place, Ran
from histo_assets_tests.faults.proxy import Weather, proxy
from histo_assets_tests.faults.servers import free_port

BUCKET = "histo"
ORPHANED = "orphaned"
LOOKS = ".looks/"  # what the study last saw of its sources: no artefact
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
# Tables, a matrix and shards: every way of writing and reading, and no training.
CHAIN = ("slide_manifest", "slide_pairs", "selected_slides", "raw_slides", "tiles", "donor_split", "expression_matrix")
SELECTED = tuple(word for asset in CHAIN for word in ("--select", asset))
# What the milder storms make again in a finished bucket: a matrix, and shards with their tables.
AGAIN = (Stored("expression_matrix"), Stored("tiles", "liver"))


def object_store(trial: Trial) -> None:
    """S3 through a proxy that answers 500, slowly and half, with and without kills."""
    place, chance = trial.place, trial.chance
    with _s3() as endpoint:
        _start_afresh(place, endpoint, "whole")
        weather = Weather(errors=0.2, slow=0.05, half=0.1, chance=chance)
        with proxy(endpoint, weather) as stormy:
            ran = place.materialize(*SELECTED, limit=4 * LIMIT, AWS_ENDPOINT_URL=stormy)
        _judge(trial, "all of it", weather, [ran])
        for name, weather in {
            "500s": Weather(errors=0.15, chance=chance),
            "slow answers": Weather(slow=0.1, chance=chance),
            "half bodies": Weather(half=0.15, chance=chance),
        }.items():
            with proxy(endpoint, weather) as stormy:
                again = [place.materialize(*a.words, "--force", AWS_ENDPOINT_URL=stormy) for a in AGAIN]
            _judge(trial, f"{name}, in a finished bucket", weather, again)
        _start_afresh(place, endpoint, "killed")
        weather = Weather(errors=0.1, slow=0.05, half=0.05, chance=chance)
        with proxy(endpoint, weather) as stormy:
            _kill_three(trial, stormy)
            ran = place.materialize(*SELECTED, limit=4 * LIMIT, AWS_ENDPOINT_URL=stormy)
        _judge(trial, "kills in all of it", weather, [ran])
        weather = Weather(errors=1.0, chance=chance)
        with proxy(endpoint, weather) as stormy:
            ran = place.materialize(*SELECTED, limit=4 * LIMIT, AWS_ENDPOINT_URL=stormy)
        lost = ["it ended well"] if ran.ended_well else []
        _judge(trial, "nothing but 500s", weather, [ran], lost)


def _judge(trial: Trial, storm: str, weather: Weather, runs: Sequence[Ran], lost: Sequence[str] = ()) -> None:
    """Note what a storm cost: how the runs in it ended, and what the next run without one makes of it."""
    lost = [*lost, *[line for ran in runs for line in _refused(ran)]]
    count = ", ".join(f"{number} {kind}" for kind, number in sorted(weather.count.items()))
    ended = " and ".join(str(ran.code) for ran in runs)
    trial.tried(f"{storm} ({count}; ended with {ended})", [*lost, *_after(trial.place)])


def _start_afresh(place: Place, endpoint: str, name: str) -> None:
    """Begin with a new instance, cache and folder of the bucket."""
    place.end_processes()
    place.clear()
    url = f"s3://{BUCKET}/{name.replace(' ', '-')}"
    place.changes = {**KEYS, "AWS_ENDPOINT_URL": endpoint, "HISTO_STORAGE": url}


def _kill_three(trial: Trial, endpoint: str) -> None:
    """Kill three runs at random moments."""
    for _ in range(3):
        command = trial.place.start("materialize", "--study", STUDY, *SELECTED, AWS_ENDPOINT_URL=endpoint)
        until = time.monotonic() + trial.chance.uniform(3, 15)
        while command.runs and time.monotonic() < until:
            time.sleep(0.01)
        command.signal(signal.SIGKILL)
        command.ends_within(10)


def _refused(ran: Ran) -> list[str]:
    """Return what is wrong with how a run took the storm: it may fail, but in plain words."""
    if ran.hung or "Traceback" in ran.errors + ran.output:
        return [str(ran)]
    return []


def _after(place: Place) -> list[str]:
    """Run again without a storm; return what is not as in the reference, and what is left over."""
    ran = place.materialize(*SELECTED, limit=4 * LIMIT)
    if not ran.ended_well:
        return [str(ran)]
    if lost := _lost(place):
        return lost
    second = place.materialize(*SELECTED)
    lost = [] if second.ended_well and UP_TO_DATE in second.output else [f"second run: {second}"]
    for _ in range(2):
        ran = place.run("prune", "--study", STUDY, "--days", "0", "--yes")
        lost += [] if ran.ended_well else [str(ran)]
    lost += _differences(place) + left_in_dagster(place)
    cache = place.live / "cache" / "uploads"
    lost += [f"left in the cache: {path.name}" for path in cache.rglob("*") if path.is_file()]
    return lost


def _lost(place: Place) -> list[str]:
    """Return what the bucket lacks or has otherwise, against the reference."""
    return [line for line in _differences(place) if not line.startswith(ORPHANED)]


def _differences(place: Place) -> list[str]:
    """Return what the bucket lacks, has otherwise, or has though nothing names it, against the reference."""
    pointers, keys = _bucket(place)
    reference = reference_of(place)
    wanted = {a: p for a, p in stored(reference).items() if a.asset in CHAIN}
    lost, known = [], set()
    for artefact, pointer in wanted.items():
        name = f"{artefact.asset}/{artefact.partition}"
        mine = pointers.get(name)
        if mine is None:
            lost.append(f"{artefact} is lost")
            continue
        if mine["data_version"] != pointer["data_version"]:
            lost.append(f"{artefact} has another data version")
        files = {f"{name}/{mine['version']}/{file}" for file in mine["files"]}
        lost += [f"{key} is lost" for key in sorted(files - keys)]
        known |= files | {f"{name}/current.json"}
    known |= {path for path in shards(reference) if "/tiles/" in path}
    lost += [f"{key} is lost" for key in sorted(known - keys)]
    return lost + [f"{ORPHANED}: {key}" for key in sorted(keys - known)]


def _bucket(place: Place) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return pointers by `asset/partition`, and all keys below the study, read past the proxy."""
    import json

    import s3fs

    endpoint = place.changes["AWS_ENDPOINT_URL"]
    store = s3fs.S3FileSystem(
        key="test", secret="test", client_kwargs={"endpoint_url": endpoint}, skip_instance_cache=True
    )
    root = place.changes["HISTO_STORAGE"].removeprefix("s3://") + f"/{STUDY}/"
    keys = {key.removeprefix(root) for key in store.find(root) if not key.startswith(f"{root}{LOOKS}")}
    pointers = {
        key.removesuffix("/current.json"): json.loads(store.cat_file(root + key))
        for key in keys
        if key.endswith("/current.json")
    }
    return pointers, keys


@contextmanager
def _s3() -> Iterator[str]:
    """Yield the address of an S3 server that holds an empty bucket."""
    program = Path(sys.executable).parent / "moto_server"
    if not program.exists():
        raise Skipped("moto's server is not installed")
    port = free_port()
    server = subprocess.Popen(
        [str(program), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=2).close()
                break
            except OSError:
                time.sleep(0.25)
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT"), timeout=10).close()
        yield endpoint
    finally:
        server.kill()
        server.wait()
