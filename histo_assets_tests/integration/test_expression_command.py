"""`histo-assets expression` and `histo-assets fetch-release`, as processes of their own, without Dagster."""

from __future__ import annotations

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from histo_assets.core.expression.releases import RELEASES
from histo_assets.demo.roster import cohort_plan
from histo_assets.demo.settings import SyntheticSettings
from histo_assets.demo.truth import write_tables
from histo_assets_tests.unit.lying_server import serving


def command(*arguments: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "histo_assets", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def one_sentence(ran: subprocess.CompletedProcess[str]) -> str:
    """Return what a command used wrongly said: one line, no traceback."""
    lines = ran.stderr.strip().splitlines()
    assert ran.returncode == 2 and ran.stdout == ""
    assert len(lines) == 1 and lines[0].startswith("histo-assets: "), ran.stderr
    return lines[0]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSettings(tissues=4, donors=8, slides=20, genes=60, dirt=False)
    folder = tmp_path_factory.mktemp("cohort")
    for part in ("truth", "slides"):
        (folder / part).mkdir()
    write_tables(settings, cohort_plan(settings), [], folder)
    return folder


@pytest.fixture(scope="module")
def truth(cohort: Path) -> pd.DataFrame:
    return pd.read_parquet(cohort / "truth" / "filter.parquet").set_index("gene_id")


def plain(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "gene_tpm.gct.gz", sep="\t", skiprows=2).set_index("Name")


def test_a_gct_becomes_the_matrix_of_the_genes_that_pass(cohort: Path, truth: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "x.h5ad"
    ran = command("expression", cohort / "gene_tpm.gct.gz", out, "--json")
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    matrix, table = anndata.read_h5ad(out), plain(cohort)
    assert sorted(matrix.var["gene_id"]) == sorted(truth.index[truth["should_survive"]])
    assert matrix.obs_names.tolist() == list(table.columns[1:])
    expected = np.log2(1 + table.loc[matrix.var["gene_id"], matrix.obs_names].to_numpy().T)
    assert np.array_equal(matrix.X, expected.astype(np.float32))
    assert answer["samples"] == matrix.n_obs and answer["genes"] == matrix.n_vars
    assert [step["genes"] for step in answer["funnel"]][::4] == [len(table), matrix.n_vars]
    rules = {row["names"]: row["genes"] for row in answer["alternatives"]}
    assert rules["drop_dotted_and_repeated"] == matrix.n_vars < rules["keep_first"] < rules["all"]
    assert answer["notes"] == [] and answer["missing_samples"] == []
    assert answer["cpu_seconds"] > 0


def test_samples_may_be_a_list_or_a_file_and_attributes_describe_them(cohort: Path, tmp_path: Path) -> None:
    names = list(plain(cohort).columns[1:6])[::-1]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    attributes = cohort / "sample_attributes.txt"
    for option in (",".join(names), tmp_path / "names.txt"):
        out = tmp_path / "x.h5ad"
        ran = command(
            "expression", cohort / "gene_tpm.gct.gz", out, "--samples", option, "--attributes", attributes,
            "--names", "keep_first", "--min-sd", "0.2",
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert "other rules for names: drop_dotted_and_repeated" in ran.stdout
        matrix = anndata.read_h5ad(out)
        assert matrix.obs_names.tolist() == matrix.obs["sample"].tolist() == names
        listed = pd.read_csv(attributes, sep="\t").set_index("SAMPID")
        assert matrix.obs["rin"].tolist() == listed.loc[names, "SMRIN"].tolist()
        assert {"donor", "ischemic_minutes", "isolation_batch", "isolation_date", "center"} <= set(matrix.obs)


def test_counts_become_tpm_with_lengths(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("gene_id,a,b\nENSG00000000001.1,10,1\nENSG00000000002.1,10,30\n")
    (tmp_path / "l.csv").write_text("gene_id,length\nENSG00000000001,1000\nENSG00000000002,3000\n")
    options = ("--units", "counts", "--gene-lengths", tmp_path / "l.csv", "--min-sd", "0")
    ran = command("expression", tmp_path / "c.csv", tmp_path / "x.h5ad", *options, "--json")
    assert ran.returncode == 0, ran.stderr
    tpm = 2 ** anndata.read_h5ad(tmp_path / "x.h5ad").X.astype(float) - 1
    assert tpm == pytest.approx(np.array([[750_000, 250_000], [1e6 / 11, 10e6 / 11]]), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.gct", "x.h5ad"], "nowhere.gct does not exist"),
        (["x.dat", "x.h5ad"], "its name tells no format"),
        (["{gct}", "x.csv"], "x.csv should end in .h5ad"),
        (["{gct}", "x.h5ad", "--units", "rpkm"], "--units rpkm is not known; allowed are tpm, fpkm"),
        (["{gct}", "x.h5ad", "--names", "first"], "--names first is not known; allowed are drop_dotted_and_repeated"),
        (["{gct}", "x.h5ad", "--units", "counts"], "every sample sums to 1,000,000, so these are no counts"),
        (["{gct}", "x.h5ad", "--samples", "me"], "holds none of the 1 samples asked for (such as me)"),
        (["{gct}", "x.h5ad", "--samples", "names.txt"], "names.txt does not exist; --samples takes a file"),
        (["{gct}", "x.h5ad", "--samples", ","], "--samples , names no sample"),
        (["{gct}", "x.h5ad", "--gene-lengths", "l.csv"], "--gene-lengths makes TPM of counts, and --units says tpm"),
        (["{gct}", "x.h5ad", "--min-max", "99"], "no gene passes the filter"),
        (["{cut}", "x.h5ad"], "is cut off, its gzip stream has no end, after line"),
    ],
)
def test_wrong_use_is_one_sentence_and_leaves_nothing(
    cohort: Path, tmp_path: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    packed = (cohort / "gene_tpm.gct.gz").read_bytes()
    cut = tmp_path / "cut.gct.gz"
    cut.write_bytes(packed[: len(packed) * 3 // 4])
    places = {"gct": cohort / "gene_tpm.gct.gz", "cut": cut}
    assert words in one_sentence(command("expression", *[argument.format(**places) for argument in arguments]))
    assert list(tmp_path.iterdir()) == [cut]


def test_a_file_behind_a_url_serves_as_well(cohort: Path, truth: pd.DataFrame, tmp_path: Path) -> None:
    with serving({"/x.gct.gz": (cohort / "gene_tpm.gct.gz").read_bytes()}) as server:
        url = f"{server.address}/x.gct.gz"
        ran = command("expression", url, tmp_path / "x.h5ad", HISTO_CACHE=str(tmp_path / "cache"))
    assert ran.returncode == 0, ran.stderr
    assert set(anndata.read_h5ad(tmp_path / "x.h5ad").var["gene_id"]) == set(truth.index[truth["should_survive"]])


def test_a_terminal_shows_how_far_it_is_while_json_goes_its_own_way(
    cohort: Path, truth: pd.DataFrame, tmp_path: Path
) -> None:
    mine, its = pty.openpty()
    line = [
        sys.executable,
        "-m",
        "histo_assets",
        "expression",
        cohort / "gene_tpm.gct.gz",
        tmp_path / "x.h5ad",
        "--json",
    ]
    ran = subprocess.run(list(map(str, line)), stdout=subprocess.PIPE, stderr=its, env={**os.environ, "TERM": "xterm"})
    os.close(its)
    shown = os.read(mine, 65_536).decode()
    os.close(mine)
    assert json.loads(ran.stdout)["genes"] == truth["should_survive"].sum()
    assert "starting" in shown


def test_a_release_is_fetched_beforehand_and_only_once(tmp_path: Path) -> None:
    files = RELEASES["gtex_v10"].files
    contents = {f"/{file.path}": gzip.compress(file.name.encode(), mtime=0) for file in files}
    with serving(contents) as server:
        for _ in range(2):
            ran = command("fetch-release", "gtex_v10", tmp_path, "--json", HISTO_GTEX_URL=server.address)
            assert ran.returncode == 0, ran.stderr
        assert len(server.asked) == len(files) == 3
    answer = json.loads(ran.stdout)
    assert answer == {"release": "gtex_v10", "gencode": 39, "files": [str(tmp_path / file.name) for file in files]}
    assert [Path(path).read_bytes() for path in answer["files"]] == list(contents.values())


def test_only_the_annotations_can_be_fetched_and_an_unknown_release_is_answered(tmp_path: Path) -> None:
    files = RELEASES["gtex_v8"].files[1:]
    with serving({f"/{file.path}": b"SAMPID\n" for file in files}) as server:
        ran = command("fetch-release", "gtex_v8", tmp_path, "--annotations-only", HISTO_GTEX_URL=server.address)
    assert ran.returncode == 0, ran.stderr
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".txt"} == {file.name for file in files}
    assert "known are gtex_v8, gtex_v10" in one_sentence(command("fetch-release", "gtex_v9", tmp_path))
