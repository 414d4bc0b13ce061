"""Compare random histories of a project with a plain model of it.

Videos are added, removed, taken out and forgotten, settings change and are restored, work is interrupted, and releases
are created. Each release must have the images, splits, version and provenance that the model computes from angles, and
the detector must have examined every picture once.
"""

import contextlib
import hashlib
import math
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from data_miner_dagster.domain.errors import NothingToReleaseError
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.export.manifest import CHECKSUMS_FILE, damaged_files, read_manifest
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.upkeep.forgetting import forget_videos
from data_miner_dagster.operations.upkeep.removal import remove_videos, take_out_of_project
from data_miner_dagster.operations.upkeep.traces import find_traces
from data_miner_dagster.stages.releasing import version_number
from data_miner_dagster_tests.support.living_project import PROJECT, STAGES, LivingPlatform

pytestmark = pytest.mark.slow(12)

VIDEOS = {  # the angles of each video's frames; no two are equally far from the prompt
    "files-x0": (0, 30),
    "files-x1": (11, 52),
    "files-x5": (21, 67),
    "files-x14": (6, 41, 57),
    "files-x26": (36, 63),
}
KEEP = (0.5, 0.8)  # up to 60 or 36.87 degrees
NEAR = (0.9, 0.97)  # within 25.8 or 14.07 degrees
SPLITS = ({"train": 0.8, "val": 0.1, "test": 0.1}, {"train": 0.5, "test": 0.5})
CONFIDENCE = (0.05, 0.9)
Settings = tuple[float, float, int, float]


@dataclass
class Published:
    """One release as the model knows it."""

    version: str
    inputs: tuple[frozenset[str], Settings]
    splits: dict[str, str]
    checksums: str


@dataclass
class Model:
    """Everything that the model knows about a project."""

    members: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    settings: Settings = (KEEP[0], NEAR[0], 0, CONFIDENCE[0])
    releases: list[Published] = field(default_factory=list)
    num_versions: int = 0
    first_release: dict[str, int] = field(default_factory=dict)
    split_of: dict[tuple[int, str], str] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)

    def kept(self) -> dict[str, int]:
        """Return the angle of every frame that resembles the prompt, by frame id."""
        keep = self.settings[0]
        return {
            make_frame_id(key, index): angle
            for key in self.members
            for index, angle in enumerate(VIDEOS[key])
            if math.cos(math.radians(angle)) >= keep
        }

    def decided(self) -> dict[str, str]:
        """Return the representative of each kept frame, by frame id."""
        angles, near = self.kept(), self.settings[1]
        order = sorted(angles, key=lambda frame: (self.first_release.get(video_of(frame), math.inf), angles[frame]))
        leaders: list[str] = []
        named = {}
        for frame in order:
            distances = [(abs(angles[frame] - angles[leader]), leader) for leader in leaders]
            within = [entry for entry in distances if math.cos(math.radians(entry[0])) >= near]
            named[frame] = min(within)[1] if within else frame
            leaders += [] if within else [frame]
        return named

    def images(self) -> set[str]:
        """Return the ids of the frames that a release contains."""
        return {frame for frame, leader in self.decided().items() if frame == leader}


def video_of(frame_id: str) -> str:
    return frame_id.partition("/")[0]


def groups_of(decided: dict[str, str]) -> list[set[str]]:
    """Return the groups of videos that near-duplicates link."""
    groups: list[set[str]] = []
    for frame, leader in decided.items():
        linked = {video_of(frame), video_of(leader)}
        touching = [group for group in groups if group & linked]
        groups = [group for group in groups if not group & linked] + [linked.union(*touching)]
    return groups


class Life(RuleBasedStateMachine):
    """Everything that may happen to a project, as a state machine."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="data_miner_life_"))
        self.platform = LivingPlatform(self.root)
        self.model = Model()

    def teardown(self) -> None:
        """Close the catalog and remove the root."""
        self.platform.database.dispose()
        shutil.rmtree(self.root)

    @initialize(key=st.sampled_from(sorted(VIDEOS)))
    def begin(self, key: str) -> None:
        self._configure()
        self._add(key)
        self._release()

    @precondition(lambda self: VIDEOS.keys() - self.model.members - self.model.forgotten)
    @rule(data=st.data(), at_once=st.booleans())
    def add(self, data: st.DataObject, at_once: bool) -> None:
        self._add(data.draw(st.sampled_from(sorted(VIDEOS.keys() - self.model.members - self.model.forgotten))))
        if at_once:
            self._release()

    @precondition(lambda self: self.model.members)
    @rule(data=st.data(), completely=st.booleans())
    def remove(self, data: st.DataObject, completely: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.members)))
        if completely:
            assert remove_videos(self.platform, [key], force=True).removed == (key,)
        else:
            assert take_out_of_project(self.platform, PROJECT, [key]).removed == (key,)
        self.model.members.remove(key)

    @rule(keep=st.sampled_from(KEEP), near=st.sampled_from(NEAR), at_once=st.booleans())
    def change(self, keep: float, near: float, at_once: bool) -> None:
        self.model.settings = (keep, near, *self.model.settings[2:])
        self._configure()
        if at_once:
            self._release()

    @rule(splits=st.integers(0, 1), confidence=st.sampled_from(CONFIDENCE))
    def change_the_release(self, splits: int, confidence: float) -> None:
        self.model.settings = (*self.model.settings[:2], splits, confidence)
        self._configure()

    @precondition(lambda self: self.model.releases)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        """Return to the inputs and settings of an existing release."""
        published = data.draw(st.sampled_from(self.model.releases))
        members, self.model.settings = published.inputs
        members -= self.model.forgotten
        for key in sorted(self.model.members - members):
            take_out_of_project(self.platform, PROJECT, [key])
        self.model.members &= members
        for key in sorted(members - self.model.members):
            self._add(key)
        self._configure()
        self._release()  # reuses the existing release, or creates one if a video was forgotten

    @precondition(lambda self: len(self.model.members) > 2 and not self.model.forgotten)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.members)))
        forget_videos(self.platform, key, reason="on request")
        assert list(find_traces([self.root], [key])) == []
        model = self.model
        model.members.remove(key)
        model.forgotten.add(key)
        model.releases = [release for release in model.releases if key not in release.splits]
        for release in model.releases:
            release.checksums = self._checksums(release.version)  # the release's texts may have named the video
        model.first_release.pop(key, None)
        model.split_of = {place: split for place, split in model.split_of.items() if place[1] != key}

    @rule(number=st.integers(1, len(STAGES)))
    def interrupt(self, number: int) -> None:
        """Run this many stages, but do not release."""
        self._run_stages(number)

    @precondition(lambda self: self.model.images())
    @rule(
        moment=st.sampled_from(
            [
                "releasing.writing.write_manifest",  # before the release is complete
                "releasing.release_project.released_splits",  # before its rows are stored
            ]
        )
    )
    def interrupt_the_release(self, moment: str) -> None:
        """Interrupt a release at `moment`, then release again."""

        def killed(*_arguments: object, **_more: object) -> None:
            raise KeyboardInterrupt

        self._run_stages()
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(f"data_miner_dagster.operations.{moment}", killed)
            release_project(self.platform, PROJECT)
        self._release(may_stand=True)

    @rule()
    def release(self) -> None:
        self._release()

    # --- after each step ---

    @invariant()
    def releases_stand_as_they_were_made(self) -> None:
        for release in self.model.releases:
            assert self._checksums(release.version) == release.checksums

    # --- helpers ---

    def _configure(self) -> None:
        keep, near, splits, confidence = self.model.settings
        # no box is unsure: the model knows nothing of frames that wait for a review
        self.platform.configure(
            keep=keep, near=near, splits=SPLITS[splits], confidence=confidence, unsure_from=confidence
        )

    def _add(self, key: str) -> None:
        self.platform.add(key, VIDEOS[key])
        self.model.members.add(key)

    def _run_stages(self, number: int = len(STAGES)) -> None:
        self.platform.run_stages(number)
        if number == len(STAGES):
            self.model.looked_at |= self.model.images()
        assert sum(self.platform.looking.batch_sizes) == len(self.model.looked_at)

    def _checksums(self, version: str) -> str:
        folder = self.platform.layout.release_folder(PROJECT, version)
        return hashlib.sha256((folder / CHECKSUMS_FILE).read_bytes()).hexdigest()

    def _release(self, *, may_stand: bool = False) -> None:
        model = self.model
        decided, images = model.decided(), model.images()
        self._run_stages()
        if not images:
            with pytest.raises(NothingToReleaseError):
                release_project(self.platform, PROJECT)
            return
        outcome = release_project(self.platform, PROJECT)
        version = str(outcome.metadata["version"])
        inputs = (frozenset(model.members), model.settings)
        standing = [release for release in model.releases if release.inputs == inputs]
        if standing:
            assert (version, outcome.status) == (standing[-1].version, OutcomeStatus.REUSED)
        else:
            assert version_number(version) == model.num_versions + 1
            assert outcome.status is OutcomeStatus.DONE or may_stand
            model.num_versions += 1
        self._compare(version, decided, images)
        for frame in decided:
            model.first_release.setdefault(video_of(frame), version_number(version))
        if not standing:
            manifest = read_manifest(self.platform.layout.release_folder(PROJECT, version))
            assert manifest is not None
            splits = manifest["splits"]["by_video"]
            model.releases.append(Published(version, inputs, splits, self._checksums(version)))
            model.split_of |= {(model.settings[2], key): split for key, split in splits.items()}

    def _compare(self, version: str, decided: dict[str, str], images: set[str]) -> None:
        """Compare a release with what the model computes from the same inputs."""
        folder = self.platform.layout.release_folder(PROJECT, version)
        assert damaged_files(folder) == []
        table = pd.read_parquet(folder / "data" / "images.parquet")
        assert set(table["frame_id"]) == images
        assert all(url == f"{key}.mp4" for key, url in zip(table["video_key"], table["video_url"], strict=True))
        assert (table["pts_seconds"] == table["frame_index"]).all()
        manifest = read_manifest(folder)
        assert manifest is not None
        splits = manifest["splits"]["by_video"]
        assert splits.keys() == {video_of(frame) for frame in images}
        known = {key: split for (shares, key), split in self.model.split_of.items() if shares == self.model.settings[2]}
        assert all(split == known.get(key, split) for key, split in splits.items())
        order = list(SPLITS[self.model.settings[2]])
        divided = set()
        for group in groups_of(decided):
            told = {splits[key] for key in group if key in splits}
            is_cut = all(" " in split for split in told)  # one or two videos, each divided between splits
            taken = {known[key] for key in group if key in splits and key in known}
            if len(taken) > 1:
                divided.add(tuple(sorted(group & splits.keys())))
            fresh = {splits[key] for key in group if key in splits and key not in known}
            if taken and fresh:
                whole = taken & set(order)
                joined = min(whole, key=["train", *sorted(order[1:])].index) if whole else "train"
                assert fresh == {joined} or (is_cut and not whole)
            assert len(told) <= 1 or taken or is_cut
        assert divided <= {tuple(group) for group in manifest["splits"].get("divided_groups", [])}
        if not known:
            assert any(split.split(" ")[0] == "train" for split in splits.values())


def test_life() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=8,
            stateful_step_count=14,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
