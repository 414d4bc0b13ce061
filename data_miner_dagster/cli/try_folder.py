"""The commands `try filter`, `try dedup` and `try detect`: run a stage on any folder of images, without a catalog.

Each command only reads its options, calls its trial in `operations/` and passes the result to `show_trial`.
"""

import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from pydantic import ValidationError
from rich.table import Table

from data_miner_dagster.cli.options import profile_option
from data_miner_dagster.cli.output import PlainConsole, print_json
from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.environment import ROOT_VARIABLE
from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.config.loading import load_platform_config, load_project_file, resolve_root
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.problems import describe_problems
from data_miner_dagster.config.settings import ProjectFile
from data_miner_dagster.domain.errors import ConfigError

if TYPE_CHECKING:
    from data_miner_dagster.models.provider import ModelRole
    from data_miner_dagster.operations.trials import Trial
    from data_miner_dagster.protocols.detectors import ObjectDetector

app = typer.Typer(name="try", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A folder of images, including its subfolders.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A project file that provides the models and the settings of this stage."),
]
ProfileOption = Annotated[str | None, profile_option("The models to use. Overrides the project file.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Use at most this many images.")]
SheetOption = Annotated[Path | None, typer.Option("--sheet", help="The file to write the contact sheet (WebP) to.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
ImagesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        help="An example image of a class, such as bus=stop.jpg for the class `bus`; may be repeated. It adds to the "
        "phrases of the class if the class is also given, and is used alone otherwise.",
    ),
]
LikeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--like",
        metavar="X,Y,WIDTH,HEIGHT",
        help="Find everything that resembles the object in this box. Give a picture instead of the folder. May be "
        "repeated. Needs a detector such as sam3.",
    ),
]
UnlikeOption = Annotated[
    list[str] | None,
    typer.Option("--unlike", metavar="X,Y,WIDTH,HEIGHT", help="With --like: a box around an object to leave out."),
]

_MAX_ROWS: Final = 200


@app.callback()
def try_folder() -> None:
    """Try a stage on any folder of images: show a table, and write a contact sheet."""


def read_config(path: Path | None) -> ProjectFile | None:
    """Return the project file that `--config` names, or None without that option.

    Raises:
        ConfigError: the file cannot be read, or is not valid.
    """
    return load_project_file(path) if path is not None else None


def models_config(
    file: ProjectFile | None,
    profile: str | None,
    *,
    role: Literal["filter_encoder", "dedup_encoder", "detector"],
    model: str | None,
) -> ModelsConfig:
    """Return the settings of the models, from the project file or, without one, from DATA_MINER_CONFIG or the defaults.

    If `profile` is not None, it replaces the profile of the settings. If `model` is not None, it replaces the model in
    `role`.

    Raises:
        ConfigError: the file that DATA_MINER_CONFIG names is missing or invalid.
    """
    config = file.platform.models if file is not None else load_platform_config().models
    changes = {"profile": profile, role: model}
    return config.model_copy(update={name: value for name, value in changes.items() if value is not None})


def _check_reachable(*roles: "ModelRole[Any]") -> None:
    """Check that the models' weights exist or can be fetched, before spending seconds on importing their libraries.

    Raises:
        ModelError: a model is not in the cache, and the hub does not answer, does not have it, or refuses access to it.
    """
    for role in roles:
        role.check_reachable()


def _root(file: ProjectFile | None) -> Path:
    """Return the root whose students are offered as detectors.

    It comes from `data-miner --root`, DATA_MINER_ROOT or the settings.
    """
    config = file.platform if file is not None else load_platform_config()
    return resolve_root(os.environ.get(ROOT_VARIABLE) or None, config)


def show_trial(trial: "Trial", folder: Path, *, sheet: Path, as_json: bool) -> None:
    """Write the contact sheet, and print the trial as a table of up to 200 images, or in full as one JSON object.

    All images of the trial must be in `folder`.
    """
    # Imported here, as in the commands, so that the command line starts without loading the libraries of a trial.
    from data_miner_dagster.operations.trials import write_contact_sheet

    num_shown = write_contact_sheet(trial, sheet)
    names = {row.path: row.path.relative_to(folder).as_posix() for row in trial.rows}
    if as_json:
        rows = [{"file": names[row.path], **dict(zip(trial.columns, row.cells, strict=True))} for row in trial.rows]
        content = {"title": trial.title, "summary": trial.summary, "sheet": str(sheet), "images": rows}
        print_json(content)
        return
    console = PlainConsole()
    table = Table(title=trial.title, title_justify="left")
    table.add_column("file", overflow="fold")
    for column in trial.columns:
        table.add_column(column)
    for row in trial.rows[:_MAX_ROWS]:
        table.add_row(names[row.path], *row.cells)
    console.print(table)
    if len(trial.rows) > _MAX_ROWS:
        console.print(f"... and {len(trial.rows) - _MAX_ROWS} more; --json lists all")
    console.print(trial.summary)
    console.print(f"contact sheet: {sheet} (images: {num_shown})", soft_wrap=True)


@app.command("detect")
def try_detect_command(
    folder: Folder,
    classes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLASS]...", help='A class to detect: bus, or "vehicle=a bus,a car" for several phrases.'
        ),
    ] = None,
    more_classes: Annotated[
        list[str] | None, typer.Option("--class", help="A class to detect, in the form of CLASS; may be repeated.")
    ] = None,
    images: ImagesOption = None,
    like: LikeOption = None,
    unlike: UnlikeOption = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Omit boxes below this confidence.")] = 0.3,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    detector: Annotated[
        list[str] | None,
        typer.Option("--detector", help="The registry name of the detector. Give two or three for an ensemble."),
    ] = None,
    limit: LimitOption = None,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Detect objects of the given classes, and draw boxes around them."""
    # Imported here so that the command line starts without loading the libraries of this command.
    from data_miner_dagster.models.provider import ModelProvider
    from data_miner_dagster.operations.own_students import student_entries
    from data_miner_dagster.storage.layout import StorageLayout

    file = read_config(config)
    asked = _classes([*(classes or ()), *(more_classes or ())], images or ())
    _check_like(like, unlike, asked)
    asked = {"like": []} if like else asked
    detection = _detection_config(file, asked, detector, threshold)
    models = ModelProvider(
        models_config(file, profile, role="detector", model=None),
        find_students=partial(student_entries, StorageLayout(_root(file))),
    )
    own_images = file is not None and not asked
    _check_reachable(*models.detectors(detection.detectors))
    sheet = sheet or Path("try-detect.webp")
    if like:
        role = models.detectors(detection.detectors)[0]
        trial = _try_like(role, folder, like, unlike or (), threshold)
        show_trial(trial, folder.parent, sheet=sheet, as_json=as_json)
        return
    from data_miner_dagster.operations.detection.trial import try_detect

    trial = try_detect(
        models,
        detection,
        folder,
        threshold=threshold,
        limit=limit,
        exemplar_folder=config.parent if config is not None and own_images else Path(),
    )
    show_trial(trial, folder, sheet=sheet, as_json=as_json)


def _check_like(like: list[str] | None, unlike: list[str] | None, classes: Mapping[str, object]) -> None:
    if unlike and not like:
        raise ConfigError("--unlike needs --like; add --like X,Y,WIDTH,HEIGHT with the box of an object to find")
    if like and classes:
        name = next(iter(classes))
        raise ConfigError(
            f"--like cannot be combined with classes, but {name!r} was given; remove the classes or --like"
        )


def _try_like(
    role: "ModelRole[ObjectDetector]", picture: Path, like: Sequence[str], unlike: Sequence[str], threshold: float
) -> "Trial":
    """Detect objects that resemble those in the boxes `like` of a picture, but not those in `unlike`.

    Raises:
        ConfigError: an entry of `like` or `unlike` is not a box, or `picture` is not a file.
    """
    from data_miner_dagster.operations.detection.like_boxes import try_detect_like

    boxes, others = [_box(text, "--like") for text in like], [_box(text, "--unlike") for text in unlike]
    if not picture.is_file():
        raise ConfigError(f"{picture} is not a file; with --like, give the picture that the boxes are on")
    return try_detect_like(role, picture, boxes, others, threshold=threshold)


def _box(text: str, option: str) -> tuple[float, float, float, float]:
    """Return the corners of a box given as `X,Y,WIDTH,HEIGHT`.

    Raises:
        ConfigError: `text` is not a box.
    """
    try:
        x, y, width, height = (float(number) for number in text.split(","))
    except ValueError:
        x = y = width = height = math.nan
    if not (x >= 0 and y >= 0 and 0 < width < math.inf and 0 < height < math.inf):
        raise ConfigError(f"{option} {text!r} is not a box; give X,Y,WIDTH,HEIGHT in pixels, such as 120,40,60,80")
    return x, y, x + width, y + height


def _classes(classes: Sequence[str], images: Sequence[str]) -> dict[str, object]:
    """Return the classes that the arguments name, in the form that a project file uses.

    Raises:
        ConfigError: an entry of `images` does not name a class.
    """
    asked: dict[str, object] = {}
    images_by_class: dict[str, list[str]] = {}
    for image in images:
        name, is_given, path = image.partition("=")
        if not is_given:
            raise ConfigError(f'--image {image} does not name a class; write it first, as in --image "bus={image}"')
        images_by_class.setdefault(name, []).append(path)
    for text in classes:
        name, _, phrases = text.partition("=")
        asked[name] = [phrase for phrase in phrases.split(",") if phrase.strip()]
    for name, paths in images_by_class.items():
        words = (asked[name] or [name]) if name in asked else []
        asked[name] = {"text": words, "images": paths}
    return asked


def _detection_config(
    file: ProjectFile | None, classes: Mapping[str, object], detectors: list[str] | None, threshold: float
) -> DetectionConfig:
    content: dict[str, object] = file.detection.model_dump(mode="json") if file is not None else {}
    if classes:
        content["classes"] = classes
    if detectors:
        content["detectors"] = detectors
    if "classes" not in content:
        raise ConfigError(
            "no class to detect was given; add one after the folder, such as bus, or give --config with a project file"
        )
    # An ensemble lowers the confidence of boxes that only one detector reports, so each detector must return more boxes
    # than are shown.
    content["confidence_floor"] = min(threshold, float(str(content.get("confidence_floor", 0.05))))
    try:
        return DetectionConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(describe_problems(error, DetectionConfig, content, prefix="detection.")) from None


@app.command("filter")
def try_filter_command(
    folder: Folder,
    positive: Annotated[
        list[str] | None, typer.Option("--positive", "-p", help="A description of images to keep.")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option("--negative", "-n", help="A description of images to drop.")
    ] = None,
    junk: Annotated[
        list[str] | None,
        typer.Option("--junk", help="A description of images to always drop, even if they match --positive."),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            help='A template for prompts, such as "a photo of {}"; may be repeated. Default: from --config, or {}.',
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="The lowest similarity of kept images. Default: from --config, or else the encoder's."),
    ] = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    encoder: Annotated[str | None, typer.Option(help="The registry name of the image-text encoder.")] = None,
    limit: LimitOption = None,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sort images into kept and dropped ones by comparing them with prompts."""
    from data_miner_dagster.models.provider import ModelProvider

    file = read_config(config)
    filtering = _filtering_config(file, positive, negative, junk, template, threshold)
    models = ModelProvider(models_config(file, profile, role="filter_encoder", model=encoder))
    _check_reachable(models.filter_encoder)
    from data_miner_dagster.operations.filtering.trial import try_filter

    trial = try_filter(
        models,
        filtering,
        folder,
        limit=limit,
        shown=file.shown.text if file is not None else str,
        exemplar_folder=config.parent if config is not None else Path(),
    )
    show_trial(trial, folder, sheet=sheet or Path("try-filter.webp"), as_json=as_json)


def _filtering_config(
    file: ProjectFile | None,
    positive: list[str] | None,
    negative: list[str] | None,
    junk: list[str] | None,
    templates: list[str] | None,
    threshold: float | None,
) -> FilteringConfig:
    content: dict[str, object] = file.filtering.model_dump(mode="json") if file is not None else {}
    given = {"positive": positive, "negative": negative, "junk": junk, "templates": templates}
    content |= {name: values for name, values in given.items() if values}
    if threshold is not None:
        content["positive_threshold"] = threshold
    if "positive" not in content:
        raise ConfigError('no prompt was given; add --positive "a cat", or --config FILE with a filtering section')
    try:
        return FilteringConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(describe_problems(error, FilteringConfig, content, prefix="filtering.")) from None


@app.command("dedup")
def try_dedup_command(
    folder: Folder,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="The lowest cosine of near-duplicates. Default: from --config, or else the encoder's."
        ),
    ] = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    encoder: Annotated[str | None, typer.Option(help="The registry name of the image encoder.")] = None,
    limit: LimitOption = None,
    sheet: SheetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Group near-duplicate images, and show which image of each group is kept."""
    from data_miner_dagster.models.provider import ModelProvider

    file = read_config(config)
    deduplication = file.deduplication if file is not None else DeduplicationConfig()
    if threshold is not None:
        deduplication = deduplication.model_copy(update={"threshold": threshold})
    if encoder is not None:
        deduplication = deduplication.model_copy(update={"encoder": "dedup"})
    models = ModelProvider(models_config(file, profile, role="dedup_encoder", model=encoder))
    _check_reachable(models.dedup_encoder)
    from data_miner_dagster.operations.deduplication.trial import try_dedup

    trial = try_dedup(models, deduplication, folder, limit=limit)
    show_trial(trial, folder, sheet=sheet or Path("try-dedup.webp"), as_json=as_json)
