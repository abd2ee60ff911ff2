"""A study's storage on a local path and on an S3 server, and a Dagster instance."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from histo_assets.storage.layout import StudyStorage

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HISTO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def s3_bucket(s3_endpoint: str) -> Iterator[str]:
    """Yield a bucket; one client serves all tests, since each new one takes a third of a second."""
    import s3fs

    with pytest.MonkeyPatch.context() as environment:
        for key, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL": s3_endpoint}.items():
            environment.setenv(key, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def s3_root(s3_bucket: str) -> str:
    return f"{s3_bucket}/{uuid.uuid4().hex[:12]}/demo"


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "storage" / "demo") if request.param == "local" else request.getfixturevalue("s3_root")


@pytest.fixture
def storage(root: str) -> StudyStorage:
    return StudyStorage(root)


@pytest.fixture
def local_storage(tmp_path: Path) -> StudyStorage:
    return StudyStorage(tmp_path / "storage" / "demo")


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """Yield an instance in memory: several times faster than one on SQLite."""
    with DagsterInstance.ephemeral(settings={"telemetry": {"enabled": False}}) as opened:
        yield opened


@pytest.fixture
def instance_on_disk(tmp_path: Path) -> Iterator[DagsterInstance]:
    """Yield an instance on SQLite, which other processes see too."""
    (tmp_path / "home").mkdir()
    quiet = {"telemetry": {"enabled": False}, "nux": {"enabled": False}}
    with DagsterInstance.local_temp(str(tmp_path / "home"), overrides=quiet) as opened:
        yield opened
