"""Every path under the root, in one place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.keys import check_project_name, check_video_key, has_foreign_pictures
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage

FRAMES_TABLE_NAME: Final = "frames.parquet"


@dataclass(frozen=True, slots=True)
class StorageLayout:
    """Paths under one root. Nothing is created by asking. Keys and names are checked, so no path leaves the root."""

    root: Path

    @property
    def catalog_file(self) -> Path:
        """The default SQLite catalog."""
        return self.root / "catalog.sqlite"

    @property
    def platform_file(self) -> Path:
        """The sampling settings this root was made with."""
        return self.root / "platform.json"

    @property
    def dagster_home(self) -> Path:
        """The default DAGSTER_HOME."""
        return self.root / "dagster_home"

    @property
    def project_files(self) -> Path:
        """The default folder watched for project files."""
        return self.root / "project_files"

    @property
    def videos(self) -> Path:
        """One folder a video."""
        return self.root / "videos"

    @property
    def frames(self) -> Path:
        """One folder of frames a video."""
        return self.root / "frames"

    @property
    def embeddings(self) -> Path:
        """One folder an encoder."""
        return self.root / "embeddings"

    def filled_rooms(self) -> list[str]:
        """Return which folders hold what a catalog knows of: videos, frames, tables of projects, releases."""
        return [
            room
            for room in ("videos", "frames", "projects", "releases")
            if any(not entry.name.startswith(".") for entry in (self.root / room).glob("*"))
        ]

    def video_folder(self, video_key: str) -> Path:
        """Holds `video.<ext>` and `info.json`; valid once `info.json` is there."""
        return self.videos / check_video_key(video_key)

    def video_info(self, video_key: str) -> Path:
        """The metadata and sha256 of a video: the manifest, written last."""
        return self.video_folder(video_key) / "info.json"

    def frames_folder(self, video_key: str) -> Path:
        """Holds the JPEGs and `frames.parquet`; valid once the latter is there."""
        return self.frames / check_video_key(video_key)

    def frames_table(self, video_key: str) -> Path:
        """The manifest of a video's frames, written last."""
        return self.frames_folder(video_key) / FRAMES_TABLE_NAME

    def frame_path(self, video_key: str, file_name: str) -> Path:
        """One frame's image."""
        return self.frames_folder(video_key) / file_name

    def frame_picture(self, video_key: str, file_name: str) -> PictureFile:
        """One frame's image, as readers of pictures take it."""
        return PictureFile(self.frame_path(video_key, file_name), has_foreign_pictures(video_key))

    def embedding_file(self, encoder_name: str, video_key: str) -> Path:
        """One encoder's embeddings of one video's frames."""
        return self.embeddings / check_project_name(encoder_name) / f"{check_video_key(video_key)}.npz"

    def prompt_embedding_file(self, encoder_name: str, digest: str) -> Path:
        """One encoder's embedding of one text, by the fingerprint of both."""
        return self.embeddings / check_project_name(encoder_name) / "prompts" / f"{check_project_name(digest)}.npz"

    def project_folder(self, project: str) -> Path:
        """The derived tables of a project."""
        return self.root / "projects" / check_project_name(project)

    def stage_versions(self, project: str) -> Path:
        """The version of each stage that the project's tables and release were made by."""
        return self.project_folder(project) / "stage_versions.json"

    def table_of(self, project: str, stage: ProjectStage) -> Path:
        """The table that a stage makes for the next one."""
        table = PROJECT_WAY[stage].table
        if table is None:
            raise ValueError(f"{stage.value} makes no table")
        return self.project_folder(project) / table

    def file_hashes(self, project: str) -> Path:
        """Hashes of the local files that the project's sources list, by size and time."""
        return self.project_folder(project) / "file_hashes.json"

    def similarities_table(self, project: str) -> Path:
        """Every similarity of every frame to every prompt."""
        return self.project_folder(project) / "similarities.parquet"

    def calibration_folder(self, project: str) -> Path:
        """Questions about frames near the threshold, the answers, and the scores the threshold was chosen on."""
        return self.project_folder(project) / "calibration"

    def filtered_table(self, project: str) -> Path:
        """One row per frame of every member video."""
        return self.table_of(project, ProjectStage.FILTERING)

    def deduplicated_table(self, project: str) -> Path:
        """One row per kept frame."""
        return self.table_of(project, ProjectStage.DEDUPLICATION)

    def representatives_file(self, project: str) -> Path:
        """The vectors of the representatives: what new videos are compared with."""
        return self.project_folder(project) / "representatives.npz"

    def reuploads_table(self, project: str) -> Path:
        """One row per video that is found again in another."""
        return self.project_folder(project) / "reuploads.parquet"

    def detections_table(self, project: str) -> Path:
        """One row per box."""
        return self.table_of(project, ProjectStage.DETECTION)

    def detected_frames_table(self, project: str) -> Path:
        """One row per frame that a detector has seen."""
        return self.project_folder(project) / "detected_frames.parquet"

    def detection_parts(self, project: str) -> Path:
        """What each detector has found so far, one folder for each detector and class list."""
        return self.project_folder(project) / "detection_parts"

    def releases_folder(self, project: str) -> Path:
        """One folder a version."""
        return self.root / "releases" / check_project_name(project)

    def release_folder(self, project: str, version: str) -> Path:
        """One immutable release."""
        return self.releases_folder(project) / check_project_name(version)

    def report_folder(self, project: str) -> Path:
        """The project's latest report."""
        return self.root / "reports" / check_project_name(project)
