"""A choice is one file and a line in a registry: done as a newcomer would, in a copy of the package."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from histo_assets.storage.io_managers import StorageResource
from histo_assets.storage.layout import Artefact, StudyStorage
from histo_assets.storage.provenance import Pointers
from histo_assets_tests.conftest import FinishedStudy
from histo_assets_tests.integration.newcomers import Newcomer

pytestmark = pytest.mark.study

FOREST = '''
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from histo_assets.core.prediction.regressors.regressor import ImageModel, RegressorSettings


@dataclass(frozen=True)
class ForestModel(ImageModel):
    """The leaves of small forests, kept as the training rows' targets and components (nearest row answers)."""

    kind = "forest"
    components: Any
    rows: Any
    answers: Any

    def residual(self, standardised: Any) -> Any:
        import numpy as np

        scores = standardised @ self.components
        nearest = ((scores[:, None] - self.rows[None]) ** 2).sum(axis=2).argmin(axis=1)
        return np.asarray(self.answers[nearest], dtype=float)

    @classmethod
    def joined(cls, blocks: Sequence[ForestModel]) -> ForestModel:
        import numpy as np

        return cls(blocks[0].components, blocks[0].rows, np.hstack([block.answers for block in blocks]))

    def arrays(self) -> dict[str, Any]:
        return {"components": self.components, "rows": self.rows, "answers": self.answers}

    @classmethod
    def read(cls, arrays: dict[str, Any], folder: Path) -> ForestModel:
        return cls(arrays["components"], arrays["rows"], arrays["answers"])


class ForestSettings(RegressorSettings):
    """A random forest over the tissue mean."""

    kind: Literal["forest"] = "forest"
    trees: int = 5
    model: ClassVar[type[ImageModel]] = ForestModel

    @contextmanager
    def learning(self, workers: int = 1, seed: int = 0) -> Iterator[Any]:
        from sklearn.ensemble import RandomForestRegressor

        def learn(features: Any, targets: Any, keep: bool) -> Any:
            train, test = features.scores(4)
            forest = RandomForestRegressor(self.trees, random_state=seed).fit(train, targets)
            answer = forest.predict(test).reshape(len(test), -1) if len(test) else targets[:0]
            if not keep:
                return answer, None
            fitted = forest.predict(train).reshape(len(train), -1)
            return answer, ForestModel(features.basis.right[:, : train.shape[1]], train, fitted)

        yield learn
'''

SATURATION = """
from operator import lt

from histo_assets.core.tiling.filters.filter import Filter


def _measure(tile):
    import cv2

    return round(float(cv2.cvtColor(tile.pixels, cv2.COLOR_RGB2HSV)[..., 1].mean()), 2)


SATURATION = Filter(
    reason="pale",
    figure="saturation",
    measure=_measure,
    rejects=lt,
    setting="min_saturation",
    default=0.0,
    description="Least mean saturation of a tile.",
)
"""

REGNET = '''
from histo_assets.core.networks.families.family import Family


class RegNet(Family):
    """RegNet."""

    prefix = "regnet_"

    def stages(self, model):
        return [model.stem, *model.trunk_output]

    def classify(self, model, embedding):
        return model.fc(embedding)
'''
USE = """
import torch
from histo_assets.core.networks.backbones import build_network
from histo_assets.core.networks.network import tensor_shapes
network = build_network("regnet_y_400mf", 3, "random")
tiles = torch.zeros(2, 3, 64, 64)
assert network.features(tiles).shape == (2, network.backbone.dim)
assert torch.allclose(network(tiles), network.model(tiles))
assert len(network.stages) == 5 and tensor_shapes(network.backbone, 3)["fc.weight"] == (3, 440)
"""

LEDGER = '''
from histo_assets.core.cohort.readers.reader import Reader


class Ledger(Reader):
    """A laboratory's ledger: one column, `donor/label/slide`."""

    name = "ledger"
    description = "a laboratory's ledger"

    def read(self, path, settings):
        import pandas as pd

        from histo_assets.core.cohort.reading import ordered, with_tissue

        entries = pd.read_csv(path)["entry"].str.split("/", expand=True)
        return ordered(with_tissue(entries.set_axis(["donor", "tissue_name", "slide"], axis=1), path))
'''
NO_ORFS = '''
from histo_assets.core.expression.name_rules.rule import NameRule, not_dotted


class NoOrfs(NameRule):
    """Dotted names go, and open reading frames."""

    name = "no_orfs"
    description = "dotted names and open reading frames go"
    drops_dotted = True
    may_repeat = True

    def steps(self, symbols, classes):
        return [not_dotted(classes), ("no open reading frame", ["orf" not in symbol for symbol in symbols])]
'''
ASSET = '''
import dagster as dg

from histo_assets.defs.study_assets import result, verdict
from histo_assets.defs.types import Table
from histo_assets.studies.study import Study

ROOM = "cohort"


def build(assets):
    @assets.asset(
        ROOM,
        "tables",
        kinds={"pandas"},
        ins={"slide_pairs": assets.one("slide_pairs")},
        checks={"every_tissue_has_a_donor": "Every tissue has a donor."},
    )
    def tissue_donors(study: Study, slide_pairs: Table) -> dg.MaterializeResult:
        """Donors of each tissue."""
        table = slide_pairs.groupby("tissue", as_index=False)["donor"].nunique()
        return result(
            table,
            {"tissues": len(table)},
            [verdict("every_tissue_has_a_donor", bool((table["donor"] > 0).all()), f"{len(table)} tissues")],
        )

    return [tissue_donors]
'''


@pytest.fixture
def newcomer(tiny: FinishedStudy, tmp_path: Path) -> Newcomer:
    return Newcomer(tiny, tmp_path)


def versions(folder: Path, assets: set[str]) -> dict[str, str]:
    storage = StudyStorage(folder / "data" / "tiny")
    kept = {}
    for asset in assets:
        for pointer in (folder / "data" / "tiny" / asset).glob("*/current.json"):
            partition = pointer.parent.name
            artefact = Artefact(asset, None if partition == "all" else partition)
            kept[str(artefact)] = Pointers(storage).require(artefact).version
    return kept


def test_a_regressor_is_one_file_and_a_line(newcomer: Newcomer) -> None:
    newcomer.new_choice("core/prediction/regressors", "forest", FOREST, "    ForestSettings,", ")")
    assert len(newcomer.touched) == 2
    before = versions(newcomer.folder, {"gene_regressors"})
    study = newcomer.study(
        "prediction:\n"
        "  regressors:\n"
        "    ridge: {kind: ridge}\n"
        "    lightgbm: {kind: lightgbm, components: 8, trees: 5}\n"
        "    forest: {kind: forest, trees: 3}\n"
    )
    ran = newcomer.run("materialize", "--study", str(study))
    assert ran.returncode == 0, ran.stderr
    after = versions(newcomer.folder, {"gene_regressors"})
    assert {name: after[name] for name in before} == before, "finished regressors were fitted again"
    assert "gene_regressors [forest]" in after
    loaded = StorageResource(root=str(newcomer.folder / "data" / "tiny"))
    compared: pd.DataFrame = loaded.load("prediction_comparison", None)
    assert {"ridge", "lightgbm", "forest"} <= set(compared["method"])
    tables = {
        name: pd.read_parquet(next((newcomer.folder / "data/tiny/gene_regressors" / name).rglob("figures.parquet")))
        for name in ("ridge", "forest")
    }
    forest = tables["forest"]
    assert list(forest["gene"]) == list(tables["ridge"]["gene"])
    assert forest["p"].between(0, 1).all() and forest["p"].nunique() > 3
    assert "penalty" in tables["ridge"] and "penalty" not in forest
    stale = json.loads(newcomer.run("status", "--study", str(study), "--json").stdout)["artefacts"]
    of_study = [row for row in stale if not row["asset"].startswith("incoming_")]  # these are predicted anew when asked
    assert {row["state"] for row in of_study} == {"fresh"}


def test_a_tile_filter_is_one_file_and_a_line(newcomer: Newcomer) -> None:
    newcomer.new_choice(
        "core/tiling/filters", "saturation", SATURATION, "    SATURATION,", ')\n"""One line a filter."""'
    )
    assert len(newcomer.touched) == 2
    tiles = newcomer.folder / "data" / "tiny" / "tiles"
    before = pd.read_parquet(next((tiles / "liver").rglob("index.parquet")))
    assert "saturation" not in before
    ran = newcomer.run("status", "--study", str(newcomer.study("")), "--json")
    stale = {row["asset"]: row for row in json.loads(ran.stdout)["artefacts"] if row["partition"] == "liver"}
    assert stale["tiles"]["state"] == "stale" and stale["raw_slides"]["state"] == "fresh"
    assert "min_saturation" in json.dumps(stale["tiles"])
    study = newcomer.study("tiling: {quality: {per_tissue: {liver: {min_saturation: 255}}, min_saturation: 30}}\n")
    ran = newcomer.run("materialize", "--study", str(study), "--select", "tiles")
    loaded = StorageResource(root=str(newcomer.folder / "data" / "tiny"))
    made = {tissue: loaded.load("tiles", tissue) for tissue in ("adipose_subcutaneous", "brain_cortex")}
    assert ran.returncode == 1 and "tissue_has_tiles" in ran.stdout, "the liver has no tile of full saturation"
    for tile_set in made.values():
        assert {"saturation", "sharpness"} <= set(tile_set.index.columns)
        assert (tile_set.index["saturation"] >= 30).all() and tile_set.index["saturation"].n_unique() > 3
        assert "pale" in tile_set.funnel
    liver = loaded.load("tiles", "liver")
    assert liver.funnel["pale"].sum() > 0 and not len(liver.index)
    assert any(name.startswith("pale_") for name in liver.rejected), "pictures of what was rejected"


def test_a_family_of_networks_is_one_file_and_a_line_and_a_network_of_it_another_line(newcomer: Newcomer) -> None:
    newcomer.new_lines(
        "core/networks/registry.py", ('        _torchvision("regnet_y_400mf", 440),', "        *_FOUNDATION_MODELS,")
    )
    refused = newcomer.run("status", "--study", "tiny")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "'regnet_y_400mf' belongs to none of the families efficientnet_*, " in refused.stderr
    newcomer.new_choice("core/networks/families", "regnet", REGNET, "    RegNet(),", ')\n"""One line a family."""')
    used = newcomer.python("-c", USE)
    assert used.returncode == 0, used.stderr
    artefacts = json.loads(newcomer.run("status", "--study", str(newcomer.study("")), "--json").stdout)["artefacts"]
    assert {row["state"] for row in artefacts if row["asset"] == "trained_model"} == {"fresh"}


def test_a_reader_of_cohorts_is_one_file_and_a_line(newcomer: Newcomer) -> None:
    newcomer.new_choice("core/cohort/readers", "ledger", LEDGER, "        Ledger(),", "    )")
    (newcomer.folder / "ledger.csv").write_text("entry\nd1/Liver/s1\nd2/Liver/s2\nd2/Brain - Cortex/s3\n")
    study = newcomer.study("cohort: {reader: ledger, manifest: ledger.csv, rna_samples: null}\n")
    ran = newcomer.run("materialize", "--study", str(study), "--select", "slide_manifest")
    assert ran.returncode == 0, ran.stderr
    manifest = StorageResource(root=str(newcomer.folder / "data" / "tiny")).load("slide_manifest", None)
    assert list(manifest["slide"]) == ["s1", "s2", "s3"] and list(manifest["tissue"])[2] == "brain_cortex"
    wrong = newcomer.run("status", "--study", str(newcomer.study("cohort: {reader: ledgre}\n")))
    assert wrong.returncode == 2
    assert "cohort.reader: there is no reader of that name; there are gtex, " in wrong.stderr


def test_a_rule_for_names_of_genes_is_one_file_and_a_line(newcomer: Newcomer) -> None:
    newcomer.new_choice("core/expression/name_rules", "no_orfs", NO_ORFS, "        NoOrfs(),", "    )")
    (newcomer.folder / "genes.csv").write_text(
        "gene,s1,s2,s3\nC1orf112,9.8,3.4,8.9\nAL627309.1,9.8,3.4,8.9\nTP53,3.4,9.8,8.6\nY_RNA,9.4,1,6.5\n"
    )
    ran = newcomer.run("expression", "genes.csv", "genes.h5ad", "--units", "log2", "--names", "no_orfs")
    assert ran.returncode == 0, ran.stderr
    kept = newcomer.python("-c", "import anndata; print(*anndata.read_h5ad('genes.h5ad').var_names)")
    assert kept.stdout.split() == ["TP53", "Y_RNA"]


def test_an_asset_with_a_check_is_one_file(newcomer: Newcomer) -> None:
    newcomer.new_file("defs/tissue_donors.py", ASSET)
    study = str(newcomer.study(""))
    states = {
        row["asset"]: row["state"]
        for row in json.loads(newcomer.run("status", "--study", study, "--json").stdout)["artefacts"]
    }
    assert states.pop("tissue_donors") == "missing"
    assert {state for asset, state in states.items() if not asset.startswith("incoming_")} == {"fresh"}
    ran = newcomer.run("materialize", "--study", study)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"\] (\w+) \(", ran.stdout) == ["tissue_donors"]
    storage = StudyStorage(newcomer.folder / "data" / "tiny")
    checks = Pointers(storage).require(Artefact("tissue_donors", None)).checks
    assert checks["every_tissue_has_a_donor"].passed and checks["every_tissue_has_a_donor"].evidence == "4 tissues"


def test_a_wrong_key_is_reported_where_it_stands(newcomer: Newcomer) -> None:
    for regressor, sentence in {
        "{kind: lightgbm, leafs: 3}": (
            "unknown key 'prediction.regressors.mine.leafs'; allowed here: "
            "bins, components, kind, learning_rate, leaves, trees"
        ),
        "{penaltys: [1]}": "unknown key 'prediction.regressors.mine.penaltys'; allowed here: kind, penalties",
        "{kind: forest}": "prediction.regressors.mine: kind is none of ridge, lightgbm (found 'forest')",
        "{kind: lightgbm, trees: none}": "prediction.regressors.mine.trees: ",
    }.items():
        study = newcomer.study(f"prediction: {{regressors: {{mine: {regressor}}}}}\n")
        ran = newcomer.run("status", "--study", str(study))
        assert ran.returncode == 2
        assert sentence in ran.stderr


def test_a_misspelt_tissue_of_a_threshold_is_refused(newcomer: Newcomer) -> None:
    study = newcomer.study("tiling: {quality: {per_tissue: {liverr: {min_sharpness: 3}}}}\n")
    ran = newcomer.run("status", "--study", str(study))
    assert ran.returncode == 2
    assert "tiling.quality.per_tissue: 'liverr' is none of the study's tissues" in ran.stderr
