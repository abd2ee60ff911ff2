"""What a study file may say, and how it is told when it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from histo_assets.studies.study import StudyError, load_study, packaged_studies


def lab_study(folder: Path, text: str) -> Path:
    path = folder / "lab.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", packaged_studies())
def test_every_packaged_study_loads(name: str) -> None:
    assert load_study(name).name == name


def test_a_lab_study_differs_from_gtex_by_a_few_lines(tmp_path: Path) -> None:
    path = lab_study(tmp_path, "extends: gtex\nname: lab\ntiling: {tile_px: 256}\nslides: {folder: scans}\n")
    study, parent = load_study(path), load_study("gtex")
    assert study.tiling.tile_px == 256
    assert study.tiling.mpp == parent.tiling.mpp
    assert study.selection == parent.selection
    assert study.resolve(study.slides.folder) == str(tmp_path / "scans")


def test_experiments_of_a_child_replace_those_of_its_parent(tmp_path: Path) -> None:
    text = "extends: gtex\nname: lab\nlearning: {studied: one, experiments: {one: {backbone: resnet50}}}\n"
    assert list(load_study(lab_study(tmp_path, text)).learning.experiments) == ["one"]


def test_an_unknown_key_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    path = lab_study(tmp_path, "extends: demo\nname: lab\ntiling: {tile_size: 256}\n")
    with pytest.raises(StudyError, match=r"lab\.yaml.*'tiling\.tile_size'.*tile_px"):
        load_study(path)


def test_an_unknown_key_of_an_experiment_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    text = "extends: demo\nname: lab\nlearning: {studied: a, experiments: {a: {backbone: resnet50, lr: 1}}}\n"
    with pytest.raises(StudyError, match=r"learning\.experiments\.a\.lr.*learning_rate"):
        load_study(lab_study(tmp_path, text))


def test_an_impossible_value_is_named_with_what_was_found(tmp_path: Path) -> None:
    path = lab_study(tmp_path, "extends: demo\nname: lab\nsplit: {test_share: 1.5}\n")
    with pytest.raises(StudyError, match=r"split\.test_share.*less than 1.*1\.5"):
        load_study(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"missing key 'title'"):
        load_study(lab_study(tmp_path, "name: lab\n"))


def test_a_study_that_extends_itself_is_refused(tmp_path: Path) -> None:
    path = lab_study(tmp_path, "extends: lab.yaml\nname: lab\n")
    with pytest.raises(StudyError, match="extends itself"):
        load_study(path)


def test_broken_yaml_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="not valid YAML") as caught:
        load_study(lab_study(tmp_path, "name: [lab\n"))
    assert "\n" not in str(caught.value)


def test_an_unknown_study_is_answered_with_the_known_ones() -> None:
    with pytest.raises(StudyError, match=r"'gtx'.*gtex_post"):
        load_study("gtx")


def test_a_checkpoint_outside_the_epochs_is_refused(tmp_path: Path) -> None:
    experiment = "{backbone: resnet50, epochs: 2, checkpoints: [3]}"
    text = f"extends: demo\nname: lab\nlearning: {{studied: a, experiments: {{a: {experiment}}}}}\n"
    with pytest.raises(StudyError, match=r"checkpoints \[3\] lie outside epochs 1 to 2"):
        load_study(lab_study(tmp_path, text))


def test_the_post_is_followed_to_the_letter() -> None:
    post = load_study("gtex_post")
    assert (post.selection.rule, post.selection.slides_per_tissue) == ("first", 50)
    assert (post.tiling.tile_px, post.tiling.tiles_per_slide, post.tiling.tiles_per_tissue) == (448, 100, 5000)
    assert {e.backbone for e in post.learning.experiments.values()} == {
        "efficientnet_b0",
        "resnet50",
        "densenet121",
        "convnext_tiny",
    }
    assert post.learning.experiments[post.learning.studied].saved_epochs == (5, 10, 20, 30)
    assert post.assumptions


def test_a_study_with_a_cohort_of_its_own_is_never_generated_over(tmp_path: Path) -> None:
    path = lab_study(
        tmp_path, "extends: diseases\nname: lab\ncohort: {manifest: slides.csv}\nslides: {folder: slides}\n"
    )
    assert load_study(path).synthetic is None


def test_inherited_paths_stay_where_the_parent_has_them(tmp_path: Path) -> None:
    study, parent = load_study(lab_study(tmp_path, "extends: gtex\nname: lab\n")), load_study("gtex")
    assert study.resolve(study.cohort.manifest) == parent.resolve(parent.cohort.manifest)
    assert study.resolve(study.expression.file) == parent.resolve(parent.expression.file)


def test_a_file_of_ones_own_is_none_of_the_parents_release(tmp_path: Path) -> None:
    study = load_study(lab_study(tmp_path, "extends: gtex\nname: lab\nexpression: {file: mine.gct}\n"))
    assert study.expression.release is None and study.resolve(study.expression.file) == str(tmp_path / "mine.gct")


def test_another_release_brings_a_file_of_its_own(tmp_path: Path) -> None:
    study = load_study(lab_study(tmp_path, "extends: gtex\nname: lab\nexpression: {release: gtex_v10}\n"))
    assert study.expression.release == "gtex_v10" and "v10" in study.expression.file
