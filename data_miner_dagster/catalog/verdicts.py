"""People's verdicts: adding, undoing and finding them.

A verdict is in force unless it was undone, replaced by a person who saw it (`replaces`), or followed by a later verdict
on the same subject. If a verdict is about a box as corrected by an earlier verdict, the earlier one stays in force.
Adding, undoing or deleting a verdict raises the project's content version, so the project is rebuilt.

Belongs here: rows of verdicts. Does not belong here: applying verdicts (stages/), and choosing questions to ask
(operations/reviewing/).
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Select, Table, delete, func, or_, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.pending import raise_content_versions
from data_miner_dagster.catalog.schema import VerdictRow
from data_miner_dagster.catalog.writers import insert_absent
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ShownBox, Verdict, VerdictWord

_VERDICTS: Final = cast("Table", VerdictRow.__table__)
_ROWS_AT_A_TIME: Final = 1000
_SAME_SHARE: Final = 1e-6
"""Boxes whose edges differ by less than this fraction of the frame count as the same box."""


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A stored verdict. If it was undone, `undone_at` and `undone_by` say when and by whom.

    `number` increases in the order in which verdicts were stored.
    """

    number: int
    verdict: Verdict
    undone_at: datetime | None
    undone_by: str | None


def add_verdicts(database: Database, project: str, verdicts: Collection[Verdict]) -> int:
    """Store verdicts, and return how many of them are new. A verdict whose answer id is already stored is ignored."""
    if not verdicts:
        return 0
    num_added = 0
    rows = [_row(project, verdict) for verdict in {verdict.answer_id: verdict for verdict in verdicts}.values()]
    with database.transaction() as session:
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            part = rows[start : start + _ROWS_AT_A_TIME]
            num_added += len(insert_absent(session, VerdictRow, part, returning="id"))
        if num_added:
            raise_content_versions(session, [project])
    return num_added


def undo_verdict(database: Database, project: str, answer_id: str, *, who: str) -> bool:
    """Undo a verdict, so that a verdict that it superseded is in force again.

    Returns:
        False if the project has no such verdict or it was already undone.
    """
    with database.transaction() as session:
        is_it = (
            _VERDICTS.c.project_name == project,
            _VERDICTS.c.answer_id == answer_id,
            _VERDICTS.c.undone_at.is_(None),
        )
        values = {"undone_at": database.now(session), "undone_by": who}
        is_undone = bool(session.connection().execute(update(_VERDICTS).where(*is_it).values(values)).rowcount)
        if is_undone:
            raise_content_versions(session, [project])
        return is_undone


def verdicts_in_force(
    database: Database,
    project: str,
    *,
    words: Collection[VerdictWord] | None = None,
    video_keys: Collection[str] | None = None,
) -> list[Verdict]:
    """Return the verdicts of a project that are in force, oldest first.

    Args:
        database: the catalog.
        project: the name of the project.
        words: the words of the verdicts to return, or None for all words.
        video_keys: the videos whose verdicts to return, or None for all videos. A verdict on a pair of frames counts
            for the video of the first frame.
    """
    query = _of_project(project).where(_VERDICTS.c.undone_at.is_(None))
    with database.reading() as session:
        if video_keys is None:
            found = [(_stored(row).verdict, row.subject) for row in session.execute(query)]
        else:
            some = (query.where(_VERDICTS.c.video_key.in_(keys)) for keys in portions(video_keys))
            found = [(_stored(row).verdict, row.subject) for part in some for row in session.execute(part)]
            found.sort(key=lambda one: one[0].given_at)  # stable: the verdicts of each video are already in order
    return [verdict for verdict in _latest(found) if words is None or verdict.word in words]


def in_force(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts in force among `verdicts`, which must be sorted oldest first and include no undone ones."""
    return _latest([(verdict, verdict.subject) for verdict in verdicts])


def _latest(found: Sequence[tuple[Verdict, str]]) -> list[Verdict]:
    """Return the verdicts that are not superseded by a correction or by a later verdict on the same subject."""
    by_id = {verdict.answer_id: verdict for verdict, _ in found}
    replaced = {verdict.replaces for verdict, _ in found if not _is_on_what_it_made(verdict, by_id)}
    last = {subject: verdict.answer_id for verdict, subject in found}
    return [
        verdict
        for verdict, subject in found
        if verdict.answer_id not in replaced and last[subject] == verdict.answer_id
    ]


def _is_on_what_it_made(verdict: Verdict, by_id: Mapping[str, Verdict]) -> bool:
    """Return whether a verdict replaces an earlier one and is about the box as corrected by the earlier one.

    The earlier verdict then stays in force, because it alone identifies the detected box. Of the two,
    stages/reviewing/judging.py applies only the later one.
    """
    earlier = by_id.get(verdict.replaces or "")
    if earlier is None or earlier.final_box is None or verdict.shown is None or earlier.subject == verdict.subject:
        return False
    return verdict.shown.class_name == earlier.final_class_name and all(
        abs(one - other) < _SAME_SHARE for one, other in zip(verdict.shown.box, earlier.final_box, strict=True)
    )


def all_verdicts(database: Database, project: str) -> Iterator[StoredVerdict]:
    """Yield all verdicts of a project, including undone ones, oldest first."""
    with database.reading() as session:
        rows = session.execute(_of_project(project), execution_options={"yield_per": _ROWS_AT_A_TIME})
        yield from map(_stored, rows)


def find_verdict(database: Database, project: str, answer_id: str) -> StoredVerdict | None:
    """Return one verdict of a project, whether or not it is in force, or None if it does not exist."""
    with database.reading() as session:
        row = session.execute(_of_project(project).where(_VERDICTS.c.answer_id == answer_id)).one_or_none()
        return None if row is None else _stored(row)


def count_verdicts(database: Database, project: str) -> Mapping[VerdictWord, int]:
    """Return the number of a project's verdicts in force by word. Words without verdicts are omitted."""
    return Counter(verdict.word for verdict in verdicts_in_force(database, project))


def verdicts_version(database: Database, project: str) -> tuple[str, int, int]:
    """Return an (answer id of the last stored verdict, number of verdicts, number of undone verdicts) tuple.

    The tuple changes whenever a verdict of the project is added, undone or deleted. The last verdict has the highest
    row id, but SQLite reuses that id if the verdict is deleted, so the answer id identifies it.
    """
    is_own = _VERDICTS.c.project_name == project
    last = select(_VERDICTS.c.answer_id).where(is_own).order_by(_VERDICTS.c.id.desc()).limit(1)
    counts = select(func.count(), func.count(_VERDICTS.c.undone_at)).select_from(_VERDICTS).where(is_own)
    with database.reading() as session:
        num_verdicts, num_undone = session.execute(counts).one()
        return session.scalar(last) or "", int(num_verdicts), int(num_undone)


def last_said_at(database: Database, project: str) -> datetime | None:
    """Return when a verdict of a project was last given or undone, or None if the project has no verdicts."""
    query = select(func.max(_VERDICTS.c.given_at), func.max(_VERDICTS.c.undone_at))
    with database.reading() as session:
        times = session.execute(query.where(_VERDICTS.c.project_name == project)).one()
    return max((time for time in times if time is not None), default=None)


def delete_verdicts_of_videos(session: Session, video_keys: Collection[str]) -> None:
    """Delete all verdicts on frames of these videos, or on pairs that include such a frame, in every project."""
    projects: set[str] = set()
    for some in portions(video_keys):
        is_about = or_(_VERDICTS.c.video_key.in_(some), _VERDICTS.c.other_video_key.in_(some))
        projects.update(session.scalars(select(_VERDICTS.c.project_name).where(is_about).distinct()))
        session.execute(delete(_VERDICTS).where(is_about))
    raise_content_versions(session, projects)


def delete_verdicts_of_project(session: Session, project: str) -> None:
    """Delete all verdicts of one project."""
    session.execute(delete(_VERDICTS).where(_VERDICTS.c.project_name == project))


def count_verdicts_to_delete(database: Database, project: str) -> int:
    """Return the number of verdicts that `delete_verdicts_of_project` would delete."""
    query = select(func.count()).select_from(_VERDICTS).where(_VERDICTS.c.project_name == project)
    with database.reading() as session:
        return session.scalar(query) or 0


def _of_project(project: str) -> Select[Any]:
    query = select(_VERDICTS).where(_VERDICTS.c.project_name == project)
    return query.order_by(_VERDICTS.c.given_at, _VERDICTS.c.id)


def _row(project: str, verdict: Verdict) -> dict[str, object]:
    shown, other = verdict.shown, verdict.other_place
    return {
        "project_name": project,
        "answer_id": verdict.answer_id,
        "word": verdict.word,
        "subject": verdict.subject,
        "video_key": verdict.place.video_key,
        "pts_seconds": verdict.place.pts_seconds,
        "frame_id": verdict.frame_id,
        "other_video_key": other.video_key if other else None,
        "other_pts_seconds": other.pts_seconds if other else None,
        "other_frame_id": verdict.other_frame_id,
        "class_name": shown.class_name if shown else None,
        "box": list(shown.box) if shown else None,
        "detector": shown.detector if shown else None,
        "revision": shown.revision if shown else None,
        "confidence": shown.confidence if shown else None,
        "new_class_name": verdict.new_class_name,
        "new_box": list(verdict.new_box) if verdict.new_box else None,
        "queue": verdict.queue,
        "who": verdict.who,
        "given_at": verdict.given_at,
        "replaces": verdict.replaces,
    }


def _stored(row: Any) -> StoredVerdict:
    shown = None
    if row.box is not None:
        shown = ShownBox(row.class_name, _box(row.box), row.detector, row.revision, row.confidence)
    other = None
    if row.other_video_key is not None:
        other = FramePlace(row.other_video_key, row.other_pts_seconds)
    verdict = Verdict(
        answer_id=row.answer_id,
        word=row.word,
        place=FramePlace(row.video_key, row.pts_seconds),
        frame_id=row.frame_id,
        queue=row.queue,
        who=row.who,
        given_at=row.given_at,
        shown=shown,
        new_class_name=row.new_class_name,
        new_box=_box(row.new_box) if row.new_box is not None else None,
        other_place=other,
        other_frame_id=row.other_frame_id,
        replaces=row.replaces,
    )
    return StoredVerdict(row.id, verdict, row.undone_at, row.undone_by)


def _box(values: Sequence[float]) -> RelativeBox:
    x_min, y_min, x_max, y_max = values
    return x_min, y_min, x_max, y_max
