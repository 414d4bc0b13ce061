"""Stored similarities of candidates' pictures to prompts, so that the same comparison is not repeated."""

from dataclasses import asdict, dataclass

from sqlalchemy import select, update

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import PrescreeningRow, utc_now
from data_miner_dagster.catalog.writers import insert_absent


@dataclass(frozen=True, slots=True)
class PictureScore:
    """The similarity of a candidate's best picture to a prompt of its project."""

    similarity: float
    prompt: str
    num_pictures: int  # pictures that were compared


def read_scores(database: Database, project: str, fingerprint: str) -> dict[str, PictureScore]:
    """Return a project's stored similarities whose inputs had this fingerprint, by video key.

    The inputs include the prompts.
    """
    query = select(PrescreeningRow).where(
        PrescreeningRow.project_name == project, PrescreeningRow.fingerprint == fingerprint
    )
    with database.reading() as session:
        return {
            row.video_key: PictureScore(row.similarity, row.prompt, row.num_pictures) for row in session.scalars(query)
        }


def save_score(database: Database, project: str, video_key: str, score: PictureScore, fingerprint: str) -> None:
    """Store the similarity of a candidate. An earlier similarity is replaced."""
    key = {"project_name": project, "video_key": video_key}
    values = {**asdict(score), "fingerprint": fingerprint, "scored_at": utc_now()}
    with database.transaction() as session:
        if not insert_absent(session, PrescreeningRow, [{**key, **values}], returning="id"):
            session.execute(update(PrescreeningRow).filter_by(**key).values(**values))
