import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_miner_dagster.catalog.box_answers import GivenAnswer, add_answers, find_answers
from data_miner_dagster.catalog.forgotten import is_forgotten, without_forgotten
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.catalog.schema import SiteGateRow, SiteRefusalRow, SourceListingRow, VideoRow
from data_miner_dagster.catalog.splits import read_generations, read_splits
from data_miner_dagster.catalog.verdicts import add_verdicts, verdicts_in_force
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.keys import forgotten_subject
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.verdicts import VerdictWord
from data_miner_dagster.domain.verification import BoxAnswer, VerifierVerdict
from data_miner_dagster.export.manifest import damaged_files, read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reporting.previews import Preview, save_preview
from data_miner_dagster.operations.upkeep.forgetting import (
    HeldRelease,
    find_forgettable,
    forget_videos,
    releases_holding,
)
from data_miner_dagster.operations.upkeep.traces import Trace, find_rows, find_traces, needles_of
from data_miner_dagster.storage.tables import read_fingerprint, read_table, write_table
from data_miner_dagster_tests.support.damage import damage
from data_miner_dagster_tests.support.sample_project import FOUND_AT, SAMPLE_VIDEOS, SampleVideo, build_project
from data_miner_dagster_tests.support.verdicts import frame_verdict

KEY = "files-aaa"
SHARES = "train=0.8,test=0.1,val=0.1"
NEEDLES = (KEY, "https://videos.example/files-aaa.mp4")


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path)


def traces(platform: Platform) -> list[str]:
    with platform.database.reading() as session:
        rows = list(find_rows(session.connection(), NEEDLES))
    return [str(trace.path.relative_to(platform.root)) for trace in find_traces([platform.root], NEEDLES)] + rows


def test_find_forgettable__unknown(platform: Platform) -> None:
    with pytest.raises(ConfigError, match="'nobody' is neither the key of a video nor a channel"):
        find_forgettable(platform, "nobody")


def test_forget_videos__nothing_names_it_any_more(platform: Platform) -> None:
    layout = platform.layout
    shown = (layout.video_preview(KEY), layout.project_preview("cyclists", "dataset"))
    for preview in shown:
        save_preview(Preview(1, b"a sheet that shows it"), preview)
    release_project(platform, "cyclists")
    without = [video for video in SAMPLE_VIDEOS if video.key != KEY]
    build_project(platform.root, videos=without)
    release_project(platform, "cyclists")  # the changes in this release name the video that is gone
    calibration = layout.calibration_folder("cyclists")
    calibration.mkdir()
    (calibration / "answers.csv").write_text(f"frame_id,answer\n{KEY}/000001,keep\nfiles-bbb/000001,drop\n")
    said = [frame_verdict(f"{key}/000000", 0.0, VerdictWord.KEEP) for key in ("files-bbb", KEY)]
    add_verdicts(platform.database, "cyclists", said)
    confirmed = BoxAnswer(VerifierVerdict.CONFIRMED, "two wheels")
    answers = [GivenAnswer(f"of-{key}", key, confirmed) for key in ("files-bbb", KEY)]
    add_answers(platform.database, "cyclists", "eyes", answers)
    layout.adopted_verdicts("cyclists").parent.mkdir()
    layout.adopted_verdicts("cyclists").write_text(
        f"frame_id,pts_seconds,verdict,who,given_at\n{KEY}/000000,0,keep,,\n"
    )
    (calibration / "questions.html").write_text(f"<img alt='{KEY}'>")
    (calibration / "reference.json").write_text(json.dumps({"video_keys": [KEY]}))
    (calibration / "plan.json").write_text("{}")
    layout.file_hashes("cyclists").write_text(json.dumps({"files": {"/clips/files-aaa.mp4": [1, 2, "0"]}}))
    np.savez(layout.representatives_file("cyclists"), frame_ids=np.asarray([f"{KEY}/000001"], np.str_))
    with platform.database.transaction() as session:
        listing = SourceListingRow(project_name="cyclists", source="urls", query=NEEDLES[1], listed_at=FOUND_AT)
        session.add(listing)
        since = {"state": "event", "counts": True, "refused_at": FOUND_AT}
        session.add(SiteRefusalRow(site="tube", video_key=KEY, **since))
        session.add(SiteGateRow(site="tube", num_trips=1, reason=f"{KEY}: 403", probe_key=KEY))
    update_project(platform.database, "cyclists", error=f"{KEY}: its frames are gone")
    assert len(traces(platform)) > 20
    forgotten = forget_videos(platform, KEY, reason="asked by its author")
    assert forgotten.removal.removed == (KEY,)
    assert forgotten.releases == (HeldRelease("cyclists", "v001", 1, 3),)
    assert traces(platform) == []
    assert (calibration / "answers.csv").read_text() == "frame_id,answer\nfiles-bbb/000001,drop\n"
    assert verdicts_in_force(platform.database, "cyclists") == said[:1]
    assert find_answers(platform.database, ["of-files-bbb", f"of-{KEY}"]) == {"of-files-bbb": confirmed}
    assert sorted(path.name for path in calibration.iterdir()) == ["answers.csv", "plan.json"]
    assert not layout.release_folder("cyclists", "v001").exists()
    other = layout.release_folder("cyclists", "v002")
    assert damaged_files(other) == []
    manifest = read_manifest(other)
    assert manifest is not None
    assert manifest["changes"]["videos_removed"] == ["a forgotten video"]
    reasons = {row.version: row.withdrawn_reason for row in find_releases(platform.database, "cyclists")}
    assert str(reasons["v001"]).endswith(": forgot 1 of its videos: asked by its author")
    assert reasons["v002"] is None


def test_forget_videos__what_others_were_is_remembered(platform: Platform) -> None:
    release_project(platform, "cyclists")
    database = platform.database
    splits = read_splits(database, "cyclists", SHARES)
    forget_videos(platform, KEY, reason="asked")
    del splits[KEY]
    assert read_splits(database, "cyclists", SHARES) == splits
    assert read_generations(database, "cyclists") == {"files-bbb": 1, "files-ccc": 1}
    project = find_project(platform.database, "cyclists")
    assert project is not None
    assert (project.stage, project.released_version) == (ProjectStage.SOURCING, None)


def test_forget_videos__no_listing_brings_it_back_and_its_name_is_not_kept(platform: Platform) -> None:
    with platform.database.transaction() as session:
        for key in (KEY, "files-bbb"):
            session.get_one(VideoRow, key).channel_id = "UC1"
    assert forget_videos(platform, "UC1", reason="asked").removal.removed == (KEY, "files-bbb")
    new = VideoCandidate("files-new", "u", "urls", "q", 0, FOUND_AT, channel_id="UC1")
    again = VideoCandidate(KEY, "u", "urls", "q", 0, FOUND_AT)
    other = VideoCandidate("files-other", "u", "urls", "q", 1, FOUND_AT)
    assert without_forgotten(platform.database, [new, again, other]) == [other]
    assert is_forgotten(platform.database, forgotten_subject("video", KEY))
    with pytest.raises(ConfigError):
        forget_videos(platform, "UC1", reason="asked")


def test_forget_videos__again_after_an_interruption_ends_what_was_begun(platform: Platform) -> None:
    left = platform.layout.frames_folder(KEY)
    forget_videos(platform, KEY, reason="asked")
    left.mkdir()  # as if killed between deleting rows and files
    assert forget_videos(platform, KEY, reason="asked").removal.removed == ()
    assert not left.exists()


def test_forget_videos__what_a_detector_saw_of_others_stays(platform: Platform) -> None:
    parts = platform.layout.detection_parts("cyclists")
    table = pa.table({"frame_id": [f"{KEY}/000001", f"{KEY}b/000001", "files-bbb/000001"], "n": [1, 2, 3]})
    write_table(parts / "x.parquet", table, fingerprint="detector", metadata={"a": "b"})
    forget_videos(platform, KEY, reason="asked")
    assert read_table(parts / "x.parquet")["n"].to_pylist() == [2, 3]
    assert read_fingerprint(parts / "x.parquet") == "detector"


def test_forget_videos__what_was_found_in_its_windows_and_what_killed_training_left_goes(platform: Platform) -> None:
    layout = platform.layout
    around = [layout.window_parts_of("cyclists", "lite", "fingerprint") / key for key in (KEY, "files-bbb")]
    for folder in around:
        folder.mkdir(parents=True)
        table = pa.table({"frame_id": [f"{folder.name}@7"]})
        write_table(folder / "000000.frames.parquet", table, fingerprint="fingerprint")
    of_killed_training = layout.students_folder("cyclists") / ".partial-0123456789abcdef-v001" / f"{KEY}_000001.jpg"
    of_killed_training.parent.mkdir(parents=True)
    of_killed_training.write_bytes(b"a picture of it")
    forget_videos(platform, KEY, reason="asked")
    assert [folder.exists() for folder in around] == [False, True]
    assert not of_killed_training.exists()
    around[0].mkdir()  # as an earlier version left it
    forget_videos(platform, KEY, reason="asked")
    assert not around[0].exists()


def test_forget_videos__damaged_inputs_of_a_release_go(platform: Platform) -> None:
    release_project(platform, "cyclists")
    inputs = platform.layout.release_inputs("cyclists", "v001")
    damage(inputs)
    forget_videos(platform, "files-ddd", reason="asked")  # a video that the release does not show
    assert not inputs.exists()


def test_forget_videos__releases_are_kept_where_that_was_asked(platform: Platform) -> None:
    release_project(platform, "cyclists")
    forget_videos(platform, KEY, reason="asked", keep_releases=True)
    folder = platform.layout.release_folder("cyclists", "v001")
    assert (folder / "WITHDRAWN.txt").read_text().endswith(": forgot 1 of its videos: asked\n")
    assert releases_holding(platform, [KEY]) == [HeldRelease("cyclists", "v001", 1, 3)]
    assert all(trace.startswith("releases/cyclists/v001/") for trace in traces(platform))


def test_needles_of__what_is_short_or_shared_tells_nothing() -> None:
    long = "A title that is long enough"
    one = VideoRow(key="files-aaa", url="https://a.example/watch?v=1", title=long, sha256="ab" * 32)
    other = VideoRow(key="files-bbb", url="https://a.example/watch?v=2", title=long)
    assert needles_of([one], [other]) == ("ab" * 32, "files-aaa", "https://a.example/watch?v=1")
    assert needles_of([VideoRow(key="youtube-dQw4w9WgXcQ", url="", title="one")]) == ("dQw4w9WgXcQ",)


def test_find_traces__in_every_kind_of_file(tmp_path: Path) -> None:
    name = 'A "quoted" name – here'
    (tmp_path / "plain.txt").write_text(f"... {name} ...")
    (tmp_path / "escaped.json").write_text(json.dumps({"title": name}))
    (tmp_path / "page.html").write_text("<p>A &quot;quoted&quot; name – here</p>")
    write_table(tmp_path / "t.parquet", pa.table({"n": [1, 2], "title": ["x", name]}), fingerprint="f")
    np.savez(tmp_path / "a.npz", names=np.asarray(["x", name], np.str_))
    (tmp_path / "other.txt").write_text("A quoted name")
    found = {trace.path.name: trace.where for trace in find_traces([tmp_path], [name])}
    assert found == {
        "a.npz": "its rows",
        "escaped.json": "its content",
        "page.html": "its content",
        "plain.txt": "its content",
        "t.parquet": "column title",
    }
    assert list(find_traces([tmp_path / "nowhere"], [name])) == []
    assert list(find_traces([tmp_path], ["other.txt"])) == [Trace(tmp_path / "other.txt", "its name")]
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    (unknown,) = find_traces([tmp_path], ["other.parquet"])
    assert unknown.where.startswith("unreadable, so it may still name the video")


def test_forget_videos__does_the_rest_if_something_cannot_be_read(platform: Platform) -> None:
    build_project(platform.root, name="walkers")
    for name in ("cyclists", "walkers"):
        release_project(platform, name)
    layout = platform.layout
    unread, whole = layout.release_folder("cyclists", "v001"), layout.release_folder("walkers", "v001")
    (unread / "release.json").write_text("{")
    part = layout.project_folder("cyclists") / "parts" / "1.parquet"
    part.parent.mkdir()
    part.write_bytes(b"PAR1")
    verdicts, answers = layout.frame_verdicts("cyclists"), layout.answers_file("cyclists")
    for path in (verdicts, answers):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff")
    forgotten = forget_videos(platform, KEY, reason="asked")
    assert forgotten.releases == (HeldRelease("walkers", "v001", 1, 3),)
    assert forgotten.removal.removed == (KEY,)
    assert [line.partition(":")[0] for line in forgotten.left] == [
        "release cyclists v001 may show or name forgotten videos",
        "the earlier verdicts of project cyclists were not imported",
        "answers about frames of cyclists may name forgotten videos",
    ]
    assert not whole.exists()
    assert not part.exists()
    assert (unread / "release.json").exists()
    assert set(read_generations(platform.database, "walkers")) == {"files-bbb", "files-ccc"}


def test_forget_videos__a_release_whose_texts_cannot_be_read_keeps_its_names(platform: Platform) -> None:
    release_project(platform, "cyclists")
    build_project(platform.root, name="walkers", videos=(SampleVideo("files-zzz"),))
    release_project(platform, "walkers")
    readme = platform.layout.release_folder("cyclists", "v001") / "README.md"
    readme.write_bytes(b"\xff")
    forgotten = forget_videos(platform, "files-zzz", reason="asked")
    assert [line.partition(":")[0] for line in forgotten.left] == ["release cyclists v001 may name forgotten videos"]
    assert forgotten.removal.removed == ("files-zzz",)
