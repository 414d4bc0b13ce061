"""Import labels that were corrected in another annotation tool, and store them as verdicts.

Each returned image is compared with the boxes that were sent, as recorded beside an export or in a release.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.verdicts import add_verdicts, verdicts_in_force
from data_miner_dagster.domain.corrections import ReturnedImage
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.export.coco_returned import read_returned_coco
from data_miner_dagster.export.cvat import read_cvat
from data_miner_dagster.export.fiftyone import read_fiftyone
from data_miner_dagster.export.label_studio import read_label_studio
from data_miner_dagster.export.manifest import is_release
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import PERSON, ReleaseHeader, ReleaseImage
from data_miner_dagster.export.round_trips import box_ids, has_shown, read_shown, relative_box, shown_folder
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.standing import existing_version, release_header
from data_miner_dagster.stages.reviewing.corrections import SHARE_DECIMALS, Correction, SentBox, corrections

READERS: Final[Mapping[str, Callable[[Path], Iterator[ReturnedImage]]]] = {
    "label-studio": read_label_studio,
    "cvat": read_cvat,
    "fiftyone": read_fiftyone,
    "coco": read_returned_coco,
}
"""The values of `data-miner review import --from` for files of annotation tools, each with its reader."""
_SUFFIX: Final = re.compile(r"\.(jpe?g|png|webp|bmp)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sent:
    """The images and boxes that were sent to an annotation tool.

    `images_folder` contains the tables of an export or of a release.

    `revision` is the fingerprint of the detectors and the class list, or None if it is not recorded.
    """

    header: ReleaseHeader
    images_folder: Path
    revision: str | None = None

    def images(self) -> Iterator[ReleaseImage]:
        """Yield the images that were sent, with their boxes."""
        return read_images(self.images_folder)


@dataclass(frozen=True, slots=True)
class ReturnedFile:
    """A file that an annotation tool returned."""

    path: Path
    tool: str  # one of READERS
    who: str  # the annotator of images for which the file names no annotator
    all_reviewed: bool = False  # True if images count as examined by a person unless the file says otherwise


@dataclass(frozen=True, slots=True)
class RoundTripOutcome:
    """The result of importing a returned file."""

    num_reviewed: int  # images that a person has examined
    num_changed: int  # other images with changes; only the changes became verdicts
    num_untouched: int  # other images without changes, and images that nobody has examined according to the file
    num_not_returned: int  # images that were sent but are not in the file
    num_verdicts: int  # newly stored verdicts
    words: Mapping[VerdictWord, int]  # counts of new and known verdicts
    left_out: Mapping[str, str]  # images in the file that were not used, with the reason


def import_corrections(platform: Platform, project: str, file: ReturnedFile, sent: Sent) -> RoundTripOutcome:
    """Store the labels that an annotation tool returned as verdicts. Importing the same file again adds nothing.

    An image that a person has examined gets a verdict on each sent box, one on each drawn box, and one that states
    that the image is complete. If the file does not state whether an image was examined, only changes become verdicts,
    unless `file.all_reviewed` is set. An image gets no verdicts if the file states that it was not examined.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        file: the returned file.
        sent: the images and boxes that were sent (see `find_sent`).

    Raises:
        ConfigError: the project does not exist, the tool is not supported, the export belongs to another project, or
            the file cannot be read as a file of the tool.
    """
    platform.project_config(project)
    if file.tool not in READERS:
        raise ConfigError(f"`--from {file.tool}` is not a supported tool; use one of {', '.join(READERS)}")
    if sent.header.project != project:
        raise ConfigError(
            f"the export belongs to project {sent.header.project!r} rather than {project!r}; import the file into "
            f"{sent.header.project!r}"
        )
    returned = _Returned.of(READERS[file.tool](file.path))
    members = {member.video_key for member in find_members(platform.database, project)}
    verdicts = _Verdicts(sent, verdicts_in_force(platform.database, project), file.who, utc_now())
    counts = Counter[str]()
    for image in sent.images():
        found = returned.take(image)
        if found is None:
            counts["not returned"] += 1
            continue
        is_reviewed = found.is_reviewed is True or (file.all_reviewed and found.is_reviewed is None)
        if found.is_reviewed is False:
            counts["untouched"] += 1
        elif (why := _why_left_out(image, found, members, sent.header)) is not None:
            returned.left_out[found.name] = why
        else:
            has_changes = verdicts.add(image, found, is_reviewed=is_reviewed)
            counts["reviewed" if is_reviewed else "changed" if has_changes else "untouched"] += 1
    return RoundTripOutcome(
        num_reviewed=counts["reviewed"],
        num_changed=counts["changed"],
        num_untouched=counts["untouched"],
        num_not_returned=counts["not returned"],
        num_verdicts=add_verdicts(platform.database, project, verdicts.new),
        words=verdicts.words,
        left_out=returned.finish(),
    )


def find_sent(
    platform: Platform, project: str, file: Path, *, folder: Path | None = None, version: str | None = None
) -> Sent:
    """Return the images and boxes that were sent to an annotation tool.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        file: the returned file or folder. If neither `folder` nor `version` is given, the export or release is this
            folder, or the folder that contains the file.
        folder: the folder of the export or release that was sent.
        version: the version of the release that was sent. It takes precedence over `folder`.

    Raises:
        ConfigError: the export or release does not exist, the export's header is damaged, or `folder` and
            `version` are None and the file is in neither an export nor a release.
        DataMinerError: the manifest of the release is damaged.
    """
    if version is not None:
        return _of_release(platform.layout.release_folder(project, existing_version(platform, project, version)))
    places = [folder] if folder is not None else [file, file.parent]
    for place in places:
        if has_shown(place):
            header, revision = read_shown(place)
            return Sent(header, shown_folder(place), revision)
        if is_release(place):
            return _of_release(place)
    if folder is not None:
        raise ConfigError(
            f"{folder} is neither an export for an annotation tool nor a release; use --sent to give the folder of the "
            "export"
        )
    raise ConfigError(
        f"{file} is not in the folder of its export; give --sent FOLDER for an export, or --version VERSION for a "
        "release"
    )


def _of_release(folder: Path) -> Sent:
    return Sent(release_header(folder), folder)


@dataclass(slots=True)
class _Returned:
    """The images of a returned file that have not been taken yet, by frame id, or by name if they have no frame id."""

    by_frame: dict[str, ReturnedImage] = field(default_factory=dict)
    by_name: dict[str, ReturnedImage] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Iterator[ReturnedImage]) -> "_Returned":
        """Index the images of a file by frame id, or by name if they have no frame id.

        If an image occurs more than once, examined versions take precedence, and then the latest version.
        """
        returned = cls()
        for image in images:
            index, key = (
                (returned.by_frame, image.frame_id) if image.frame_id else (returned.by_name, _stem(image.name))
            )
            index[key] = max(image, index.get(key, image), key=_weight)
        return returned

    def take(self, image: ReleaseImage) -> ReturnedImage | None:
        """Remove and return the file's version of an image that was sent, or return None if the file lacks it."""
        return self.by_frame.pop(image.frame_id, None) or self.by_name.pop(_stem(image.file_name), None)

    def finish(self) -> dict[str, str]:
        """Return the reasons why images were left out, by name. Call this after all sent images have been taken."""
        foreign = (*self.by_frame.values(), *self.by_name.values())
        return self.left_out | {image.name: "it was not sent with this export" for image in foreign}


def _weight(image: ReturnedImage) -> tuple[bool, float]:
    return bool(image.is_reviewed), image.given_at.timestamp() if image.given_at else 0.0


def _stem(name: str) -> str:
    """Return the name of an image file without folders and suffix."""
    return _SUFFIX.sub("", name.replace("\\", "/").rpartition("/")[2])


def _why_left_out(image: ReleaseImage, found: ReturnedImage, members: set[str], header: ReleaseHeader) -> str | None:
    if image.video_key not in members:
        return "its video is no longer in the project"
    if found.unusable is not None:
        return f"it has {found.unusable}"
    unknown = sorted({box.class_name for box in found.boxes} - set(header.class_names))
    return f"it has the label {unknown[0]!r}, which is not a class of the export" if unknown else None


class _Verdicts:
    """A collection of the verdicts that follow from returned images.

    `new` contains the verdicts to store. `words` counts them together with equal verdicts already in force.
    """

    def __init__(self, sent: Sent, in_force: list[Verdict], who: str, now: datetime) -> None:
        self._sent = sent
        self._by_answer = {verdict.answer_id: verdict for verdict in in_force}
        self._by_subject = {verdict.subject: verdict for verdict in in_force}
        self._who = who
        self._now = now
        self.new: list[Verdict] = []
        self.words = Counter[VerdictWord]()

    def add(self, image: ReleaseImage, found: ReturnedImage, *, is_reviewed: bool) -> bool:
        """Add the verdicts that follow from one image. Return whether the image has changes.

        Unless `is_reviewed` is set, only changes become verdicts.
        """
        said = corrections(self._sent_boxes(image), found.boxes, (image.width, image.height))
        changes = [correction for correction in said if correction.is_change]
        for correction in said if is_reviewed else changes:
            self._add(image, found, correction)
        if is_reviewed:
            self._add(image, found, None)
        return bool(changes)

    def _sent_boxes(self, image: ReleaseImage) -> list[SentBox]:
        boxes = []
        for box_id, box in zip(box_ids(image), image.boxes, strict=True):
            shares = _rounded(relative_box(box, image))
            if box.detector == PERSON:
                shown = ShownBox(box.class_name, shares)
            else:
                shown = ShownBox(box.class_name, shares, box.detector, self._sent.revision, box.confidence)
            boxes.append(SentBox(box_id, box.class_name, shares, shown, self._by_answer.get(box.answer_id or "")))
        return boxes

    def _add(self, image: ReleaseImage, found: ReturnedImage, correction: Correction | None) -> None:
        """Add one verdict unless an equal one is in force. If `correction` is None, the verdict is COMPLETE."""
        verdict = self._verdict(image, found, correction, answer_id="")
        known = self._by_subject.get(verdict.subject)
        self.words[verdict.word] += 1
        if known is not None and _says_the_same(known, verdict):
            return
        content = {
            "project": self._sent.header.project,
            "subject": verdict.subject,
            "word": verdict.word.value,
            "class": verdict.new_class_name,
            "box": verdict.new_box,
            "who": verdict.who,
            "given_at": found.given_at.isoformat() if found.given_at else None,
            "after": known.answer_id if known is not None else None,
        }
        self.new.append(self._verdict(image, found, correction, answer_id=fingerprint_of(content)))

    def _verdict(
        self, image: ReleaseImage, found: ReturnedImage, correction: Correction | None, *, answer_id: str
    ) -> Verdict:
        return Verdict(
            answer_id=answer_id,
            word=correction.word if correction else VerdictWord.COMPLETE,
            place=FramePlace(image.video_key, image.pts_seconds),
            frame_id=image.frame_id,
            queue=ReviewQueue.IMPORTED,
            who=found.who or self._who,
            given_at=min(found.given_at or self._now, self._now),
            shown=correction.shown if correction else None,
            new_class_name=correction.new_class_name if correction else None,
            new_box=correction.new_box if correction else None,
            replaces=correction.replaces if correction else None,
        )


def _says_the_same(one: Verdict, other: Verdict) -> bool:
    return (one.word, one.new_class_name, one.new_box) == (other.word, other.new_class_name, other.new_box)


def _rounded(box: RelativeBox) -> RelativeBox:
    x_min, y_min, x_max, y_max = (round(value, SHARE_DECIMALS) for value in box)
    return x_min, y_min, x_max, y_max
