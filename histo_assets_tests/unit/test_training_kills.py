"""A training run that is killed again and again leaves what an unbroken one leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from histo_assets.core.training.checkpoint import Checkpoint
from histo_assets_tests.unit.killed_training import trained

KILLS = 20


def test_a_run_killed_at_twenty_random_batches_equals_the_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "histo_assets_tests.unit.killed_training", str(tmp_path), str(KILLS), "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert len(report["killed_at"]) == KILLS and len(set(report["killed_at"])) > 3, report
    assert report["resumed"] > KILLS // 2, report

    broken, whole = Checkpoint.read(tmp_path / "broken"), trained(tmp_path / "whole", tmp_path / "other")
    assert broken.digests == whole.digests and broken.epochs == (2, 5)
    times = ["seconds", "cpu_seconds"]
    pd.testing.assert_frame_equal(
        broken.history.drop(columns=times), whole.history.drop(columns=times), check_exact=True
    )
    for epoch in whole.epochs:
        pd.testing.assert_frame_equal(broken.validation(epoch), whole.validation(epoch), check_exact=True)
