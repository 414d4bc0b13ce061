"""Run the detectors, fusion and suppression of a project on a folder of images, for `data-miner try detect`."""

from pathlib import Path

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.media.contact_sheets import Tile, TileBox, Verdict
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.detection.exemplars import ExemplarsByClass, pictured_classes
from data_miner_dagster.operations.detection.runs import detect_tiled
from data_miner_dagster.operations.exemplars import find_exemplars
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.trials import UNREADABLE, Trial, TrialRow, folder_images, read_in_batches
from data_miner_dagster.stages.detection.boxes import FrameDetections, fuse_detections, suppress


def try_detect(
    models: ModelProvider,
    config: DetectionConfig,
    folder: Path,
    *,
    threshold: float,
    limit: int | None = None,
    exemplar_folder: Path = Path(),
) -> Trial:
    """Detect the classes in the images of a folder. Boxes on different images are not compared.

    The rows of the result are ordered by path.

    Args:
        models: provides the detectors.
        config: the classes and the settings of detection.
        folder: the folder of images.
        threshold: the lowest confidence of a box, for all classes.
        limit: the maximum number of images, or None for all.
        exemplar_folder: the folder against which relative exemplar paths are resolved.

    Raises:
        ConfigError: the folder does not exist or has no images, a detector does not have one of the classes, or an
            exemplar cannot be read.
        ModelError: a detector is missing or cannot be loaded.
    """
    paths = folder_images(folder, limit=limit)
    roles = models.detectors(config.detectors)
    for role in roles:
        check_classes(role.entry, config.class_prompts, config.exemplar_paths)
    exemplars = find_exemplars(config, exemplar_folder.absolute())
    detectors = [role.load() for role in roles]
    rows: list[TrialRow] = []
    num_by_class = dict.fromkeys(config.classes, 0)
    with StoredPictures(ExtractionConfig()) as pictures:
        classes = pictured_classes(config, exemplars, pictures)
        for readable, images, unreadable in read_in_batches(paths, config.batch_size):
            answers = [detect_tiled(detector, images, config, classes) for detector in detectors]
            for position, path in enumerate(readable):
                fused = fuse_detections([answer[position] for answer in answers], iou=config.fusion_iou)
                found = suppress(fused, class_wise_iou=config.class_wise_iou, cross_class_iou=config.cross_class_iou)
                boxes = _boxes_to_draw(found, config, threshold)
                for box in boxes:
                    num_by_class[config.class_prompts[box.class_index].class_name] += 1
                rows.append(_row(path, boxes))
            rows += [TrialRow(path, (UNREADABLE, "", why), UNREADABLE, Verdict.DROPPED) for path, why in unreadable]
    rows.sort(key=lambda row: row.path)
    counts = ", ".join(f"{count} {name}" for name, count in num_by_class.items())
    if num_unreadable := sum(row.cells[0] == UNREADABLE for row in rows):
        counts += f"; {num_unreadable} unreadable"
    return Trial(
        title=f"detect with {' + '.join(role.name for role in roles)}, confidence at or above {threshold:g}",
        columns=("boxes", "best", "found"),
        rows=tuple(rows),
        summary=f"{counted(len(paths), 'image')}, {sum(bool(row.boxes) for row in rows)} with boxes: {counts}",
        shown_first=_exemplar_tiles(config, exemplars),
    )


def _exemplar_tiles(config: DetectionConfig, exemplars: ExemplarsByClass) -> tuple[Tile, ...]:
    """Return one tile per exemplar, with the exemplar's boxes, in the order of the classes."""
    return tuple(
        Tile(
            PictureFile(exemplar.path, is_foreign=True),
            f"{name}: {exemplar.path.name}",
            boxes=tuple(TileBox(box, index, name) for box in image.boxes),
        )
        for index, (name, wanted) in enumerate(config.classes.items())
        for exemplar, image in zip(exemplars.get(name, ()), wanted.images, strict=True)
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
