"""The settings of an entire project file, including its `platform` section."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, field_validator, model_validator

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.cluster import ClusterConfig
from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.config.embedding import EmbeddingConfig
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.config.interpolation import Interpolations, ShownSettings
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.monitoring import AlertsConfig, MonitoringConfig
from data_miner_dagster.config.objects import ObjectsConfig
from data_miner_dagster.config.problems import did_you_mean
from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.config.room import RoomConfig
from data_miner_dagster.config.runs import RunsConfig
from data_miner_dagster.config.sourcing import SourcingConfig
from data_miner_dagster.config.web import WebConfig
from data_miner_dagster.config.words import visible_text
from data_miner_dagster.domain.catalog_urls import problem_of_catalog_url
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.domain.keys import check_project_name

_INTERPOLATED: Final = "interpolated"
"""The additional key of a snapshot that records which settings came from the environment."""


def _checked_name(name: str) -> str:
    try:
        return check_project_name(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error


class StorageConfig(ConfigModel):
    """The `platform.storage` section."""

    root: str = ".data_miner"
    """The folder for all data. `--root` and DATA_MINER_ROOT override it."""
    catalog_url: str | None = None
    """The SQLAlchemy URL of the catalog. Default: SQLite under the root. DATA_MINER_CATALOG_URL overrides it."""
    project_files: str | None = None
    """The folder to watch for project files. Default: `project_files` under the root."""
    project_variables: tuple[str, ...] = ()
    """Environment variables that project files in the watched folder may read with `${oc.env:NAME}` or `{env:NAME}`. A
    project file in another folder, named by `--config`, may read any variable."""
    project_paths: tuple[str, ...] | None = None
    """Folders, in addition to the watched folder, whose videos, pictures and lists its project files may name. null:
    they may name videos and pictures in any folder, but lists (of addresses, searches and blocked words) only in the
    watched folder."""

    history_days: int | None = Field(default=30, ge=1)
    """The number of days to keep Dagster's runs, ticks and logs. The state of each partition is kept anyway. null:
    forever."""

    @field_validator("catalog_url")
    @classmethod
    def _check_catalog_url(cls, url: str | None) -> str | None:
        if url is not None and (problem := problem_of_catalog_url(url)):
            raise ValueError(problem)
        return url


class LoggingConfig(ConfigModel):
    """The `platform.logging` section."""

    format: Literal["text", "json"] = "text"
    """The format of the log. `json`: one object per line, for Loki and similar tools."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level to log."""


class RefreshConfig(ConfigModel):
    """The `refresh` section of a project. Failed and unavailable videos never delay a project."""

    wait_for_all: bool = True
    """Do not build until every video is finished or has failed. `false`: also build while videos are in progress."""
    min_new_videos: int = Field(default=50, ge=1)
    """Without `wait_for_all`: build once this many more videos are ready than at the last release."""
    after_review_minutes: float = Field(default=5.0, ge=0, le=1440)
    """Start automatic builds only after this long without a new verdict, so that people can finish reviewing.
    `data-miner run` and materializing an asset do not wait."""


class PlatformConfig(ConfigModel):
    """Settings shared by all projects of one root."""

    storage: StorageConfig = StorageConfig()
    """The places where data is stored."""
    downloading: DownloadingConfig = DownloadingConfig()
    """Settings for downloading videos."""
    extraction: ExtractionConfig = ExtractionConfig()
    """Settings for the frames to take from videos."""
    embedding: EmbeddingConfig = EmbeddingConfig()
    """Settings for embedding frames."""
    models: ModelsConfig = ModelsConfig()
    """The models to use."""
    runs: RunsConfig = RunsConfig()
    """When a run counts as hanging."""
    cluster: ClusterConfig = ClusterConfig()
    """Where runs execute, and the resources that they request there."""
    room: RoomConfig = RoomConfig()
    """The disk space that the root may use."""
    objects: ObjectsConfig = ObjectsConfig()
    """The connection settings for buckets."""
    web: WebConfig = WebConfig()
    """The hosts and ports of the web pages."""
    logging: LoggingConfig = LoggingConfig()
    """The format and level of the log."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """Metrics of the platform for Prometheus."""
    alerts: AlertsConfig = AlertsConfig()
    """Who is notified when something is wrong."""


class ProjectConfig(ConfigModel):
    """One project: where to find videos, which frames to keep, and which objects to detect."""

    name: Annotated[str, AfterValidator(_checked_name)]
    """The project's name: letters, digits, '_', '-' and '.'. It is also the project's partition key in Dagster."""
    description: Annotated[str, AfterValidator(visible_text)] = ""
    """A description of the project, for the datasheet."""
    sourcing: SourcingConfig
    """Where to look for videos."""
    filtering: FilteringConfig
    """Which frames to keep, described in words."""
    deduplication: DeduplicationConfig = DeduplicationConfig()
    """Which frames count as near-duplicates."""
    detection: DetectionConfig
    """Which classes to detect."""
    releasing: ReleasingConfig = ReleasingConfig()
    """The content of a release."""
    refresh: RefreshConfig = RefreshConfig()
    """When to build the dataset again."""

    _interpolations: Interpolations = PrivateAttr(default_factory=Interpolations)

    @property
    def interpolations(self) -> Interpolations:
        """The settings that came from the environment."""
        return self._interpolations

    @property
    def shown(self) -> ShownSettings:
        """These settings for display, with values from the environment replaced by references."""
        return ShownSettings(self.model_dump(mode="json"), self._interpolations)

    @property
    def uses_of_dedup_encoder(self) -> tuple[str, ...]:
        """The uses of `platform.models.dedup_encoder` in the project, by their names in releases, in stage order."""
        select = self.releasing.select
        is_used = {
            "exemplars": self.filtering.exemplar_encoder == "dedup" and bool(self.filtering.exemplar_paths),
            "near-duplicates": self.deduplication.encoder == "dedup",
            "image selection": select is not None and select.diverse,
        }
        return tuple(use for use, is_met in is_used.items() if is_met)

    def with_interpolations(self, interpolations: Interpolations) -> Self:
        """Return a copy of these settings that records which of them came from the environment."""
        copy = self.model_copy()
        copy._interpolations = interpolations  # noqa: SLF001 - an attribute of this class
        return copy

    def as_snapshot(self) -> dict[str, object]:
        """Return the resolved settings as JSON values for the catalog, and mark those from the environment."""
        content: dict[str, object] = self.model_dump(mode="json", include=set(ProjectConfig.model_fields))
        return content | ({_INTERPOLATED: as_json(self._interpolations)} if self._interpolations else {})

    @classmethod
    def from_snapshot(cls, content: Mapping[str, Any]) -> Self:
        """Restore settings from a snapshot that `as_snapshot` returned.

        Raises:
            pydantic.ValidationError: an earlier version accepted the settings, but this version does not.
        """
        settings = {key: value for key, value in content.items() if key != _INTERPOLATED}
        return cls.model_validate(settings).with_interpolations(interpolations_of_snapshot(content))

    @model_validator(mode="after")
    def _check_class_names(self) -> Self:
        for key in ("class_thresholds", "class_unsure_from"):
            for name in getattr(self.releasing, key):
                if name not in self.detection.classes:
                    hint = did_you_mean(name, list(self.detection.classes))
                    raise ValueError(f"releasing.{key}: {name!r} is not in detection.classes{hint}")
        return self

    @model_validator(mode="after")
    def _check_unsure_ranges(self) -> Self:
        releasing, floor = self.releasing, self.detection.confidence_floor
        for name in self.detection.classes:
            key = f"class_unsure_from of {name!r}" if name in releasing.class_unsure_from else "unsure_from"
            wanted = releasing.class_unsure_from.get(name, releasing.unsure_from)
            threshold = releasing.threshold_of(name)
            if wanted is None:
                continue
            if wanted > threshold:
                raise ValueError(
                    f"releasing.{key} is {wanted:g}, above the threshold {threshold:g} of {name!r}; lower it to the "
                    "threshold (then no box is unsure) or below"
                )
            if wanted < floor:
                raise ValueError(
                    f"releasing.{key} is {wanted:g}, but boxes below detection.confidence_floor ({floor:g}) are not "
                    f"stored; raise releasing.{key}, or lower the floor"
                )
        return self


def interpolations_of_snapshot(content: Mapping[str, Any]) -> Interpolations:
    """Return the settings that came from the environment, as recorded in a snapshot."""
    return from_json(Interpolations, content[_INTERPOLATED]) if _INTERPOLATED in content else Interpolations()


def references_of_snapshot(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the values in a snapshot that came from the environment, with the references to them.

    Of a record that another version wrote, those that can be recognized are returned.
    """
    try:
        return list(interpolations_of_snapshot(content).values)
    except ValueError:
        record = content[_INTERPOLATED]
        pairs = record.get("values") if isinstance(record, Mapping) else None
        known = [pair for pair in pairs if isinstance(pair, list)] if isinstance(pairs, list) else []
        return [
            (pair[0], pair[1]) for pair in known if len(pair) > 1 and all(isinstance(text, str) for text in pair[:2])
        ]


class ProjectFile(ProjectConfig):
    """The content of one YAML file: the project's keys, and the `platform` section."""

    platform: PlatformConfig = Field(default_factory=PlatformConfig)
    """Settings shared by all projects of the root."""

    @property
    def project(self) -> ProjectConfig:
        """The project's settings, without `platform`."""
        project = ProjectConfig.model_validate(self.model_dump(exclude={"platform"}))
        return project.with_interpolations(self._interpolations)
