"""Tests of an unattended `data-miner up`: sensors, backfills, crashes and the browser."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from data_miner_dagster.jobs import PROJECT_JOBS
from data_miner_dagster_tests.end_to_end.commands import data_miner, project, write_yaml
from data_miner_dagster_tests.end_to_end.conftest import RecordingServer
from data_miner_dagster_tests.end_to_end.platform_process import RunningPlatform, free_port, wait_for

pytestmark = [pytest.mark.slow(160), pytest.mark.models, pytest.mark.timeout(2400)]

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def server(clips: dict[str, Path]) -> Iterator[RecordingServer]:
    server = RecordingServer(clips["bikes.mp4"].parent)
    yield server
    server.close()


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory,
    metrics_port: int,
    clips: dict[str, Path],  # noqa: ARG001 - must be there before the platform is
) -> Iterator[RunningPlatform]:
    base = tmp_path_factory.mktemp("up")
    platform = project("x", [])["platform"]
    assert isinstance(platform, dict)
    content = {"platform": {**platform, "monitoring": {"metrics_port": metrics_port}}}
    running = RunningPlatform(base / "root", write_yaml(base / "platform.yaml", content))
    yield running
    running.stop()


def street(server: RecordingServer, *names: str) -> dict[str, object]:
    urls = [f"{server.address}/{name}" for name in names]
    content = project("street", [{"type": "urls", "urls": urls}])
    del content["platform"]
    return content


def status(platform: RunningPlatform) -> dict[str, Any]:
    done = data_miner("status", "--project", "street", "--json", "--root", platform.root)
    assert done.returncode == 0, done.stdout
    return dict(json.loads(done.stdout))


def releases(platform: RunningPlatform) -> list[str]:
    folder = platform.root / "releases" / "street"
    return sorted(path.name for path in folder.iterdir() if (path / "release.json").exists()) if folder.is_dir() else []


def wait_for_release(platform: RunningPlatform, number: int) -> list[str]:
    def look() -> list[str] | None:
        found = releases(platform)
        return found if len(found) >= number else None

    return wait_for(f"release {number}", look, timeout=900, every=2)


def test_sensors__a_dropped_file_becomes_a_release(platform: RunningPlatform, server: RecordingServer) -> None:
    write_yaml(
        platform.project_files / "street.yaml", street(server, "bikes.mp4", "carphone_pristine.mp4", "missing.mp4")
    )
    assert len(wait_for_release(platform, 1)) == 1
    failed = json.loads(data_miner("videos", "--failed", "--json", "--root", platform.root).stdout)
    assert len(failed) == 1
    assert failed[0]["error"]
    jobs = {run["jobName"] for run in platform.runs()}
    assert jobs == {"list_sources", "download_videos", "extract_frames", "embed_frames", *PROJECT_JOBS}


@pytest.mark.usefixtures("platform")
def test_metrics__are_served_beside_and_say_that_the_planner_looks(metrics_port: int) -> None:
    began = time.time()

    def metrics_after_a_tick() -> dict[str, list[Any]] | None:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=120) as answer:
            text = answer.read().decode()
        found = {family.name: family.samples for family in text_string_to_metric_families(text)}
        (last_tick,) = found["data_miner_last_tick_timestamp_seconds"]
        return found if began < last_tick.value <= time.time() else None

    families = wait_for("a tick of the planner", metrics_after_a_tick, timeout=300)
    failed = [sample.labels["part"] for sample in families["data_miner_collection_failed"] if sample.value]
    assert failed == []
    slots = {sample.labels["pool"]: sample.value for sample in families["data_miner_pool_slots"]}
    assert slots == dict.fromkeys(("sourcing", "download", "extract", "inference", "release"), 1.0)
    done = {tuple(sample.labels.values()): sample.value for sample in families["data_miner_items"]}
    assert done["done", "extraction"] == 2 == done["done", "embedding"]
    assert done["failed", "downloading"] >= 1
    states = [sample.labels["stage"] for sample in families["data_miner_project_stage"]]
    assert len(states) == 1


def test_sensors__an_added_url_costs_the_new_video_only(platform: RunningPlatform, server: RecordingServer) -> None:
    frames = {path: path.stat().st_mtime_ns for path in (platform.root / "frames").rglob("*.jpg")}
    del server.requests[:]
    write_yaml(
        platform.project_files / "street.yaml",
        street(server, "bikes.mp4", "carphone_pristine.mp4", "missing.mp4", "carphone_distorted.mp4"),
    )
    assert len(wait_for_release(platform, 2)) == 2
    assert not [path for path in server.requests if path in ("/bikes.mp4", "/carphone_pristine.mp4")]
    assert {path: path.stat().st_mtime_ns for path in frames} == frames


def test_sensors__settle_down(platform: RunningPlatform) -> None:
    """Check that the level-triggered sensors request no more runs once everything is done."""
    wait_for("the queue to empty", lambda: None if active(platform) else True, timeout=300)
    before = num_asked_for(platform)
    ticks = num_ticks(platform)
    wait_for("three more ticks", lambda: True if num_ticks(platform) >= ticks + 3 else None, timeout=300, every=2)
    assert num_asked_for(platform) == before


def num_asked_for(platform: RunningPlatform) -> int:
    """Return the number of runs that no schedule requested. A schedule may be due at any time during a test."""
    return sum("dagster/schedule_name" not in run["tags"] for run in platform.runs())


def test_pools__bound_each_stage(platform: RunningPlatform) -> None:
    """Check that no two runs of one pool overlapped."""
    pools = {
        "list_sources": "sourcing",
        "download_videos": "download",
        "extract_frames": "extract",
        "embed_frames": "inference",
        "filter_frames": "inference",
        "deduplicate_frames": "inference",
        "detect_objects": "inference",
        "release_dataset": "release",
    }
    spans: dict[str, list[tuple[float, float]]] = {}
    for run in platform.runs():
        if run["startTime"] is not None and run["endTime"] is not None:
            spans.setdefault(pools[run["jobName"]], []).append((run["startTime"], run["endTime"]))
    assert set(spans) == set(pools.values())
    for pool, of_pool in spans.items():
        of_pool.sort()
        for (_, earlier_end), (later_start, _) in pairwise(of_pool):
            assert earlier_end <= later_start, pool


def active(platform: RunningPlatform) -> list[str]:
    return [run["runId"] for run in platform.runs() if run["status"] not in ("SUCCESS", "FAILURE", "CANCELED")]


def num_ticks(platform: RunningPlatform) -> int:
    answer = platform.graphql(
        "query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) "
        "{ ... on Sensor { sensorState { ticks(limit: 500) { id } } } } }",
        {
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": "data_miner_dagster",
                "sensorName": "wanted_work",
            }
        },
    )
    return len(answer["sensorOrError"]["sensorState"]["ticks"])


def test_up__links_of_assets_lead_to_its_review_pages(platform: RunningPlatform) -> None:
    """Check that links lead to the current review server, even for runs that began under another port or none."""
    found = platform.graphql(
        'query { assetOrError(assetKey: {path: ["project_videos"]}) { ... on Asset { assetMaterializations(limit: 1) '
        "{ metadataEntries { label ... on UrlMetadataEntry { url } } } } } }"
    )["assetOrError"]["assetMaterializations"][0]["metadataEntries"]
    link = next(entry["url"] for entry in found if entry["label"] == "review")
    with pytest.raises(urllib.error.HTTPError) as refused:  # a visitor who is not logged in
        urllib.request.urlopen(f"{platform.address}{link}", timeout=120)
    assert refused.value.url == f"http://127.0.0.1:{platform.review_port}/projects/street"
    assert refused.value.code == 401
    assert "data-miner review street" in refused.value.read().decode()
    told = data_miner("review", "street", "--no-open", "--root", platform.root).stdout
    assert told.startswith(f"http://127.0.0.1:{platform.review_port}/login#"), told


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")
def test_browser__a_project_is_understood_without_the_terminal(platform: RunningPlatform) -> None:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=[*flags, "--disable-sync"], timeout=120_000
        )
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(120_000)  # long enough for a busy machine
        page.goto(f"{platform.address}/assets/filtered_frames?view=partitions&partition=street")
        page.get_by_text("not similar enough to the prompts").first.wait_for()
        page.get_by_text("data-miner review street").first.wait_for()
        sheet = page.locator("img[src='/previews/projects/street/filtered_frames.webp']").first
        assert sheet.evaluate("async sheet => { await sheet.decode(); return sheet.naturalWidth }") > 100
        page.goto(f"{platform.address}/asset-groups")
        page.get_by_text("acquisition").first.wait_for()
        report = platform.root / "reports" / "street" / "index.html"
        offline = browser.new_context(offline=True).new_page()
        offline.set_default_timeout(120_000)
        failures: list[str] = []
        offline.on("requestfailed", lambda request: failures.append(request.url))
        offline.goto(report.as_uri())
        offline.get_by_text("street").first.wait_for()
        assert failures == []
        # images below the fold load only when scrolled into view
        offline.evaluate("[...document.images].forEach(image => { image.loading = 'eager' })")
        offline.wait_for_function("[...document.images].every(image => image.complete)")
        sizes = offline.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert sizes
        assert all(sizes)
        browser.close()


def test_up__takes_no_mutation_from_a_strangers_page(platform: RunningPlatform) -> None:
    mutation = 'mutation { setConcurrencyLimit(concurrencyKey: "stranger", limit: 77) }'
    as_json = json.dumps({"query": mutation}).encode()
    by_get = f"{platform.address}/graphql?query={urllib.parse.quote(mutation)}"
    foreign = {"Host": "evil.example", "Origin": "http://evil.example"}
    for address, body, headers, expected in (
        (by_get, None, foreign, 421),
        (by_get, None, {"Origin": "http://evil.example"}, 403),
        (by_get, None, {}, 405),
        (f"{platform.address}/graphql", as_json, {"Content-Type": "text/plain"}, 415),
        (f"{platform.address}/graphql", as_json, {"Content-Type": "application/json", **foreign}, 421),
    ):
        request = urllib.request.Request(address, data=body, headers=headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=120)
        assert refused.value.code == expected
        refused.value.close()
    limits = platform.graphql("{ instance { concurrencyLimits { concurrencyKey } } }")["instance"]["concurrencyLimits"]
    assert "stranger" not in {limit["concurrencyKey"] for limit in limits}
