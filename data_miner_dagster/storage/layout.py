"""Every path under the root, in one place.

Rule: no other module joins a literal to a path under the root, or names one of these files. Exceptions:

- The contents of a release are named in export/, since releases and exports are also read without a root. Files that
describe a release are named in export/manifest.py, its folder of images in export/records.py, and the files of a format
in the module of the format.
- A stage's own table is named in its entry in the order of stages (domain/statuses.py).
- The file of a frame or of a video is named in domain/keys.py, for code that writes it before it is in place.
- The numbered parts in a folder of `detection_parts` are named where they are read and written.

The constants are for code that writes a folder before it has its final name, or that searches for files by pattern.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.keys import check_project_name, check_video_key, has_foreign_pictures
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage
from data_miner_dagster.storage.changing_folders import paths_below
from data_miner_dagster.storage.published_layout import REPORTS_NAME, PublishedLayout

FRAMES_TABLE_NAME: Final = "frames.parquet"
WINDOWS_TABLE_NAME: Final = "windows.parquet"
PROMPTS_FOLDER_NAME: Final = "prompts"
REPRESENTATIVES_NAME: Final = "representatives.npz"
REPORT_MARK_NAME: Final = "release.txt"
BEFORE_MOVE_NAME: Final = "before_postgresql"
"""The folder for everything that a move to PostgreSQL replaced, under the root and under DAGSTER_HOME."""
PREVIEWS_NAME: Final = "previews"
"""The name of the folder of previews, and the first part of a preview's address on the web server."""
_VIDEO_INFO_NAME: Final = "info.json"
_DETECTION_PARTS_NAME: Final = "detection_parts"
_WINDOW_PARTS_NAME: Final = "window_parts"
_CALIBRATION_NAME: Final = "calibration"
_REFERENCE_NAME: Final = "reference.json"


@dataclass(frozen=True, slots=True)
class StorageLayout(PublishedLayout):
    """Paths under one root. A lookup creates nothing, and raises ConfigError for an invalid key or name."""

    @property
    def catalog_file(self) -> Path:
        """The file of the default catalog, an SQLite database."""
        return self.root / "catalog.sqlite"

    @property
    def moved_catalog(self) -> Path:
        """The file with the location of a catalog that was moved out of the root (storage/moved_catalog.py)."""
        return self.root / "moved_catalog.json"

    @property
    def before_move(self) -> Path:
        """The folder with the SQLite catalog that a move to PostgreSQL replaced."""
        return self.root / BEFORE_MOVE_NAME

    @property
    def platform_file(self) -> Path:
        """The file with the platform settings that later commands reuse, such as `extraction` and `models`."""
        return self.root / "platform.json"

    @property
    def up_lock(self) -> Path:
        """The file that `data-miner up`, `restore` and `migrate-to` lock while they run. It names the lock's holder."""
        return self.root / "up.lock"

    @property
    def up_log(self) -> Path:
        """The log file of the servers of `data-miner up`."""
        return self.root / "up.log"

    @property
    def refused_files(self) -> Path:
        """The file that lists the refused project files. It exists only while a project file is refused."""
        return self.root / "refused_files.json"

    @property
    def review_access(self) -> Path:
        """The folder with the checksums of the review pages' login links and sessions. Only its owner can read it."""
        return self.root / "review_access"

    def login_link_file(self, digest: str) -> Path:
        """Return the path of the file for an unopened login link, named by the checksum of the link's secret."""
        return self.review_access / f"link-{check_project_name(digest)}"

    def session_file(self, digest: str) -> Path:
        """Return the path of the session file for a visitor to the review pages, named by the cookie's checksum."""
        return self.review_access / f"session-{check_project_name(digest)}"

    def leading_page(self, name: str) -> Path:
        """Return the path of a local page that redirects a browser to a login link."""
        return self.review_access / f"leading-{check_project_name(name)}.html"

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
        """The folder that contains one folder per video."""
        return self.root / "videos"

    @property
    def frames(self) -> Path:
        """The folder that contains one folder of frames per video."""
        return self.root / "frames"

    @property
    def windows(self) -> Path:
        """The folder with the pictures around frames. It contains one folder per video whose objects are followed."""
        return self.root / "windows"

    @property
    def embeddings(self) -> Path:
        """The folder of embeddings, with one folder per encoder."""
        return self.root / "embeddings"

    @property
    def projects(self) -> Path:
        """The folder that contains one folder of derived tables per project."""
        return self.root / "projects"

    @property
    def previews(self) -> Path:
        """The folder of contact sheets of videos and projects, which Dagster's UI shows."""
        return self.root / PREVIEWS_NAME

    @property
    def restoring(self) -> Path:
        """The file that names the backup being restored into this root. It exists until the restore is complete."""
        return self.root / "restoring.json"

    @property
    def restored_parts(self) -> Path:
        """The folder for temporary files of a running restore."""
        return self.root / ".restoring"

    def kept_in_backups(self) -> list[tuple[Path, int | None]]:
        """Return the paths of the files and folders that a backup contains besides the catalog, sorted by name.

        Each path is paired with a depth. Every folder at this depth below the path (1 for direct subfolders) must be
        copied in a single state. The depth is None if every file is independent. A path may not exist. The pictures
        around frames, copies of the catalog, locks, logs, sessions, and Dagster's own storage are not included.
        """
        kept: list[tuple[Path, int | None]] = [
            (self.embeddings, None),
            (self.frames, 1),
            (self.platform_file, None),
            (self.previews, None),
            (self.project_files, None),
            (self.projects, None),
            (self.releases, 2),
            (self.root / REPORTS_NAME, 1),
            (self.students, 2),
            (self.videos, 1),
        ]
        return sorted(kept, key=lambda entry: entry[0].name)

    def filled_rooms(self) -> list[str]:
        """Return the names of the non-empty folders whose contents a catalog must record.

        Only the folders of videos, frames, projects and releases are examined. Hidden entries do not count.
        """
        return [
            room.name
            for room in (self.videos, self.frames, self.projects, self.releases)
            if any(not entry.name.startswith(".") for entry in room.glob("*"))
        ]

    def derived_files(self, video_key: str | None = None) -> Iterator[Path]:
        """Yield the paths of existing files that can be recreated, for one video, or for all videos and projects."""
        key = "*" if video_key is None else check_video_key(video_key)  # it contains no glob characters
        of_videos = (
            (self.frames, f"{key}/{FRAMES_TABLE_NAME}"),
            (self.windows, f"{key}/{WINDOWS_TABLE_NAME}"),
            (self.embeddings, f"*/{key}.npz"),
            (self.videos, f"{key}/{_VIDEO_INFO_NAME}"),
        )
        of_all = (
            (self.embeddings, f"*/{PROMPTS_FOLDER_NAME}/*.npz"),
            (self.projects, "*/*.parquet"),
            (self.projects, "*/*.npz"),
            (self.projects, f"*/{_DETECTION_PARTS_NAME}/*/*.parquet"),
            (self.projects, f"*/{_WINDOW_PARTS_NAME}/*/*/*.parquet"),
            (self.projects, f"*/{_CALIBRATION_NAME}/{_REFERENCE_NAME}"),
        )
        for room, pattern in of_videos if video_key is not None else (*of_videos, *of_all):
            yield from (path for path in paths_below(room, pattern) if path.is_file())

    def video_folder(self, video_key: str) -> Path:
        """Return the path of a video's folder, which is valid once `info.json` is in it, even without a video file."""
        return self.videos / check_video_key(video_key)

    def video_info(self, video_key: str) -> Path:
        """Return the path of a video's manifest, with its metadata and sha256. It is written last."""
        return self.video_folder(video_key) / _VIDEO_INFO_NAME

    def frames_folder(self, video_key: str) -> Path:
        """Return the path of the folder with a video's frames. It is valid once its `frames.parquet` exists."""
        return self.frames / check_video_key(video_key)

    def frames_table(self, video_key: str) -> Path:
        """Return the path of `frames.parquet`, the manifest of a video's frames, which is written last."""
        return self.frames_folder(video_key) / FRAMES_TABLE_NAME

    def frame_path(self, video_key: str, file_name: str) -> Path:
        """Return the path of the image file of one frame."""
        return self.frames_folder(video_key) / file_name

    def frame_picture(self, video_key: str, file_name: str) -> PictureFile:
        """Return one frame's image file as a `PictureFile`."""
        return PictureFile(self.frame_path(video_key, file_name), has_foreign_pictures(video_key))

    def windows_folder(self, video_key: str) -> Path:
        """Return the path of a video's folder of pictures around frames. It is valid once `windows.parquet` exists."""
        return self.windows / check_video_key(video_key)

    def windows_table(self, video_key: str) -> Path:
        """Return the path of the manifest of a video's windows, which is written last."""
        return self.windows_folder(video_key) / WINDOWS_TABLE_NAME

    def embedding_file(self, encoder_name: str, video_key: str) -> Path:
        """Return the path of the file with one encoder's embeddings of one video's frames."""
        return self.embeddings / check_project_name(encoder_name) / f"{check_video_key(video_key)}.npz"

    def embedding_files(self, video_key: str) -> list[Path]:
        """Return the paths of the existing files with embeddings of one video's frames, from any encoder."""
        return sorted(self.embeddings.glob(f"*/{check_video_key(video_key)}.npz")) if self.embeddings.is_dir() else []

    def prompt_embedding_file(self, encoder_name: str, digest: str) -> Path:
        """Return the path of the file with an encoder's embedding of a text or exemplar. `digest` identifies both."""
        folder = self.embeddings / check_project_name(encoder_name) / PROMPTS_FOLDER_NAME
        return folder / f"{check_project_name(digest)}.npz"

    def project_folder(self, project: str) -> Path:
        """Return the path of the folder of a project's derived tables."""
        return self.projects / check_project_name(project)

    def stage_versions(self, project: str) -> Path:
        """Return the path of the file with the version of each stage that produced the project's tables and release."""
        return self.project_folder(project) / "stage_versions.json"

    def table_of(self, project: str, stage: ProjectStage) -> Path:
        """Return the path of the table that a stage creates for the next one.

        Raises:
            ValueError: the stage creates no table.
        """
        table = PROJECT_WAY[stage].table
        if table is None:
            raise ValueError(f"the stage {stage.value} creates no table; pass one with a table in `PROJECT_WAY`")
        return self.project_folder(project) / table

    def file_hashes(self, project: str) -> Path:
        """Return the path of the file with cached hashes of the local files that the project's sources list."""
        return self.project_folder(project) / "file_hashes.json"

    def similarities_table(self, project: str) -> Path:
        """Return the path of the table of similarities between a project's frames and its prompts."""
        return self.project_folder(project) / "similarities.parquet"

    def calibration_folder(self, project: str) -> Path:
        """Return the path of the folder with the calibrations of a project's filter and detector."""
        return self.project_folder(project) / _CALIBRATION_NAME

    def calibration_plan(self, project: str) -> Path:
        """Return the path of the file with the strata that all rounds of a calibration draw questions from."""
        return self.calibration_folder(project) / "plan.json"

    def questions_table(self, project: str) -> Path:
        """Return the path of the CSV file with the questions of a calibration."""
        return self.calibration_folder(project) / "questions.csv"

    def answers_file(self, project: str) -> Path:
        """Return the path of the file with the answers that `data-miner calibrate --answers` has read so far."""
        return self.calibration_folder(project) / "answers.csv"

    def reference_file(self, project: str) -> Path:
        """Return the path of the file with the distribution of the similarities at the last calibration."""
        return self.calibration_folder(project) / _REFERENCE_NAME

    def box_calibration(self, project: str) -> Path:
        """Return the path of the file with the detector's calibration from people's verdicts on its boxes."""
        return self.calibration_folder(project) / "boxes.json"

    def frame_verdicts(self, project: str) -> Path:
        """Return the path of the file where earlier versions stored a project's verdicts on frames.

        The file is renamed once the catalog has adopted the verdicts.
        """
        return self.project_folder(project) / "verdicts" / "frames.csv"

    def all_frame_verdicts(self) -> list[str]:
        """Return the names of the projects with a file of verdicts from an earlier version, sorted."""
        return sorted(path.parent.parent.name for path in self.projects.glob("*/verdicts/frames.csv"))

    def adopted_verdicts(self, project: str) -> Path:
        """Return the path that the file `frame_verdicts` gets once the catalog has adopted its verdicts."""
        return self.frame_verdicts(project).with_suffix(".csv.adopted")

    def evaluation_file(self, project: str) -> Path:
        """Return the path of the file with the last evaluation of the project's boxes or of a release."""
        return self.project_folder(project) / "evaluation.json"

    def filtered_table(self, project: str) -> Path:
        """Return the path of the table with one row per frame of each member video that has been filtered."""
        return self.table_of(project, ProjectStage.FILTERING)

    def deduplicated_table(self, project: str) -> Path:
        """Return the path of the table with one row per kept frame."""
        return self.table_of(project, ProjectStage.DEDUPLICATION)

    def representatives_file(self, project: str) -> Path:
        """Return the path of the file with the representatives' vectors, which are compared with new videos' frames."""
        return self.project_folder(project) / REPRESENTATIVES_NAME

    def reuploads_table(self, project: str) -> Path:
        """Return the path of the table with one row per video that is a re-upload of another video."""
        return self.project_folder(project) / "reuploads.parquet"

    def detections_table(self, project: str) -> Path:
        """Return the path of the table with one row per box."""
        return self.table_of(project, ProjectStage.DETECTION)

    def detected_frames_table(self, project: str) -> Path:
        """Return the path of the table with one row per frame that a detector has examined."""
        return self.project_folder(project) / "detected_frames.parquet"

    def tracks_table(self, project: str) -> Path:
        """Return the path of the table of tracks through whole videos: one row per tracked frame and object."""
        return self.project_folder(project) / "whole_clip_tracks.parquet"

    def tracked_frames_table(self, project: str) -> Path:
        """Return the path of the table with one row per frame that was examined to follow objects."""
        return self.project_folder(project) / "whole_clip_frames.parquet"

    def detection_parts(self, project: str) -> Path:
        """Return the path of the folder with the detection results so far, one folder per detector and class list."""
        return self.project_folder(project) / _DETECTION_PARTS_NAME

    def detection_parts_of(self, project: str, detector_name: str, fingerprint: str) -> Path:
        """Return the path of the folder with the results of one detector so far, for one class list."""
        return self.detection_parts(project) / f"{check_project_name(detector_name)}-{fingerprint}"

    def student_disagreements(self, project: str) -> Path:
        """Return the path of the table of frames on which a student and its release disagreed at the last check."""
        return self.project_folder(project) / "student_disagreements.parquet"

    def window_parts(self, project: str) -> Path:
        """Return the path of the folder with the detections around frames, one folder per detector and class list."""
        return self.project_folder(project) / _WINDOW_PARTS_NAME

    def window_parts_of(self, project: str, detector_name: str, fingerprint: str) -> Path:
        """Return the path of the folder of one detector's detections around frames, for one class list."""
        return self.window_parts(project) / f"{check_project_name(detector_name)}-{fingerprint}"

    def release_inputs_folder(self, project: str) -> Path:
        """Return the path of the folder with the stored inputs of releases: one table per version, without pictures."""
        return self.project_folder(project) / "release_inputs"

    def release_inputs(self, project: str, version: str) -> Path:
        """Return the path of the table with the stored inputs of one release."""
        return self.release_inputs_folder(project) / f"{check_project_name(version)}.parquet"

    @property
    def video_previews(self) -> Path:
        """The folder that contains one contact sheet per video."""
        return self.previews / "videos"

    @property
    def all_project_previews(self) -> Path:
        """The folder that contains one folder of contact sheets per project."""
        return self.previews / "projects"

    def video_preview(self, video_key: str) -> Path:
        """Return the path of the contact sheet that shows a video's frames."""
        return self.video_previews / f"{check_video_key(video_key)}.webp"

    def project_previews(self, project: str) -> Path:
        """Return the path of the folder with the contact sheets of a project's stages."""
        return self.all_project_previews / check_project_name(project)

    def project_preview(self, project: str, name: str) -> Path:
        """Return the path of the contact sheet that shows one stage's decisions for a project."""
        return self.project_previews(project) / f"{check_project_name(name)}.webp"

    def preview_address(self, preview: Path) -> str:
        """Return a preview's address on the web server, without a host, such as `/previews/...`."""
        return f"/{preview.relative_to(self.root).as_posix()}"
