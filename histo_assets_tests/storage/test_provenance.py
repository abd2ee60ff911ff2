"""What does not fit together is refused in one sentence; what does is not."""

from __future__ import annotations

import logging

import pytest

from histo_assets.storage.layout import Artefact, Pointer, StudyStorage
from histo_assets.storage.provenance import (
    Pointers,
    ProvenanceError,
    loads_of,
    note_load,
    refuse_stale,
    require_one_origin,
)
from histo_assets_tests.storage.test_layout import publish

MODEL = Artefact("selected_model")
EMBEDDINGS = Artefact("tile_embeddings", "liver")


def put(storage: StudyStorage, artefact: Artefact, content: str, *parents: Artefact) -> Pointer:
    made_from = {parent.name: storage.require(parent).data_version for parent in parents}
    return publish(storage, content, artefact, made_from=made_from)


def test_an_artefact_whose_parent_changed_is_refused_with_both_versions(storage: StudyStorage) -> None:
    put(storage, MODEL, "1a2b3c4d5e6f")
    put(storage, EMBEDDINGS, "e1", MODEL)
    refuse_stale(Pointers(storage), EMBEDDINGS)
    put(storage, MODEL, "3c4d5e6f7a8b")
    with pytest.raises(ProvenanceError) as caught:
        refuse_stale(Pointers(storage), EMBEDDINGS)
    assert str(caught.value) == (
        "demo/tile_embeddings [liver] was made from selected_model 1a2b3c4d…, which is now 3c4d5e6f…; "
        "materialise tile_embeddings [liver] again: run `histo-assets materialize --select tile_embeddings`"
    )


def test_a_parent_made_again_with_equal_content_is_no_reason_to_refuse(local_storage: StudyStorage) -> None:
    put(local_storage, MODEL, "same")
    put(local_storage, EMBEDDINGS, "e1", MODEL)
    put(local_storage, MODEL, "same")
    refuse_stale(Pointers(local_storage), EMBEDDINGS)


def test_one_changed_partition_among_many_parents_is_named(local_storage: StudyStorage) -> None:
    tissues = [Artefact("tiles", tissue) for tissue in ("heart", "liver", "lung")]
    for tiles in tissues:
        put(local_storage, tiles, f"{tiles.partition}-1")
    put(local_storage, Artefact("training_set"), "t", *tissues)
    put(local_storage, tissues[1], "liver-2")
    with pytest.raises(ProvenanceError, match=r"made from tiles \[liver\] liver-1, which is now liver-2"):
        refuse_stale(Pointers(local_storage), Artefact("training_set"))


def test_a_parent_that_is_gone_is_named_in_a_warning(
    local_storage: StudyStorage, caplog: pytest.LogCaptureFixture
) -> None:
    put(local_storage, MODEL, "m")
    put(local_storage, EMBEDDINGS, "e1", MODEL)
    local_storage.root.fs.rm(local_storage.folder(MODEL).path, recursive=True)
    with caplog.at_level(logging.WARNING):
        refuse_stale(Pointers(local_storage), EMBEDDINGS)
    assert "demo/tile_embeddings [liver] was made from what is gone: selected_model" in caplog.text


def test_pointers_are_read_once_each_however_many_artefacts_share_a_parent(
    local_storage: StudyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local_storage, MODEL, "m")
    many = [Artefact("tile_embeddings", f"t{i}") for i in range(30)]
    for artefact in many:
        put(local_storage, artefact, "e", MODEL)
    reads: list[Artefact] = []
    original = StudyStorage.pointer

    def counted(self: StudyStorage, artefact: Artefact) -> Pointer | None:
        reads.append(artefact)
        return original(self, artefact)

    monkeypatch.setattr(StudyStorage, "pointer", counted)
    pointers = Pointers(local_storage)
    for artefact in many:
        refuse_stale(pointers, artefact)
    assert len(reads) == len(many) + 1


def test_notes_of_a_step_end_with_it(local_storage: StudyStorage) -> None:
    class Step:
        pass

    step = Step()
    note_load(step, MODEL, put(local_storage, MODEL, "m"))
    assert loads_of(step) == {"selected_model": "m"}
    assert loads_of(Step()) == {}


class TestOneOrigin:
    """Two ways from one model: embeddings of a new slide, and regressors by way of two steps."""

    slides, regressors = Artefact("slide_embeddings"), Artefact("gene_regressors", "ridge")
    incoming = Artefact("incoming_embedding", "S-1")

    def build(self, storage: StudyStorage) -> None:
        put(storage, MODEL, "old")
        put(storage, EMBEDDINGS, "e-old", MODEL)
        put(storage, self.slides, "s-old", EMBEDDINGS)
        put(storage, self.regressors, "r-old", self.slides)
        put(storage, self.incoming, "i-old", MODEL)

    def require(self, storage: StudyStorage) -> None:
        require_one_origin(storage, MODEL, [self.regressors, self.incoming])

    def test_one_model_passes(self, storage: StudyStorage) -> None:
        self.build(storage)
        self.require(storage)

    def test_a_new_embedding_does_not_meet_old_regressors(self, local_storage: StudyStorage) -> None:
        self.build(local_storage)
        put(local_storage, MODEL, "new")
        put(local_storage, self.incoming, "i-new", MODEL)
        for artefact in (self.regressors, self.incoming):
            refuse_stale(Pointers(local_storage), artefact)  # each alone looks right
        with pytest.raises(ProvenanceError) as caught:
            self.require(local_storage)
        assert str(caught.value) == (
            "demo/gene_regressors [ridge] stems from selected_model old, demo/incoming_embedding [S-1] from new; "
            "bring what lies between up to date: run `histo-assets materialize --select gene_regressors` "
            "or incoming_embedding"
        )

    def test_a_descent_that_cannot_be_told_is_refused(self, local_storage: StudyStorage) -> None:
        self.build(local_storage)
        put(local_storage, EMBEDDINGS, "e-new", MODEL)
        with pytest.raises(ProvenanceError, match=r"may stem from another selected_model: it was made over tile_emb"):
            self.require(local_storage)
