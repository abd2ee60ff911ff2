"""A study that trains nothing: a foundation model serves as it is, from tiles to a new slide's page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histo_assets.core.networks.registry import BACKBONES
from histo_assets_tests.conftest import FinishedStudy, run_study

pytestmark = pytest.mark.study

NOT_THERE = {"training_set", "trained_model", "experiment_comparison", "model_evaluation", "epoch_projection"}


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinishedStudy]:
    """Yield the tiny cohort under UNI's architecture, two layers deep, with random weights of its own file."""
    from safetensors.torch import save_file

    from histo_assets.core.networks.foundation import foundation_network
    from histo_assets.demo.cohort import write_cohort
    from histo_assets.studies.study import load_study

    folder = tmp_path_factory.mktemp("frozen")
    known = BACKBONES["uni"]
    small = {"embed_dim": 32, "depth": 2, "num_heads": 2, "init_values": 1.0}
    BACKBONES["small_uni"] = replace(known, name="small_uni", dim=32, options={**known.options, **small})
    save_file(foundation_network(BACKBONES["small_uni"], None, 1).model.state_dict(), folder / "uni.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HISTO_COHORTS", str(folder / "cohorts"))
        (folder / "lab.yaml").write_text(
            "extends: tiny\nname: lab\n"
            f"learning: {{frozen: {{backbone: small_uni, weights: {folder / 'uni.safetensors'}}}}}\n"
        )
        study = load_study(folder / "lab.yaml")
        assert study.synthetic is not None
        write_cohort(study.synthetic, Path(study.resolve(study.cohort.manifest)).parent)
        made = run_study(study, folder)
        yield made
        made.instance.dispose()
    del BACKBONES["small_uni"]


def test_everything_but_training_is_there(frozen: FinishedStudy) -> None:
    assert frozen.outcome.success, [*frozen.outcome.failed, *frozen.outcome.blocked]
    names = {key.path[-1] for key in frozen.driver().graph.get_all_asset_keys()}
    assert not NOT_THERE & names
    assert {"selected_model", "tile_embeddings", "gene_regressors", "study_report"} <= names


def test_a_second_run_has_nothing_to_do(frozen: FinishedStudy) -> None:
    assert frozen.driver().plan() == []


def test_every_embedding_says_whose_weights_under_which_licence_made_it(frozen: FinishedStudy) -> None:
    model = frozen.load("selected_model")
    for asset, partition in (("tile_embeddings", "liver"), ("slide_embeddings", None)):
        made = frozen.load(asset, partition).uns["model"]
        assert (made["backbone"], made["licence"], made["revision"]) == ("small_uni", "CC-BY-NC-ND-4.0", "")
        assert made["weights"] == model.weights_digest


def test_slides_are_taken_for_tissues_by_a_probe_that_saw_training_donors_alone(frozen: FinishedStudy) -> None:
    from histo_assets.core.embedding.linear_probe import TissueProbe

    slides = frozen.load("slide_embeddings")
    assert list(slides.uns["labels"]) == sorted(frozen.study.selection.tissues)
    train = (slides.obs["side"] == "train").to_numpy()
    assert 0 < train.sum() < len(train)
    elsewhere = np.where(train[:, None], slides.X, 0).astype(np.float32)
    probe = TissueProbe(elsewhere, list(slides.obs["tissue"].astype(str)), train)
    assert np.allclose(probe.log_probabilities(slides.X), slides.obsm["log_probabilities"])
    assert (slides.obs["predicted"] == slides.obs["tissue"])[train].mean() > 0.5, "random weights tell something"


def test_the_page_says_that_nothing_was_trained(frozen: FinishedStudy) -> None:
    page = frozen.load("study_report").files["report.html"].decode()
    assert "nothing was trained" in page and "small_uni" in page and "Training time" not in page


def test_a_new_slide_gets_its_tissue_from_the_probe(frozen: FinishedStudy) -> None:
    from histo_assets.core.embedding.matrices import with_tissues

    folder = Path(frozen.study.resolve(frozen.study.incoming.folder))
    folder.mkdir(parents=True, exist_ok=True)
    raw = frozen.load("raw_slides", "liver")
    slide = raw[raw["quarantined"].isna() & raw["missing"].isna()].iloc[0]
    shutil.copyfile(frozen.slides / slide["path"], folder / "newcomer.svs")
    frozen.instance.add_dynamic_partitions(f"incoming_{frozen.study.name}", ["newcomer"])
    steps = ("incoming_slide", "incoming_tiles", "incoming_embedding", "incoming_prediction")
    ran = frozen.driver().run(steps, "newcomer")
    assert ran.success
    event = ran.asset_materializations_for_node("lab__incoming_prediction")[0]
    tiles = with_tissues(frozen.load("incoming_embedding", "newcomer"), frozen.load("slide_embeddings"))
    mean = np.asarray(tiles.obsm["log_probabilities"], dtype=np.float64).mean(0)
    assert event.metadata["tissue"].value == tiles.uns["labels"][int(mean.argmax())]
