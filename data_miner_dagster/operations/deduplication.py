"""Deduplication of one project: which of the frames kept by filtering stand for the others.

Frames belong to generations. All frames of a first run are generation 0, ordered by quality. When videos are added
and nothing else changes, the frames already decided stay what they are, and the new ones are compared with the
representatives alone, as generation 1, and so on. A changed setting, or `force`, starts again from generation 0.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError, PermanentError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import DEDUPLICATED_SCHEMA, FRAMES_SCHEMA
from data_miner_dagster.index.faiss_index import FaissIndex
from data_miner_dagster.operations.frame_vectors import EncoderChoice, choose_encoder, read_frame_vectors
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.deduplication import find_representatives, quality_order, tiers_of
from data_miner_dagster.stages.guarantees import GuaranteeReport, verify_guarantees
from data_miner_dagster.storage.tables import FINGERPRINT_KEY, read_fingerprint, read_metadata, read_table, write_table

ALGORITHM_VERSION: Final = 1
"""Raise it when the same input gives another table."""

_FINGERPRINT: Final = FINGERPRINT_KEY.decode()
_DECISION_SCHEMA: Final = pa.schema(
    [DEDUPLICATED_SCHEMA.field(name) for name in ("is_representative", "representative_frame_id", "similarity", "tier")]
)
_NO_DECISIONS: Final = DEDUPLICATED_SCHEMA.empty_table()
_PICTURE_COLUMNS: Final = ("frame_id", "video_key", "frame_index", "sha256", "perceptual_hash")


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What a project's table is to be made from."""

    config: ProjectConfig
    encoder: EncoderChoice
    threshold: float
    filtered_fingerprint: str
    basis: str  # while it stays the same, earlier decisions stand

    def fingerprint(self, earlier: str) -> str:
        """Return the table's fingerprint, given that of the table it continues ("" where it starts anew)."""
        return fingerprint_of({"basis": self.basis, "filtered": self.filtered_fingerprint, "earlier": earlier})


def deduplicate_project(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """Write deduplicated.parquet: one row per frame that filtering kept, with its representative.

    Idempotent: a table made from the same inputs is left alone. `force` decides everything anew, as generation 0.

    Raises:
        ConfigError: there is no such project, or one it is to be compared with has not been deduplicated.
        DataMinerError: embeddings are missing or broken. The project is then FAILED, with the reason.
    """
    with platform.hold_project(project):
        inputs = _read_inputs(platform, project)
        if inputs is None:
            message = f"{project} has not been filtered; materialize filtered_frames of {project} first"
            return ProjectOutcome(project, OutcomeStatus.BLOCKED, "", {}, {"message": message})
        earlier = read_metadata(platform.layout.deduplicated_table(project))
        if not force and _is_current(platform, project, inputs):
            # A stage left behind by a filter run that changed nothing, or by a kill between file and row.
            _move(platform, project, ProjectStage.DEDUPING, only_from={ProjectStage.DEDUP_READY})
            _move(platform, project, ProjectStage.DETECT_READY, only_from={ProjectStage.DEDUPING}, error=None)
            return _outcome(platform, project, OutcomeStatus.REUSED)
        _move(platform, project, ProjectStage.DEDUPING)
        try:
            _write_table(platform, project, inputs, {} if force else earlier)
        except Exception as error:
            _move(platform, project, ProjectStage.FAILED, error=str(error))
            raise
        _move(platform, project, ProjectStage.DETECT_READY, error=None)
        return _outcome(platform, project, OutcomeStatus.DONE)


def check_deduplication(platform: Platform, project: str, *, sample_size: int | None = None) -> GuaranteeReport:
    """Compare the stored vectors of a project's frames again and report whether both guarantees hold.

    Args:
        platform: of the project.
        project: one that has been deduplicated.
        sample_size: compare only so many representatives with all others; None compares all.

    Raises:
        DataMinerError: there is no such project, it has not been deduplicated, or its embeddings are gone.
    """
    inputs = _read_inputs(platform, project)
    path = platform.layout.deduplicated_table(project)
    if inputs is None or not path.exists():
        raise ConfigError(f"{project} has not been deduplicated; materialize deduplicated_frames of {project} first")
    decided = read_table(path).sort_by("quality_rank")
    foreign = _foreign_representatives(platform, inputs.config)
    leaders, newcomers = _vectors_of(platform, inputs.encoder, foreign, decided)
    is_foreign = pc.equal(decided["tier"], DuplicateTier.OTHER_PROJECT.value).fill_null(False)
    named = decided["representative_frame_id"]
    ids = pc.if_else(
        is_foreign,
        pc.index_in(named, foreign["frame_id"].combine_chunks()),
        pc.add(pc.index_in(named, decided["frame_id"].combine_chunks()), len(foreign)),
    )
    return verify_guarantees(
        leaders, newcomers, ids.to_numpy().astype(np.int64), inputs.threshold, sample_size=sample_size
    )


# --- what it is made from ---


def _read_inputs(platform: Platform, project: str) -> _Inputs | None:
    config = platform.project_config(project)
    filtered_fingerprint = read_fingerprint(platform.layout.filtered_table(project))
    if filtered_fingerprint is None:
        return None
    encoder = choose_encoder(platform, config.deduplication.encoder)
    threshold = config.deduplication.threshold
    basis = {
        "version": ALGORITHM_VERSION,
        "deduplication": config.deduplication.model_dump(mode="json"),
        "threshold": threshold if threshold is not None else encoder.duplicate_threshold,
        "encoder": encoder.fingerprint,
        "filtering": config.filtering.model_dump(mode="json"),
        "filter_encoder": platform.models.filter_encoder_fingerprint,
        "against": {
            other: _foreign_fingerprint(platform, project, other) for other in config.deduplication.against_projects
        },
    }
    return _Inputs(
        config=config,
        encoder=encoder,
        threshold=threshold if threshold is not None else encoder.duplicate_threshold,
        filtered_fingerprint=filtered_fingerprint,
        basis=fingerprint_of(basis),
    )


def _foreign_fingerprint(platform: Platform, project: str, other: str) -> str:
    # Two projects that give way to each other would never settle.
    _check_no_circle(platform, project, other)
    fingerprint = read_fingerprint(platform.layout.deduplicated_table(other))
    if fingerprint is None:
        raise ConfigError(
            f"deduplication.against_projects of {project} names {other!r}, which has not been deduplicated; "
            f"materialize deduplicated_frames of {other} first"
        )
    return fingerprint


def _check_no_circle(platform: Platform, project: str, other: str) -> None:
    seen: set[str] = set()
    open_names = [other]
    while open_names:
        name = open_names.pop()
        if name == project:
            raise ConfigError(
                f"deduplication.against_projects of {project} leads back to it through {other}; take one out"
            )
        if name not in seen:
            seen.add(name)
            open_names += platform.project_config(name).deduplication.against_projects


def _is_current(platform: Platform, project: str, inputs: _Inputs) -> bool:
    stored = read_metadata(platform.layout.deduplicated_table(project))
    return stored.get(_FINGERPRINT) == inputs.fingerprint(stored.get("earlier", ""))


def _kept_frames(platform: Platform, project: str) -> pa.Table:
    """Return the frames kept by filtering, by frame id, with what is known of them as pictures."""
    filtered = read_table(
        platform.layout.filtered_table(project),
        ["frame_id", "video_key", "frame_index", "positive_similarity", "is_kept"],
    )
    return _with_pictures(platform, filtered.filter(filtered["is_kept"]).drop_columns(["is_kept"]))


def _foreign_representatives(platform: Platform, config: ProjectConfig) -> pa.Table:
    """Return the representatives of the other projects, each frame once, by frame id."""
    columns = ["frame_id", "video_key", "frame_index"]
    tables = [_no_frames().select(columns)]
    for other in config.deduplication.against_projects:
        decided = read_table(platform.layout.deduplicated_table(other), [*columns, "is_representative"])
        tables.append(decided.filter(decided["is_representative"]).select(columns))
    return _with_pictures(platform, _stacked(tables).group_by(columns).aggregate([]))


def _no_frames() -> pa.Table:
    return pa.schema([FRAMES_SCHEMA.field(name) for name in _PICTURE_COLUMNS]).empty_table()


def _with_pictures(platform: Platform, frames: pa.Table) -> pa.Table:
    """Return the same rows, by frame id, with what the manifests of their videos say of them as pictures."""
    wanted = frames["frame_id"].combine_chunks()
    columns = ["frame_id", "sha256", "perceptual_hash", "sharpness", "width", "height"]
    manifests = [FRAMES_SCHEMA.empty_table().select(columns)]
    for video_key in sorted(pc.unique(frames["video_key"]).to_pylist()):
        manifest = read_table(platform.layout.frames_table(video_key), columns).cast(manifests[0].schema)
        manifests.append(manifest.filter(pc.is_in(manifest["frame_id"], wanted)))
    pictures = _stacked(manifests).combine_chunks()
    rows = pc.index_in(frames["frame_id"], pictures["frame_id"].combine_chunks())
    if rows.null_count:
        missing = frames["frame_id"].filter(pc.is_null(rows))[0]
        raise PermanentError(f"frame {missing} was filtered and is gone since; materialize filtered_frames again")
    pictures = pictures.take(rows)
    for name in ("sha256", "perceptual_hash", "sharpness"):
        frames = frames.append_column(name, pictures[name])
    num_pixels = pc.multiply(pictures["width"].cast(pa.int64()), pictures["height"].cast(pa.int64()))
    return frames.append_column("num_pixels", num_pixels).sort_by("frame_id").combine_chunks()


# --- the work ---


def _write_table(platform: Platform, project: str, inputs: _Inputs, stored: Mapping[str, str]) -> None:
    frames = _kept_frames(platform, project)
    video_fingerprints = _frames_fingerprints(platform, frames)
    continues = stored.get("basis") == inputs.basis
    earlier = _standing_decisions(platform, project, frames, video_fingerprints, stored) if continues else _NO_DECISIONS
    last_generation = int(stored["generation"]) if continues else -1

    positions = pc.index_in(frames["frame_id"], earlier["frame_id"].combine_chunks())
    generations = pc.fill_null(earlier["generation"].take(positions), last_generation + 1)
    frames = frames.append_column("generation", generations.cast(pa.int32()))
    frames = frames.take(quality_order(frames)).combine_chunks()

    # Newcomers are of the last generation, so they come after all that stands.
    standing, newcomers = frames.slice(0, len(earlier)), frames.slice(len(earlier))
    standing_decisions = earlier.take(pc.index_in(standing["frame_id"], earlier["frame_id"].combine_chunks()))
    representatives = standing.filter(standing_decisions["is_representative"])
    foreign = _foreign_representatives(platform, inputs.config) if len(newcomers) else _no_frames()
    decisions = _decide(platform, inputs, foreign, representatives, newcomers)

    table = _stacked([standing_decisions.select(_DECISION_SCHEMA.names), decisions])
    for name in ("frame_id", "video_key", "frame_index", "generation"):
        table = table.append_column(name, frames[name])
    table = table.append_column("quality_rank", pa.array(np.arange(len(frames), dtype=np.int32)))
    write_table(
        platform.layout.deduplicated_table(project),
        table.select(DEDUPLICATED_SCHEMA.names).cast(DEDUPLICATED_SCHEMA).sort_by("frame_id").combine_chunks(),
        fingerprint=inputs.fingerprint(stored[_FINGERPRINT] if continues else ""),
        metadata={
            "basis": inputs.basis,
            "earlier": stored[_FINGERPRINT] if continues else "",
            "generation": str(last_generation + 1 if len(newcomers) else max(last_generation, 0)),
            "frames": json.dumps(video_fingerprints, sort_keys=True),
            "encoder": inputs.encoder.name,
            "threshold": repr(inputs.threshold),
            "num_newcomers": str(len(newcomers)),
        },
    )


def _frames_fingerprints(platform: Platform, frames: pa.Table) -> dict[str, str]:
    keys = sorted(pc.unique(frames["video_key"]).to_pylist())
    return {key: read_fingerprint(platform.layout.frames_table(key)) or "" for key in keys}


def _standing_decisions(
    platform: Platform,
    project: str,
    frames: pa.Table,
    video_fingerprints: Mapping[str, str],
    stored: Mapping[str, str],
) -> pa.Table:
    """Return the earlier rows that are still true, by frame id.

    Their frame is still kept and still the same picture, and so is the representative they name. A frame whose
    representative is gone is decided again, among the newcomers.
    """
    decided = read_table(platform.layout.deduplicated_table(project))
    unchanged = [key for key, value in json.loads(stored["frames"]).items() if video_fingerprints.get(key) == value]
    is_alive = pc.and_(
        pc.is_in(decided["frame_id"], frames["frame_id"].combine_chunks()),
        pc.is_in(decided["video_key"], pa.array(unchanged, pa.string())),
    )
    alive = decided.filter(is_alive)
    is_supported = pc.or_(
        pc.is_in(alive["representative_frame_id"], alive["frame_id"].combine_chunks()),
        pc.equal(alive["tier"], DuplicateTier.OTHER_PROJECT.value).fill_null(False),
    )
    return alive.filter(is_supported).combine_chunks()


def _decide(
    platform: Platform, inputs: _Inputs, foreign: pa.Table, representatives: pa.Table, newcomers: pa.Table
) -> pa.Table:
    """Return `_DECISION_SCHEMA` rows of the newcomers, in their order."""
    if not len(newcomers):
        return _DECISION_SCHEMA.empty_table()
    known = _stacked([foreign.select(_PICTURE_COLUMNS), representatives.select(_PICTURE_COLUMNS)])
    leader_vectors, vectors = _vectors_of(platform, inputs.encoder, known, newcomers)
    index = FaissIndex(vectors.shape[1])
    assignment = find_representatives(leader_vectors, vectors, inputs.threshold, index)

    named = _stacked([known, newcomers.select(_PICTURE_COLUMNS)]).take(assignment.representative_ids)
    is_representative = assignment.is_representative
    pairs = newcomers.select(_PICTURE_COLUMNS)
    for name in _PICTURE_COLUMNS:
        pairs = pairs.append_column(f"representative_{name}", named[name])
    pairs = pairs.append_column("is_foreign", pa.array(assignment.representative_ids < len(foreign)))
    tiers = np.full(len(newcomers), None, object)
    tiers[~is_representative] = tiers_of(
        pairs.filter(pa.array(~is_representative)),
        max_hash_distance=inputs.config.deduplication.perceptual_hash_distance,
    )
    return pa.table(
        {
            "is_representative": is_representative,
            "representative_frame_id": named["frame_id"],
            "similarity": pa.array(assignment.similarities.astype(np.float32), mask=is_representative),
            "tier": pa.array(tiers, pa.string()),
        },
        schema=_DECISION_SCHEMA,
    )


def _vectors_of(
    platform: Platform, encoder: EncoderChoice, leaders: pa.Table, newcomers: pa.Table
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
    vectors = read_frame_vectors(platform, encoder, newcomers)
    if not len(leaders):
        return np.zeros((0, vectors.shape[1]), np.float16), vectors
    leader_vectors = read_frame_vectors(platform, encoder, leaders)
    return leader_vectors, vectors if len(newcomers) else np.zeros((0, leader_vectors.shape[1]), np.float16)


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    # The same columns; one table may allow nulls where another does not.
    return pa.concat_tables(tables, promote_options="permissive")


# --- what became of it ---


def _outcome(platform: Platform, project: str, status: OutcomeStatus) -> ProjectOutcome:
    path = platform.layout.deduplicated_table(project)
    stored = read_metadata(path)
    decided = read_table(path, ["is_representative", "tier"])
    num_by_tier = Counter(decided["tier"].to_pylist())
    counts = {"frames": len(decided), "representatives": num_by_tier[None]}
    counts |= {tier.value: num_by_tier[tier.value] for tier in DuplicateTier}
    metadata: dict[str, int | float | str] = {
        "encoder": stored["encoder"],
        "threshold": float(stored["threshold"]),
        "generation": int(stored["generation"]),
        "num_newcomers": int(stored["num_newcomers"]),
    }
    return ProjectOutcome(project, status, stored[_FINGERPRINT], counts, metadata)


def _move(
    platform: Platform,
    project: str,
    stage: ProjectStage,
    *,
    only_from: Collection[ProjectStage] | None = None,
    **values: str | None,
) -> bool:
    with platform.catalog.database.transaction() as session:
        return move_project(session, project, stage, only_from=only_from, **values)
