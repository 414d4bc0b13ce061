"""The pages of the review server, and the pictures on them.

A project's pages are rendered from the data of its desk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from data_miner_dagster.catalog.members import projects_wanting
from data_miner_dagster.catalog.projects import project_progress
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.keys import check_video_key, make_frame_id
from data_miner_dagster.domain.phrases import phrase_of_stage
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.records import BrowsedName, QueueCount
from data_miner_dagster.web.review.calibrating import question_of
from data_miner_dagster.web.review.desk import OpenDesk
from data_miner_dagster.web.review.pictures import FramePictures
from data_miner_dagster.web.review.requests import project_of, word_of
from data_miner_dagster.web.review.templating import page
from data_miner_dagster.web.review.wire import class_choices, item_json

MOST_VIDEOS_LISTED: Final = 60
GALLERY_PAGE: Final = 48
_MEASURING: Final = frozenset({ReviewQueue.RANDOM, ReviewQueue.NEAR_THRESHOLD, ReviewQueue.CALIBRATION})
"""Queues whose answers are measurements. They do not show a verifier's answers, which could bias the reviewer."""
_REPORT_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"


class Form(StrEnum):
    """The form in which the questions in a queue are shown."""

    BOXES = "boxes"  # one frame at a time
    GRID = "grid"  # many frames to keep or drop
    CALIBRATION = "calibration"  # a grid, with the threshold that follows from the answers
    GROUPS = "groups"  # a representative and its duplicates


@dataclass(frozen=True, slots=True)
class QueueText:
    """The title, description and form of a queue's page."""

    title: str
    about: str
    form: Form = Form.BOXES


QUEUE_TEXTS: Final = {
    ReviewQueue.STUDENT: QueueText(
        "A student disagrees",
        "Frames on which the network trained on the release disagrees with the release's annotations.",
    ),
    ReviewQueue.UNSURE: QueueText(
        "Unsure boxes",
        "Frames with a box that is neither sure nor ruled out. By default, the release excludes them until a person "
        "has reviewed them.",
    ),
    ReviewQueue.DISAGREEMENT: QueueText(
        "Detectors disagree", "Boxes that one detector of the ensemble detected and another did not."
    ),
    ReviewQueue.NEAR_THRESHOLD: QueueText(
        "Near the threshold",
        "Boxes whose confidence is close to the threshold of their class. Answers about them are especially useful.",
    ),
    ReviewQueue.RANDOM: QueueText(
        "Random sample",
        "Randomly selected frames. Label every object in them: only these answers measure how many objects are missed.",
    ),
    ReviewQueue.CALIBRATION: QueueText(
        "Filter threshold",
        "A random sample of frames on both sides of the text filter's threshold. The answers determine the threshold.",
        Form.CALIBRATION,
    ),
    ReviewQueue.FILTER: QueueText(
        "Kept or dropped?", "Frames just above or below the text filter's threshold.", Form.GRID
    ),
    ReviewQueue.DUPLICATES: QueueText(
        "Duplicates", "Frames that count as duplicates of the representative of their group.", Form.GROUPS
    ),
}
"""The text of each queue, in the order of the overview."""


@dataclass(frozen=True, slots=True)
class _Queue:
    """A queue with its text and its counts, as the overview lists it."""

    queue: str
    text: QueueText
    count: QueueCount


class Pages:
    """The routes that return pages and pictures."""

    def __init__(self, platform: Platform, open_desk: OpenDesk, pictures: FramePictures) -> None:
        self._platform = platform
        self._open_desk = open_desk
        self._pictures = pictures

    def projects(self, request: Request) -> Response:
        """List the projects. If there is only one, redirect to it."""
        found = project_progress(self._platform.database) if self._platform.has_catalog else []
        if len(found) == 1:
            return RedirectResponse(f"/projects/{found[0].name}", 303)
        rows = [{"name": row.name, "stage": phrase_of_stage(row.stage), "num_videos": row.num_members} for row in found]
        return _page(request, "projects.html.j2", projects=rows)

    def video(self, request: Request) -> Response:
        """List the projects that use a video, with links to its frames. If there is only one, redirect to its frames.

        Raises:
            HTTPException: no project uses the video (404).
            ConfigError: the key is not valid.
        """
        key = check_video_key(request.path_params["video_key"])
        wanting = projects_wanting(self._platform.database, [key]).get(key, ()) if self._platform.has_catalog else ()
        if not wanting:
            raise HTTPException(404)
        addresses = {name: f"/projects/{name}/gallery?{urlencode({'video': key})}" for name in wanting}
        if len(addresses) == 1:
            return RedirectResponse(addresses[wanting[0]], 303)
        return _page(request, "video.html.j2", video_key=key, addresses=addresses)

    def overview(self, request: Request) -> Response:
        """Show a project's queues and classes, and at most `MOST_VIDEOS_LISTED` of its videos.

        A search in the query string restricts the list to matching videos.

        Raises:
            ConfigError: the project does not exist.
        """
        project = project_of(request)
        desk = self._open_desk(project)
        counts = {count.queue: count for count in desk.queues()}
        queues = [_Queue(queue.value, text, counts[queue]) for queue, text in QUEUE_TEXTS.items() if queue in counts]
        sought = request.query_params.get("video", "").strip()
        videos = [video for video in desk.videos() if _is_found(video, sought)]
        return _page(
            request,
            "overview.html.j2",
            project=project,
            queues=queues,
            next_queue=next((row for row in queues if row.count.num_open), None),
            verdicts={word.value.replace("_", " "): number for word, number in desk.verdict_counts().items() if number},
            classes=_links(project, "class", desk.classes()),
            videos=_links(project, "video", videos[:MOST_VIDEOS_LISTED]),
            num_more_videos=max(0, len(videos) - MOST_VIDEOS_LISTED),
            sought=sought,
            why_nothing=printable(desk.why_nothing()),
            quiet_minutes=_minutes(self._platform.project_config(project).refresh.after_review_minutes),
            has_report=self._platform.layout.report_page(project).is_file(),
        )

    def queue(self, request: Request) -> Response:
        """Show the page of a queue, whose script fetches the questions.

        Raises:
            HTTPException: the queue has no page of its own (404).
            ConfigError: the queue or the project does not exist.
        """
        project = project_of(request)
        queue = word_of(ReviewQueue, request.path_params["queue"])
        text = QUEUE_TEXTS.get(queue)
        if text is None:
            raise HTTPException(404)
        query = request.query_params
        return self._questions(
            request, project, queue, text, {"class": query.get("class", ""), "video": query.get("video", ""), "key": ""}
        )

    def frame(self, request: Request) -> Response:
        """Show one frame with its boxes.

        Raises:
            HTTPException: the project has no such frame (404).
            ConfigError: the project does not exist.
        """
        project = project_of(request)
        frame_id = make_frame_id(request.path_params["video_key"], request.path_params["frame_index"])
        item = self._open_desk(project).item(ReviewQueue.BROWSING, frame_id)
        if item is None:
            raise HTTPException(404)
        text = QueueText(item.frame.video_title, "")
        chosen = {"class": "", "video": "", "key": item.key}
        return self._questions(request, project, ReviewQueue.BROWSING, text, chosen)

    def _questions(
        self, request: Request, project: str, queue: ReviewQueue, text: QueueText, chosen: dict[str, str]
    ) -> HTMLResponse:
        desk = self._open_desk(project)
        return _page(
            request,
            f"{text.form}.html.j2",
            project=project,
            queue=queue.value,
            text=text,
            chosen=chosen,
            classes=class_choices(desk.class_names),
            has_masks=text.form is Form.BOXES and desk.has_masks(),
            has_verifier=text.form is Form.BOXES and queue not in _MEASURING and desk.has_verifier_answers(),
            question=question_of(self._platform.project_config(project)),
        )

    def gallery(self, request: Request) -> Response:
        """Show one page of the frames of a class or video.

        Raises:
            ConfigError: the project, class or video does not exist, or the cursor is invalid.
        """
        project = project_of(request)
        query = request.query_params
        chosen = {name: query.get(name, "") for name in ("class", "video")}
        found = self._open_desk(project).page(
            ReviewQueue.BROWSING,
            class_name=chosen["class"] or None,
            video_key=chosen["video"] or None,
            cursor=query.get("cursor") or None,
            size=GALLERY_PAGE,
        )
        following = {**chosen, "cursor": found.next_cursor or ""}
        return _page(
            request,
            "gallery.html.j2",
            project=project,
            title=chosen["class"] or (found.items[0].frame.video_title if found.items else chosen["video"]),
            frames=[item_json(item)["frame"] for item in found.items],
            num_open=found.num_open,
            is_first="cursor" not in query,
            first_address=f"/projects/{project}/gallery?{urlencode(chosen)}",
            next_address=f"/projects/{project}/gallery?{urlencode(following)}" if found.next_cursor else None,
        )

    def report(self, request: Request) -> Response:
        """Show the report of a project's latest release, which can also be opened from disk.

        Raises:
            HTTPException: the project has no report (404).
        """
        try:
            html = self._platform.layout.report_page(project_of(request)).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise HTTPException(404) from None
        return HTMLResponse(html, headers={"content-security-policy": _REPORT_POLICY})

    def picture(self, request: Request) -> Response:
        """Return the picture of a frame as a JPEG, at small size if the query string contains `small`.

        Raises:
            HTTPException: the frame does not exist, or its file is missing or damaged (404).
        """
        found = self._pictures.picture(
            request.path_params["video_key"],
            request.path_params["frame_index"],
            is_small="small" in request.query_params,
        )
        if found is None:
            raise HTTPException(404)
        headers = {"cache-control": "private, max-age=600", "content-security-policy": "default-src 'none'; sandbox"}
        return Response(found.content, media_type="image/jpeg", headers=headers)


def _page(request: Request, template: str, **values: object) -> HTMLResponse:
    return page(template, values, who=request.scope["session"].who)


def _links(project: str, kind: str, names: Sequence[BrowsedName]) -> list[dict[str, object]]:
    return [
        {
            "title": name.title,
            "num_frames": name.num_frames,
            "address": f"/projects/{project}/gallery?{urlencode({kind: name.name})}",
        }
        for name in names
    ]


def _is_found(video: BrowsedName, sought: str) -> bool:
    return sought.casefold() in f"{video.title}\n{video.name}".casefold()


def _minutes(minutes: float) -> str:
    return f"{minutes:g}" if minutes else ""
