"""Write filtered.parquet: the frames that a project keeps, and the reasons for dropping the others.

Similarities are written first, then decisions, each file atomically. Statuses and counts follow in one transaction of
the catalog. Current files are not rewritten. If a kill left the catalog out of date, the next run updates it.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.transitions import move_project_videos
from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import DropReason
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus
from data_miner_dagster.domain.tables import FILTERED_SCHEMA
from data_miner_dagster.domain.versions import FILTERING_VERSION, SCORING_VERSION
from data_miner_dagster.operations.exemplars import exemplars_of
from data_miner_dagster.operations.filtering.drift import read_drift
from data_miner_dagster.operations.filtering.scoring import score_project, similarities_fingerprint, similarities_header
from data_miner_dagster.operations.filtering.verdicts import frame_verdicts, verdict_codes
from data_miner_dagster.operations.left_out import as_metadata, going_on_without
from data_miner_dagster.operations.members import ProjectMembers, failures_by_kind, project_members
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage
from data_miner_dagster.operations.prompts import WantedPrompts
from data_miner_dagster.operations.stage_versions import record_stage_versions
from data_miner_dagster.stages.filtering.decisions import (
    KEPT,
    REASONS,
    Decisions,
    FilteringRules,
    PromptRule,
    decide,
    resolve_rules,
    unnamed_values,
)
from data_miner_dagster.stages.filtering.histograms import count_similarities, histogram_line
from data_miner_dagster.stages.thresholds import check_same_scale
from data_miner_dagster.storage.atomic import sweep_partials
from data_miner_dagster.storage.similarities import (
    SimilaritiesHeader,
    SimilaritiesPart,
    read_parts,
    similarity_values,
)
from data_miner_dagster.storage.tables import read_batches, read_fingerprint, read_metadata, table_writer
from data_miner_dagster.storage.verdicts import as_table_metadata, verdicts_fingerprint, verdicts_on

_SETTINGS_KEY: Final = "data_miner.filtering"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DecisionBasis:
    """The inputs to the decisions to keep or drop frames."""

    header: SimilaritiesHeader
    rules: FilteringRules
    verdicts: Mapping[tuple[str, float], bool] = field(default_factory=dict)
    """People's verdicts on frames, by video key and time in seconds: True for keep, False for drop."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the decisions. It covers the verdicts only if there are any."""
        return fingerprint_of(
            {
                "version": FILTERING_VERSION,
                "similarities": similarities_fingerprint(self.header),
                "rules": asdict(self.rules),
                **({"verdicts": verdicts_fingerprint(self.verdicts)} if self.verdicts else {}),
            }
        )


def filter_project(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """Decide on every frame of every member that has frames and current embeddings, and write the decisions.

    Other members are left out and counted until they are ready. Current tables are reused unless `force` is set. A
    model is loaded only for new prompts, new exemplars, or frames that a separate encoder for exemplars has not
    embedded.

    Raises:
        ConfigError: the project does not exist, the thresholds were set for another encoder or are missing for this
            one, or an exemplar cannot be read.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
        ModelError: the weights of an encoder are missing.
        NotReadyError: an earlier stage of the project is not done.
    """
    config = platform.project_config(project).filtering
    with project_stage(platform, project, ProjectStage.FILTERING) as stage:
        sweep_partials(platform.layout.project_folder(project))
        path = platform.layout.filtered_table(project)
        _check_encoder(platform, config, path)
        rules = resolve_rules(config, platform.models.filter_encoder.name, platform.models.filter_encoder.calibration)
        wanted = WantedPrompts(config, exemplars_of(platform, project, config))
        given, all_members = frame_verdicts(platform, project), project_members(platform, project)
        _tell_left_out(project, all_members)

        def decide_all(left_out: Mapping[str, str]) -> _Decided:
            members = all_members.without(left_out)
            header = similarities_header(platform, wanted, members.ready)
            basis = DecisionBasis(header, rules, verdicts_on(given, [video.video_key for video in header.videos]))
            if not force and read_fingerprint(path) == basis.fingerprint:
                return _Decided(OutcomeStatus.REUSED, members, basis)
            stage.begin()
            similarities = platform.layout.similarities_table(project)
            num_scored = score_project(platform, similarities, header, members.ready, wanted, force=force)
            settings = _settings(platform, config) | as_metadata(left_out) | as_table_metadata(basis.verdicts)
            _write_decisions(similarities, path, basis, settings)
            return _Decided(OutcomeStatus.DONE, members, basis, num_scored)

        decided, _ = going_on_without(decide_all)
        tally = _read_tally(path)
        record_stage_versions(platform, project, scoring=SCORING_VERSION, filtering=FILTERING_VERSION)
        _finish_members(platform, project, decided.members, tally)
        if decided.status is OutcomeStatus.DONE:
            note(Measured(num_frames=tally.num_frames))
        stage.counts = {"frames": tally.num_frames, "filtered": sum(tally.kept_by_video.values())}
        return ProjectOutcome(
            project=project,
            status=decided.status,
            fingerprint=decided.basis.fingerprint,
            counts=_counts(decided.members, tally),
            metadata={
                "encoder": platform.models.filter_encoder.name,
                "positive_threshold": max(rule.threshold or 0.0 for rule in rules.positive),
                "positive_similarities": histogram_line(tally.similarities),
                "videos": len(decided.members.ready),
                "videos_scored": decided.num_scored,
                **({"verdicts": len(decided.basis.verdicts)} if decided.basis.verdicts else {}),
                **_drift_metadata(platform, project, config),
                **_exemplar_metadata(wanted),
            },
        )


def _exemplar_metadata(wanted: WantedPrompts) -> dict[str, str]:
    line = "; ".join(f"{text}: {', '.join(one.name for one in beside)}" for text, beside in wanted.exemplars.items())
    return {"exemplars": line} if line else {}


@dataclass(frozen=True, slots=True)
class _Decided:
    """Whether this run wrote the table of decisions or reused it, with the members and inputs of the table."""

    status: OutcomeStatus
    members: ProjectMembers
    basis: DecisionBasis
    num_scored: int = 0  # videos that this run compared with the prompts


# --- thresholds belong to an encoder ---


def _settings(platform: Platform, config: FilteringConfig) -> dict[str, str]:
    """Return the metadata for the next run: the encoder, and the thresholds and margins that do not name an encoder."""
    content = {"encoder": platform.models.filter_encoder.name, "unnamed_values": unnamed_values(config)}
    return {_SETTINGS_KEY: json.dumps(content, sort_keys=True, ensure_ascii=False)}


def _check_encoder(platform: Platform, config: FilteringConfig, path: Path) -> None:
    encoded = read_metadata(path).get(_SETTINGS_KEY)
    if encoded is not None:
        earlier = json.loads(encoded)
        encoder_name = platform.models.filter_encoder.name
        check_same_scale(
            "filtering", unnamed_values(config), encoder_name, earlier["encoder"], earlier["unnamed_values"]
        )


# --- files ---


def _write_decisions(similarities: Path, path: Path, basis: DecisionBasis, settings: Mapping[str, str]) -> None:
    with table_writer(
        path,
        FILTERED_SCHEMA,
        fingerprint=basis.fingerprint,
        metadata=settings,
        dictionary_columns=("video_key", "positive_prompt", "negative_prompt", "junk_prompt", "drop_reason"),
    ) as writer:
        for part in read_parts(similarities, basis.header):
            rows = _filtered_rows(part, basis.rules, decide_part(part, basis))
            writer.write_table(rows, row_group_size=rows.num_rows)


def decide_part(part: SimilaritiesPart, basis: DecisionBasis) -> Decisions:
    """Return the decisions on the frames in one part of the table of similarities."""
    return decide(
        {text: similarity_values(part.rows, text) for text in basis.header.texts},
        basis.rules,
        pts_seconds=part.rows.column("pts_seconds").to_numpy(),
        video_offsets=part.video_offsets,
        quality_reasons=_quality_reasons(part.rows.column("quality_flag")),
        verdicts=verdict_codes(part, basis.verdicts) if basis.verdicts else None,
    )


def _quality_reasons(flags: pa.ChunkedArray) -> npt.NDArray[np.int8]:
    codes = pc.index_in(flags, value_set=pa.array([reason.value for reason in REASONS]))
    reasons: npt.NDArray[np.int8] = pc.fill_null(codes, KEPT).to_numpy().astype(np.int8)
    return reasons


def _filtered_rows(part: SimilaritiesPart, rules: FilteringRules, decisions: Decisions) -> pa.Table:
    columns = {name: part.rows.column(name) for name in ("frame_id", "video_key", "frame_index", "pts_seconds")}
    for name, prompts, codes, similarities in (
        ("positive", rules.positive, decisions.positive_prompts, decisions.positive_similarities),
        ("negative", rules.negative, decisions.negative_prompts, decisions.negative_similarities),
        ("junk", rules.junk, decisions.junk_prompts, decisions.junk_similarities),
    ):
        columns[f"{name}_similarity"] = pa.array(similarities, pa.float32(), from_pandas=True)
        columns[f"{name}_prompt"] = _words(codes, [_text(rule) for rule in prompts])
    columns["is_kept"] = pa.array(decisions.is_kept)
    columns["drop_reason"] = _words(decisions.reasons, [reason.value for reason in REASONS])
    return pa.table(columns, schema=FILTERED_SCHEMA)


def _text(rule: PromptRule) -> str:
    return rule.text


def _words(codes: npt.NDArray[np.signedinteger], words: list[str]) -> pa.Array:
    """Return an array with the word for each code, and null for negative codes."""
    return pa.array(words, pa.string()).take(pa.array(codes, mask=codes < 0))


# --- counts ---


@dataclass(frozen=True, slots=True)
class _Tally:
    """The counts of frames in a filtered table, read from the table itself."""

    num_frames: int
    num_dropped: Mapping[DropReason, int]
    kept_by_video: Mapping[str, int]
    similarities: npt.NDArray[np.int64]  # histogram of the positive similarities


def _read_tally(path: Path) -> _Tally:
    num_frames = 0
    dropped: Counter[DropReason] = Counter()
    kept: Counter[str] = Counter()
    similarities = count_similarities(np.zeros(0))
    for rows in read_batches(path, ["video_key", "drop_reason", "positive_similarity"]):
        similarities += count_similarities(rows.column("positive_similarity").to_numpy(zero_copy_only=False))
        num_frames += rows.num_rows
        for entry in rows.column("drop_reason").drop_null().value_counts().to_pylist():
            dropped[DropReason(entry["values"])] += entry["counts"]
        kept_keys = rows.column("video_key").filter(rows.column("drop_reason").is_null())
        for entry in kept_keys.value_counts().to_pylist():
            kept[entry["values"]] += entry["counts"]
    return _Tally(num_frames, dropped, kept, similarities)


def _counts(members: ProjectMembers, tally: _Tally) -> dict[str, int]:
    counts = {"frames": tally.num_frames, "kept": sum(tally.kept_by_video.values())}
    counts |= {reason.value: tally.num_dropped[reason] for reason in DropReason if tally.num_dropped.get(reason)}
    counts |= {
        name: len(keys)
        for name, keys in (("not_embedded", members.not_embedded), ("unsettled", members.unsettled))
        if keys
    }
    return counts | {f"failed_{kind}": number for kind, number in failures_by_kind(members.failed).items()}


def _tell_left_out(project: str, members: ProjectMembers) -> None:
    if members.not_embedded:
        logger.warning(
            "project %s: %s left out for lack of current embeddings (the first is %s); the next build "
            "includes those that are embedded by then",
            project,
            counted(len(members.not_embedded), "video was", "videos were"),
            members.not_embedded[0],
        )


def _drift_metadata(platform: Platform, project: str, config: FilteringConfig) -> dict[str, int | float]:
    """Return metadata about the drift in the similarities of videos added after the last calibration.

    The result is empty if there is nothing to compare. If the similarities have drifted, a warning is logged.
    """
    drift = read_drift(platform, project, config)
    if drift is None:
        return {}
    if drift.is_drifted:
        logger.warning(
            "project %s: the similarities of %s in videos newer than its calibration have drifted (PSI %.2f, KS %.2f); "
            "run `data-miner review %s` and answer the questions under *Filter threshold*",
            project,
            counted(drift.num_frames, "frame"),
            drift.psi,
            drift.ks,
            project,
        )
    return {
        "drift_frames": drift.num_frames,
        "drift_psi": round(drift.psi, 4),
        "drift_ks": round(drift.ks, 4),
        "is_drifted": int(drift.is_drifted),
    }


# --- rows ---


def _finish_members(platform: Platform, project: str, members: ProjectMembers, tally: _Tally) -> None:
    """Update the members' rows in the catalog to match the table. Rows that already match stay unchanged."""
    wanted: dict[str, tuple[ProjectVideoStatus, int | None, str | None]] = {}
    for member in members.ready:
        num_kept = tally.kept_by_video.get(member.video_key, 0)
        status = ProjectVideoStatus.FILTERED if num_kept else ProjectVideoStatus.FILTERED_EMPTY
        wanted[member.video_key] = (status, num_kept, None)
    for failed in members.failed:
        kind = f"{failed.kind.value}: " if failed.kind is not None else ""
        wanted[failed.video_key] = (ProjectVideoStatus.FAILED, None, f"{kind}{failed.message}")
    for key in (*members.not_embedded, *members.unsettled):
        wanted[key] = (ProjectVideoStatus.PENDING, None, None)
    standing = {
        row.video_key: (row.status, row.num_passed_frames, row.reason)
        for row in find_members(platform.database, project)
    }
    differing = {key: target for key, target in wanted.items() if key in standing and standing[key] != target}
    with platform.database.transaction() as session:
        # Every status except PENDING is reached through FILTERING.
        started = [key for key, target in differing.items() if target[0] is not ProjectVideoStatus.PENDING]
        move_project_videos(session, project, ProjectVideoStatus.FILTERING, dict.fromkeys(started, (None, None)))
        for status in ProjectVideoStatus:
            targets = {key: target[1:] for key, target in differing.items() if target[0] is status}
            move_project_videos(session, project, status, targets)
