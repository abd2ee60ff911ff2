"""Figures of latent and joint spaces."""

from __future__ import annotations

import numpy as np
import pytest

from histo_assets.core.projection.joint import expression_from_image, joint_space, matching_figures
from histo_assets.core.projection.project import ProjectionError
from histo_assets.core.projection.separation import embedding_figures, knn_label_accuracy


def _groups(spread: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = np.repeat([f"tissue{i}" for i in range(4)], 20)
    return np.repeat(np.eye(4) * 3, 20, axis=0) + generator.normal(size=(80, 4)) * spread, labels


def test_separate_groups_score_near_one_on_both_sides_and_noise_near_chance():
    points, labels = _groups()
    held_out = np.arange(80) % 4 == 0
    table = embedding_figures(points, labels, held_out).set_index(["metric", "side"])["value"]
    assert table["knn_accuracy"].min() == 1 and table["ari"].min() == 1 and table["silhouette"].min() > 0.6
    noise = np.random.default_rng(1).normal(size=(80, 4))
    table = embedding_figures(noise, labels, held_out).set_index(["metric", "side"])["value"]
    assert table["knn_accuracy"].max() < 0.5 and table["ari"].max() < 0.2


def test_rows_of_the_same_donor_do_not_vote_for_each_other():
    generator = np.random.default_rng(0)
    donors = np.repeat(np.arange(20), 4)
    points = generator.normal(size=(20, 5))[donors] + generator.normal(size=(80, 5)) * 0.01
    labels = generator.permutation(np.repeat(["a", "b"], 10))[donors]
    everyone = np.ones(80, dtype=bool)
    assert knn_label_accuracy(points, labels, everyone, everyone) == 1
    assert knn_label_accuracy(points, labels, everyone, everyone, groups=donors) < 0.8


def test_a_side_without_rows_is_not_a_number():
    points, labels = _groups()
    table = embedding_figures(points, labels, np.zeros(80, dtype=bool))
    assert table.loc[table["side"] == "held_out", "value"].isna().all()


def test_both_blocks_of_the_joint_space_weigh_the_same():
    generator = np.random.default_rng(0)
    joint = joint_space(generator.normal(size=(50, 4)) * 100, generator.normal(size=(50, 30)) * 0.1)
    assert joint.shape == (50, 34)
    assert np.isclose(joint[:, :4].var(axis=0).sum(), joint[:, 4:].var(axis=0).sum(), rtol=1e-4)


def test_blocks_of_different_samples_are_not_joined():
    with pytest.raises(ProjectionError, match="50 image rows and 49 expression rows"):
        joint_space(np.zeros((50, 2)), np.zeros((49, 2)))


def test_partners_are_found_where_modalities_agree_and_by_chance_where_not():
    generator = np.random.default_rng(0)
    latent = generator.normal(size=(60, 3))
    tissues = np.repeat(["a", "b", "c"], 20)
    agree = matching_figures(latent, latent + generator.normal(size=(60, 3)) * 0.01, tissues)
    assert agree.set_index(["metric", "scope"])["value"]["recall@1", "overall"] > 0.9
    apart = matching_figures(latent, generator.normal(size=(60, 3)), tissues).set_index(["metric", "scope"])
    assert abs(apart["value"]["foscttm", "overall"] - 0.5) < 0.12
    assert apart["value"]["recall@10", "within tissue"] < 0.75
    assert apart["chance"]["recall@10", "within tissue"] == 0.5


def test_expression_is_carried_over_from_images_out_of_fold():
    generator = np.random.default_rng(0)
    image = generator.normal(size=(100, 6))
    expression = image @ generator.normal(size=(6, 4)) + generator.normal(size=(100, 4)) * 0.3
    folds = np.arange(100) % 6 - 1
    predicted = expression_from_image(image, expression, folds)
    assert np.corrcoef(predicted.ravel(), expression.ravel())[0, 1] > 0.95
    noise = expression_from_image(image, generator.normal(size=(100, 4)), folds)
    assert abs(np.corrcoef(noise[:, 0], expression[:, 0])[0, 1]) < 0.4
