"""Spans as a collector receives them from the real exporter. Spans of a whole run: end_to_end/test_main_job.py."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.at_work import InheritingThreads, working_on
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoOutcome
from data_miner_dagster.operations import tracing
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.tracing import noted, span
from data_miner_dagster_tests.support.span_collector import CollectedSpan, SpanCollector
from data_miner_dagster_tests.support.waiting import wait_until


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[SpanCollector]:
    collector = SpanCollector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    tracing._tracer.cache_clear()
    yield collector
    tracing._tracer.cache_clear()
    collector.close()


def wait_for(collector: SpanCollector, number: int) -> dict[str, CollectedSpan]:
    wait_until(lambda: len(collector.spans) >= number)
    assert len(collector.spans) == number
    return {span.name: span for span in collector.spans}


def test_span__run_stage_and_a_video_of_another_thread(collector: SpanCollector, tmp_path: Path) -> None:
    platform = Platform(PlatformConfig(), tmp_path / "root")

    def extract() -> None:
        with working_on(video="files-a"), platform.hold_video("files-a"):
            noted(VideoOutcome("files-a", OutcomeStatus.FAILED, VideoErrorKind.UNDECODABLE, "key=hunter2-hunter2"))

    with (
        working_on(run_id="r1", stage="extraction"),
        span("run extract_frames"),
        span("extraction"),
        InheritingThreads(1) as threads,
    ):
        threads.submit(extract).result()
    spans = wait_for(collector, 3)
    run, stage, video = spans["run extract_frames"], spans["extraction"], spans["extraction video"]
    assert (run.parent_id, stage.parent_id, video.parent_id) == (b"", run.span_id, stage.span_id)
    assert run.attributes == {"data_miner.run_id": "r1", "data_miner.stage": "extraction"}
    assert video.attributes == {
        "data_miner.run_id": "r1",
        "data_miner.stage": "extraction",
        "data_miner.video": "files-a",
        "data_miner.outcome": "failed",
        "error.type": "undecodable",
    }
    assert (video.is_error, run.is_error) == (True, False)
    assert "hunter2" not in video.message
    assert collector.services == {"data-miner"}


def test_span__what_is_raised_is_on_it_without_secrets(collector: SpanCollector, tmp_path: Path) -> None:
    platform = Platform(PlatformConfig(), tmp_path / "root")

    def detect() -> None:
        with working_on(stage="detection"), platform.hold_project("street"):
            raise ValueError("GET https://cdn.example/v.mp4?Signature=hunter2")

    with pytest.raises(ValueError, match="GET"):
        detect()
    found = wait_for(collector, 1)["detection project"]
    assert found.is_error
    assert found.attributes["error.type"] == "ValueError"
    assert found.message == "GET https://cdn.example/v.mp4?Signature=***"


def test_item_span__blocks_of_one_thread_may_overlap(collector: SpanCollector) -> None:
    with working_on(stage="embedding"), span("embedding"):
        first, second = ExitStack(), ExitStack()
        first.enter_context(tracing.item_span("video", "files-a"))
        second.enter_context(tracing.item_span("video", "files-b"))
        first.close()
        second.close()
    wait_for(collector, 3)
    (stage,) = [found for found in collector.spans if found.name == "embedding"]
    items = [found for found in collector.spans if found.name == "embedding video"]
    assert [found.attributes["data_miner.video"] for found in items] == ["files-a", "files-b"]
    assert {found.parent_id for found in items} == {stage.span_id}


def test_span__off_by_default_without_an_import() -> None:
    program = (
        "import sys\n"
        "from data_miner_dagster.operations.tracing import item_span, span\n"
        "with span('run'), item_span('video', 'files-a'): pass\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PATH": ""}, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
