"""Deduplicate one project: choose representatives among the frames that filtering kept.

Frames are ordered by generation, then by quality: frames of videos that were part of an earlier release come first. The
result therefore depends on the frames, the settings, people's verdicts and the releases, but not on the runs in
between. Decisions that cannot have changed form a prefix of this order, and are copied from the existing table. If all
earlier videos have been released, adding videos costs only the comparison of their frames with the representatives.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note
from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import DEDUPLICATED_SCHEMA, REUPLOADS_SCHEMA
from data_miner_dagster.domain.versions import DEDUPLICATION_VERSION
from data_miner_dagster.index.faiss_index import FaissHashIndex
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.deduplication.distinctions import distinctions_of
from data_miner_dagster.operations.deduplication.frames import (
    PICTURE_COLUMNS,
    appearances_of,
    kept_frames,
    newcomers_tiers,
    of_width,
    representative_vectors,
    stack_vectors,
    stacked,
)
from data_miner_dagster.operations.deduplication.others import foreign_fingerprints, foreign_frames
from data_miner_dagster.operations.deduplication.search import SearchKind, choose_search
from data_miner_dagster.operations.deduplication.verdicts import PairVerdicts, pair_verdicts
from data_miner_dagster.operations.embedding.vectors import (
    duplicate_threshold,
    read_frame_vectors,
)
from data_miner_dagster.operations.left_out import as_metadata, going_on_without, read_left_out, record_left_out
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage, require_table
from data_miner_dagster.operations.split_memory import remembered_generations
from data_miner_dagster.operations.stage_versions import record_stage_versions
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives
from data_miner_dagster.stages.deduplication.guarantees import verify_guarantees
from data_miner_dagster.stages.deduplication.leaders import find_representatives, quality_order, standing_prefix
from data_miner_dagster.stages.deduplication.reuploads import find_reuploads
from data_miner_dagster.stages.thresholds import check_same_scale
from data_miner_dagster.storage.frames import frames_identity
from data_miner_dagster.storage.tables import (
    FINGERPRINT_KEY,
    FRAMES_KEY,
    read_fingerprint,
    read_metadata,
    read_table,
    table_from_rows,
    write_table,
)
from data_miner_dagster.storage.vectors import StoredRepresentatives, write_representatives

_UNNAMED: Final = "unnamed_values"
"""Metadata key of thresholds that do not name an encoder: the next run must know which encoder they were set for."""
_FINGERPRINT: Final = FINGERPRINT_KEY.decode()
_DECISION_SCHEMA: Final = pa.schema(
    [DEDUPLICATED_SCHEMA.field(name) for name in ("is_representative", "representative_frame_id", "similarity", "tier")]
)
FOREIGN_TIERS: Final = pa.array([DuplicateTier.OTHER_PROJECT.value, DuplicateTier.EARLIER_RELEASE.value])
SAMPLE_SIZE: Final = 2000
"""How many representatives are compared with all earlier ones when comparing all pairs is too expensive."""
_UNRELEASED: Final = 1 << 31
_NO_DECISIONS: Final = DEDUPLICATED_SCHEMA.empty_table()


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a project's deduplicated table."""

    config: ProjectConfig
    encoder: EncoderRole
    threshold: float
    filtered_fingerprint: str
    basis: str  # decisions on the same frames in the same order stay valid while this is unchanged
    generations: Mapping[str, int]  # by video, for every video with a kept frame; counted from 0 without gaps
    verdicts: PairVerdicts

    def fingerprint(self, left_out: Collection[str] = ()) -> str:
        """Return the fingerprint of the table for these inputs without the videos in `left_out`."""
        content = {"basis": self.basis, "filtered": self.filtered_fingerprint, "generations": dict(self.generations)}
        return fingerprint_of({**content, "left_out": sorted(left_out)} if left_out else content)


def deduplicate_project(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """Write deduplicated.parquet: one row per frame that filtering kept, with its representative.

    A table that was made from the same inputs stays unchanged. With `force`, all frames are compared again, with the
    same result. Videos whose frames or embeddings are missing or unreadable are left out, counted, and marked in their
    membership. The next run examines these videos again.

    Raises:
        ConfigError: the project does not exist, or a project to compare with has not been deduplicated.
        NotReadyError: the project has not been filtered.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
        DataMinerError: deduplication failed. The project is then FAILED, with the reason.
    """
    with project_stage(platform, project, ProjectStage.DEDUPLICATION) as stage:
        inputs = read_inputs(platform, project)
        earlier = read_metadata(platform.layout.deduplicated_table(project))
        if not force and _is_current(platform, project, inputs):
            return _outcome(platform, project, OutcomeStatus.REUSED)
        stage.begin()
        _check_threshold(inputs, earlier)
        # Decisions made while videos were left out are made again, because their frames may be available now.
        is_without = bool(read_left_out(platform.layout.deduplicated_table(project)))
        write = partial(_write_table, platform, project, inputs, {} if force or is_without else earlier)
        _, left_out = going_on_without(write)
        record_left_out(platform, project, left_out)
        return _outcome(platform, project, OutcomeStatus.DONE)


# --- inputs ---


def read_inputs(platform: Platform, project: str) -> Inputs:
    """Return the inputs of a project's deduplicated table.

    Raises:
        NotReadyError: the project has not been filtered.
        ConfigError: the project does not exist, a project to compare with has not been deduplicated, a release to
            compare with never existed, or no threshold is set for the project's encoder.
        PermanentError: the images table of a release to compare with is damaged.
        ModelError: the weights of the encoder are missing.
    """
    config = platform.project_config(project)
    filtered_fingerprint = require_table(platform, project, ProjectStage.FILTERING)
    encoder = platform.models.encoder(config.deduplication.encoder)
    threshold = duplicate_threshold(config.deduplication, encoder)
    verdicts = pair_verdicts(platform, project)
    basis = {
        "version": DEDUPLICATION_VERSION,
        "deduplication": config.deduplication.model_dump(mode="json", exclude={"threshold"}),
        "threshold": threshold,
        "encoder": encoder.fingerprint,
        "against": foreign_fingerprints(platform, project, config.deduplication),
        **verdicts.content,
    }
    return Inputs(
        config=config,
        encoder=encoder,
        threshold=threshold,
        filtered_fingerprint=filtered_fingerprint,
        basis=fingerprint_of(basis),
        generations=project_generations(platform, project),
        verdicts=verdicts,
    )


def project_generations(platform: Platform, project: str) -> dict[str, int]:
    """Return the generation of every video with a kept frame, by key.

    A generation is the rank of a video's first release, counting from 0. Videos not yet released come last.
    """
    filtered = read_table(platform.layout.filtered_table(project), ["video_key", "is_kept"])
    keys = sorted(pc.unique(filtered.filter(filtered["is_kept"])["video_key"]).to_pylist())
    first_releases = remembered_generations(platform, project)
    ages = [first_releases.get(key, _UNRELEASED) for key in keys]
    places = {age: place for place, age in enumerate(sorted(set(ages)))}
    return {key: places[age] for key, age in zip(keys, ages, strict=True)}


def _check_threshold(inputs: Inputs, earlier: Mapping[str, str]) -> None:
    """Refuse a threshold that names no encoder if it was set for an encoder other than the current one.

    Raises:
        ConfigError: the encoder has changed, but the threshold has not.
    """
    if _UNNAMED in earlier:
        unnamed = _unnamed_threshold(inputs)
        check_same_scale(
            "deduplication", unnamed, inputs.encoder.name, earlier["encoder"], json.loads(earlier[_UNNAMED])
        )


def _unnamed_threshold(inputs: Inputs) -> dict[str, float]:
    given = inputs.config.deduplication.threshold
    return {"threshold": float(given)} if isinstance(given, int | float) else {}


def _is_current(platform: Platform, project: str, inputs: Inputs) -> bool:
    stored = read_metadata(platform.layout.deduplicated_table(project))
    reuploads = read_fingerprint(platform.layout.reuploads_table(project))
    return stored.get(_FINGERPRINT) == inputs.fingerprint() == reuploads


# --- the work ---


def _write_table(
    platform: Platform, project: str, inputs: Inputs, stored: Mapping[str, str], left_out: Mapping[str, str]
) -> None:
    frames = kept_frames(platform, project, left_out)
    video_fingerprints = _frames_fingerprints(platform, frames)
    generations = pa.array([inputs.generations[key] for key in frames["video_key"].to_pylist()], pa.int32())
    frames = frames.append_column("generation", generations)
    frames = frames.take(quality_order(frames, inputs.verdicts.chosen_frames(frames))).combine_chunks()

    standing_decisions = _NO_DECISIONS
    if stored.get("basis") == inputs.basis:
        frames_before: dict[str, str] = json.loads(stored["frames"])
        unchanged = [key for key, value in frames_before.items() if video_fingerprints.get(key) == value]
        decided_before = read_table(platform.layout.deduplicated_table(project))
        standing_decisions = standing_prefix(decided_before, frames["frame_id"], unchanged_videos=unchanged)
    standing, newcomers = frames.slice(0, len(standing_decisions)), frames.slice(len(standing_decisions))
    representatives = standing.filter(standing_decisions["is_representative"])
    note(Measured(num_frames=len(newcomers)))
    foreign, num_gone = foreign_frames(platform, inputs.config.deduplication, left_out)
    earlier_vectors = representative_vectors(
        platform, project, inputs.encoder, representatives, stored.get(_FINGERPRINT, "")
    )
    decided = _decide(platform, inputs, foreign, representatives, earlier_vectors, newcomers)

    table = _table_of(frames, stacked([standing_decisions.select(_DECISION_SCHEMA.names), decided.decisions]))
    fingerprint = inputs.fingerprint(left_out)
    new_ids = newcomers["frame_id"].filter(decided.decisions["is_representative"])
    write_representatives(
        platform.layout.representatives_file(project),
        StoredRepresentatives(
            frame_ids=np.asarray([*representatives["frame_id"].to_pylist(), *new_ids.to_pylist()], np.str_),
            vectors=stack_vectors([earlier_vectors, decided.representative_vectors]),
            fingerprint=fingerprint,
        ),
    )
    num_reuploads = _write_reuploads(platform, project, inputs, table, fingerprint)
    write_table(  # last, because it marks the work as done
        platform.layout.deduplicated_table(project),
        table,
        fingerprint=fingerprint,
        metadata={
            "basis": inputs.basis,
            "generation": str(max(inputs.generations.values(), default=0)),
            FRAMES_KEY: json.dumps(video_fingerprints, sort_keys=True),
            "encoder": inputs.encoder.name,
            "threshold": repr(inputs.threshold),
            _UNNAMED: json.dumps(_unnamed_threshold(inputs)),
            "num_newcomers": str(len(newcomers)),
            "num_reuploads": str(num_reuploads),
            "num_foreign_gone": str(num_gone),
            **decided.search,
            **as_metadata(left_out),
        },
    )


def _table_of(frames: pa.Table, decisions: pa.Table) -> pa.Table:
    """Return the table to store, from frames in order of quality and the decisions on them."""
    table = decisions
    for name in ("frame_id", "video_key", "frame_index", "generation"):
        table = table.append_column(name, frames[name])
    table = table.append_column("quality_rank", pa.array(np.arange(len(frames), dtype=np.int32)))
    return table.select(DEDUPLICATED_SCHEMA.names).cast(DEDUPLICATED_SCHEMA).sort_by("frame_id").combine_chunks()


def _write_reuploads(platform: Platform, project: str, inputs: Inputs, table: pa.Table, fingerprint: str) -> int:
    """Find and store the re-uploads among the videos. Return their number."""
    config = inputs.config.deduplication
    reuploads = find_reuploads(
        table, minimum_share=config.reupload_share, minimum_pictures=config.reupload_minimum_pictures
    )
    write_table(
        platform.layout.reuploads_table(project),
        table_from_rows(map(asdict, reuploads), REUPLOADS_SCHEMA),
        fingerprint=fingerprint,
    )
    return len(reuploads)


def _frames_fingerprints(platform: Platform, frames: pa.Table) -> dict[str, str]:
    keys = sorted(pc.unique(frames["video_key"]).to_pylist())
    found = {key: frames_identity(platform.layout, key) for key in keys}
    return {key: "" if identity is None else identity.fingerprint for key, identity in found.items()}


@dataclass(frozen=True, slots=True)
class _Decided:
    """The decisions on the newcomers, in order, with the vectors of new representatives and facts about the search."""

    decisions: pa.Table  # with the columns of `_DECISION_SCHEMA`
    representative_vectors: npt.NDArray[np.float16]  # vectors of the newcomers that became representatives
    search: Mapping[str, str]  # metadata: the kind of search, its parameters, its measured recall


def _decide(
    platform: Platform,
    inputs: Inputs,
    foreign: pa.Table,
    representatives: pa.Table,
    vectors_of_representatives: npt.NDArray[np.float16],
    newcomers: pa.Table,
) -> _Decided:
    config = inputs.config.deduplication
    own = representatives.select(PICTURE_COLUMNS)
    known = stacked([foreign, own.append_column("foreign_tier", pa.nulls(len(own), pa.string()))])
    vectors = read_frame_vectors(platform, inputs.encoder, newcomers)
    foreign_vectors = read_frame_vectors(platform, inputs.encoder, foreign)
    leader_vectors = of_width(stack_vectors([foreign_vectors, vectors_of_representatives]), vectors)
    vectors = of_width(vectors, leader_vectors)
    pictures = newcomers.select(PICTURE_COLUMNS)
    named = stacked([known, pictures.append_column("foreign_tier", pa.nulls(len(pictures), pa.string()))])
    appearances = appearances_of(named, config, distinctions_of(platform, config, inputs.verdicts, named))
    alike = AlikeRepresentatives(appearances, FaissHashIndex(config.perceptual_hash_distance))
    search = choose_search(leader_vectors, vectors, inputs.threshold, config)
    assignment = find_representatives(leader_vectors, vectors, inputs.threshold, search.index, alike=alike)
    recall = 1.0
    if search.kind is SearchKind.CLUSTERED:
        recall = verify_guarantees(
            leader_vectors,
            vectors,
            assignment.representative_ids,
            inputs.threshold,
            appearances=appearances,
            sample_size=SAMPLE_SIZE,
        ).recall

    tiers = newcomers_tiers(named, appearances, assignment)
    is_representative = assignment.is_representative
    decisions = pa.table(
        {
            "is_representative": is_representative,
            "representative_frame_id": named["frame_id"].take(assignment.representative_ids),
            "similarity": pa.array(assignment.similarities.astype(np.float32), mask=is_representative),
            "tier": pa.array(tiers, pa.string()),
        },
        schema=_DECISION_SCHEMA,
    )
    how = {"search": search.kind.value, "measured_recall": repr(round(recall, 6))}
    if search.kind is SearchKind.CLUSTERED:
        how |= {"num_clusters": str(search.num_clusters), "num_probes": str(search.num_probes)}
    return _Decided(decisions, vectors[is_representative], how)


# --- the outcome ---


def _outcome(platform: Platform, project: str, status: OutcomeStatus) -> ProjectOutcome:
    record_stage_versions(platform, project, deduplication=DEDUPLICATION_VERSION)
    path = platform.layout.deduplicated_table(project)
    stored = read_metadata(path)
    decided = read_table(path, ["is_representative", "tier"])
    num_by_tier = Counter(decided["tier"].to_pylist())
    counts = {"frames": len(decided), "representatives": num_by_tier[None]}
    counts |= {tier.value: num_by_tier[tier.value] for tier in DuplicateTier}
    if left_out := read_left_out(path):
        counts["left_out_videos"] = len(left_out)
    metadata: dict[str, int | float | str] = {
        "encoder": stored["encoder"],
        "threshold": float(stored["threshold"]),
        "generation": int(stored["generation"]),
        "num_newcomers": int(stored["num_newcomers"]),
        "num_reuploads": int(stored["num_reuploads"]),
        "num_foreign_gone": int(stored["num_foreign_gone"]),
        "search": stored["search"],
        "measured_recall": float(stored["measured_recall"]),
    }
    return ProjectOutcome(project, status, stored[_FINGERPRINT], counts, metadata)
