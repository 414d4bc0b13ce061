"""`data-miner try detect`: a folder's images through the real detectors and the real stage."""

from pathlib import Path

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.media.contact_sheets import TileBox, Verdict
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.detection.runs import detect_tiled
from data_miner_dagster.operations.trials import UNREADABLE, Trial, TrialRow, folder_images, read_in_batches
from data_miner_dagster.stages.detection.boxes import FrameDetections, fuse_detections, suppress


def try_detect(
    models: ModelProvider, config: DetectionConfig, folder: Path, *, threshold: float, limit: int | None = None
) -> Trial:
    """Find the classes on the images of a folder, by path. Agreement along a video does not apply to a folder.

    Args:
        models: the models.
        config: the classes, and how to look for them.
        folder: the images.
        threshold: boxes below are left out, as a release would.
        limit: at most so many images.

    Raises:
        ConfigError: no images, or a detector has no such class.
        ModelError: a detector is missing.
    """
    paths = folder_images(folder, limit=limit)
    roles = models.detectors(config.detectors)
    for role in roles:
        check_classes(role.entry, config.class_prompts)
    detectors = [role.load() for role in roles]
    rows: list[TrialRow] = []
    num_by_class = dict.fromkeys(config.classes, 0)
    for readable, images, unreadable in read_in_batches(paths, config.batch_size):
        answers = [detect_tiled(detector, images, config) for detector in detectors]
        for position, path in enumerate(readable):
            fused = fuse_detections([answer[position] for answer in answers], iou=config.fusion_iou)
            found = suppress(fused, class_wise_iou=config.class_wise_iou, cross_class_iou=config.cross_class_iou)
            boxes = _boxes_to_draw(found, config, threshold)
            for box in boxes:
                num_by_class[config.class_prompts[box.class_index].class_name] += 1
            rows.append(_row(path, boxes))
        rows += [TrialRow(path, (UNREADABLE, "", reason), UNREADABLE, Verdict.DROPPED) for path, reason in unreadable]
    rows.sort(key=lambda row: row.path)
    counts = ", ".join(f"{count} {name}" for name, count in num_by_class.items())
    if num_unreadable := sum(row.cells[0] == UNREADABLE for row in rows):
        counts += f"; {num_unreadable} unreadable"
    return Trial(
        title=f"detect with {' + '.join(role.name for role in roles)}, confidence at or above {threshold:g}",
        columns=("boxes", "best", "found"),
        rows=tuple(rows),
        summary=f"{counted(len(paths), 'image')}, {sum(bool(row.boxes) for row in rows)} with boxes: {counts}",
    )


def _boxes_to_draw(found: FrameDetections, config: DetectionConfig, threshold: float) -> tuple[TileBox, ...]:
    detections = found.detections
    return tuple(
        TileBox(
            (box[0], box[1], box[2], box[3]),
            class_index,
            f"{config.class_prompts[class_index].class_name} {confidence:.2f}",
            mask,
        )
        for box, class_index, confidence, mask in zip(
            detections.boxes_xyxy.tolist(),
            detections.class_indices.tolist(),
            detections.confidences.tolist(),
            detections.masks,
            strict=True,
        )
        if confidence >= threshold
    )


def _row(path: Path, boxes: tuple[TileBox, ...]) -> TrialRow:
    labels = [box.label for box in boxes]  # by descending confidence
    best = labels[0].rpartition(" ")[2] if labels else ""
    return TrialRow(
        path=path,
        cells=(str(len(labels)), best, ", ".join(labels)),
        caption=counted(len(labels), "box", "boxes"),
        verdict=Verdict.KEPT if labels else Verdict.NEUTRAL,
        boxes=boxes,
    )
