"""Test `plan` with a real server and with a root that has a history."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.cli.main import app
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reporting.forecast import rates_of, verification_of
from data_miner_dagster.stages.forecast import DEFAULT
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_platform, build_project, project_config

ITEM = "<item><title>{0}</title><enclosure url='{1}'/></item>"


@pytest.fixture
def project_file(server: HostileServer, tmp_path: Path) -> Path:
    """Write a project file with a feed of three videos, one of which the rules reject, and a file that exists twice."""
    items = "".join(ITEM.format(name, server.url(f"/{name}.mp4")) for name in ("a", "b", "advert"))
    feed = server.add("/feed", hostile.page(f"<rss><channel><title>F</title>{items}</channel></rss>", "text/xml"))
    for name in ("one.mp4", "copy.mp4"):
        (tmp_path / name).write_bytes(b"x" * 3_000_000)
    content = {
        "name": "p",
        "sourcing": {
            "sources": [{"type": "feeds", "urls": [feed]}, {"type": "files", "paths": ["*.mp4"]}],
            "rules": {"blocked_words": ["advert"]},
        },
        "filtering": {"positive": ["a car"]},
        "detection": {"classes": {"car": []}},
        "platform": {
            "models": {"profile": "lite"},
            "downloading": {
                "allowed_private_hosts": ["127.0.0.1"],
                "politeness": {"spare_private_hosts": False, "daily_budget": 1, "hourly_budget": None},
            },
        },
    }
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_plan__lists_and_fetches_nothing_and_leaves_nothing(
    project_file: Path, server: HostileServer, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    result = CliRunner().invoke(app, ["plan", str(project_file), "--root", str(root), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert (found["listed"], found["repeated"], found["rejected"]) == (5, 1, {"words": 1})
    assert (found["num_videos"], found["num_to_download"]) == (3, 3)
    assert found["downloads_by_site"] == {"127.0.0.1": 2}
    assert (found["days"], found["slowest_site"]) == (2.0, "127.0.0.1")  # one video a day
    # two videos of the default length, and a file whose length follows from its size
    seconds = 2 * 300 + 3_000_000 / 150_000
    assert found["hours"] == pytest.approx(seconds / 3600)
    assert found["videos_bytes"] == 2 * 300 * 150_000 + 3_000_000
    assert found["num_frames"] == round(seconds)  # one frame a second
    assert found["failed_sources"] == []
    assert found["listing_requests"] == server.count("/feed") == server.count() == 1
    assert not root.exists()


def test_plan__a_table_and_the_next_step(project_file: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["plan", str(project_file), "--root", str(tmp_path / "root")])
    lines = {line.split("  ")[0].strip(): line for line in result.output.splitlines()}
    assert "not accepted: 1 by the rules for words, 1 listed more than once" in lines["videos accepted"]
    assert "budgets and pauses of 127.0.0.1" in lines["days at least"]
    assert lines["boxes to expect"].rstrip().endswith("default")
    assert result.output.splitlines()[-1].startswith("no video was fetched; next: run `data-miner run --config ")


def test_plan__leaves_out_videos_that_failed_and_are_not_retried(project_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    runner = CliRunner()
    assert runner.invoke(app, ["populate", "--config", str(project_file), "--root", str(root)]).exit_code == 0
    database = build_platform(root).database
    with database.transaction() as session:
        row = next(row for row in session.query(VideoRow) if row.origin is Origin.LOCAL)
        row.status, row.error_kind, row.error = VideoStatus.FAILED, VideoErrorKind.NOT_A_VIDEO, "planted"
    database.dispose()
    command = ["plan", str(project_file), "--root", str(root)]
    found = json.loads(runner.invoke(app, [*command, "--json"], catch_exceptions=False).output)
    assert (found["num_videos"], found["num_to_download"], found["given_up"]) == (2, 2, 1)
    assert "1 given up after earlier failures" in runner.invoke(app, command, catch_exceptions=False).output


def test_plan__says_what_following_objects_costs(project_file: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(project_file.read_text())
    content["detection"]["tracking"] = {"whole_clip": True, "every_seconds": 0.5}
    project_file.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["plan", str(project_file), "--root", str(tmp_path / "root")])
    [line] = [line for line in result.output.splitlines() if line.startswith("pictures to follow objects")]
    assert "1,240" in line, "620 s of video, a picture each half second"
    assert "passes of the tracker" not in result.output
    content["detection"]["tracking"]["tracker"] = "sam3"
    project_file.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["plan", str(project_file), "--root", str(tmp_path / "root"), "--json"])
    plan = json.loads(result.stdout)
    assert (plan["num_neighbours"], plan["tracker"]) == (1240, "sam3")
    assert plan["num_tracked"] == 1240 + round(plan["num_images"])


def test_plan__says_what_a_verifier_may_cost_at_most(project_file: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(project_file.read_text())
    content["detection"]["verifier"] = {"model": "eyes", "max_boxes": 2000}
    eyes = {"url": "https://api.example.org/v1", "model": "m", "api_key": "env:NO_SUCH_KEY", "price_per_box": 0.01}
    content["platform"]["models"]["endpoints"] = {"eyes": eyes}
    project_file.write_text(yaml.safe_dump(content))
    command = ["plan", str(project_file), "--root", str(tmp_path / "root")]
    shown = CliRunner().invoke(app, command, catch_exceptions=False).output.splitlines()
    assert [line.split() for line in shown if "verify" in line] == [
        ["boxes", "to", "verify", "at", "most", "2,000", "max_boxes", "2,000"],
        ["cost", "of", "verifying", "at", "most", "20", "price_per_box:", "0.01"],
    ]
    del eyes["price_per_box"]
    unpriced = project_file.with_name("unpriced.yaml")
    unpriced.write_text(yaml.safe_dump(content))
    command = ["plan", str(unpriced), "--root", str(tmp_path / "other")]
    shown = CliRunner().invoke(app, command, catch_exceptions=False).output.splitlines()
    (line,) = [line for line in shown if line.startswith("cost of verifying")]
    assert line.rstrip().split(maxsplit=6)[5:] == ["unknown", "platform.models.endpoints states no price"]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False).output)
    assert (found["verification_at_most"]["num_boxes"], found["verification_at_most"]["cost"]) == (2000, None)


def test_plan__counts_the_boxes_that_a_verifier_may_be_asked_about(tmp_path: Path) -> None:
    """The videos were built without a verifier, so the boxes are known: five, of which three are confident enough."""
    boxes = {0: [("person", number / 10, (4.0, 6.0, 40.0, 30.0)) for number in (1, 3, 5, 7, 9)]}
    platform = build_project(tmp_path, videos=[SampleVideo("files-a", boxes=boxes)], through="detection")
    eyes = {"url": "https://api.example.org/v1", "model": "m", "price_per_box": 0.01}
    settings = {"models": {"profile": "lite", "endpoints": {"eyes": eyes}}}
    asked = Platform(PlatformConfig.model_validate(settings), platform.root)
    verifier = {"model": "eyes", "min_confidence": 0.4}
    config = project_config("cyclists", detection={"classes": {"person": []}, "verifier": verifier})
    found = verification_of(asked, config, has_new_videos=False)
    assert found is not None
    assert (found.num_boxes, found.boxes_by) == (3, "boxes of the last build")
    assert found.cost == pytest.approx(0.03)
    with_new = verification_of(asked, config, has_new_videos=True)
    assert with_new is not None
    assert with_new.num_boxes == 10_000
    platform.layout.detections_table("cyclists").write_bytes(b"damaged")
    damaged = verification_of(asked, config, has_new_videos=False)
    assert damaged == with_new


def test_plan__nothing_can_be_listed(server: HostileServer, project_file: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(project_file.read_text())
    content["sourcing"]["sources"] = [{"type": "feeds", "urls": [server.url("/gone")]}]
    project_file.write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["plan", str(project_file), "--root", str(tmp_path / "root")])
    assert result.exit_code != 0
    assert "could be listed" in str(result.exception)


def test_rates_of__what_the_root_has_seen_comes_before_defaults(tmp_path: Path) -> None:
    platform = build_platform(tmp_path)
    assert rates_of(platform, "other").images_per_frame.origin == DEFAULT
    platform = build_project(tmp_path)  # three videos of 5, 4 and 3 s with a frame each second; 7 images with 5 boxes
    release_project(platform, "cyclists")
    of_root = rates_of(platform, "other")
    assert (of_root.images_per_frame.value, of_root.boxes_per_image.value) == (7 / 12, 5 / 7)
    assert of_root.frames_per_second.value == 1.0
    assert of_root.images_per_frame.origin == "this root: 7 images released from 12 frames"
    own = rates_of(platform, "cyclists")
    assert own.boxes_per_image.origin == "project cyclists: 7 released images"
    assert own.requests_per_video.origin == DEFAULT  # nothing was downloaded
