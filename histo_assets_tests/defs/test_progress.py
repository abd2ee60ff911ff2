"""What a running step says reaches whoever started it."""

import dagster as dg

from histo_assets.defs.progress import listening, progress_logger
from histo_assets.defs.whole_study import LISTENED_TO


def test_lines_of_a_running_step_are_heard_as_they_were_said_and_only_while_somebody_listens() -> None:
    @dg.asset
    def model(context: dg.AssetExecutionContext) -> None:
        context.log.debug("too much detail")
        context.log.info("epoch 1, batch 3, 170 tiles/s")

    loggers = {"console": dg.colored_console_logger, "progress": progress_logger}
    job = dg.Definitions(assets=[model], loggers=loggers).resolve_implicit_global_asset_job_def()
    heard: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        with listening(heard.append):
            assert job.execute_in_process(instance=instance, run_config=LISTENED_TO).success
        once = list(heard)
        assert job.execute_in_process(instance=instance, run_config=LISTENED_TO).success
    assert "epoch 1, batch 3, 170 tiles/s" in once
    assert "too much detail" not in once
    assert heard == once
