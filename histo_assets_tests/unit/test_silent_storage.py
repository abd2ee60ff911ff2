"""An object store that does not answer is a sentence."""

from __future__ import annotations

import pytest

from histo_assets.full_disk import why_the_storage_is_silent


def test_an_error_of_an_object_store_is_a_sentence_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(121, "We encountered an internal error")
    monkeypatch.setenv("HISTO_STORAGE", "s3://bucket/histo")
    sentence = why_the_storage_is_silent(error)
    assert sentence is not None and sentence.startswith("the storage s3://bucket/histo does not answer ([Errno 121]")
    assert why_the_storage_is_silent(KeyError("x")) is None
    monkeypatch.setenv("HISTO_STORAGE", "data")
    assert why_the_storage_is_silent(error) is None
