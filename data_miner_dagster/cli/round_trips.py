"""Round trips through other annotation tools, for `review export --for` and `review import --from`."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from data_miner_dagster.cli.options import said_again
from data_miner_dagster.cli.output import echo, print_json
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.domain.verdicts import ReviewQueue
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.operations.reviewing.round_trips import ReturnedFile, RoundTripOutcome

_MOST_LEFT_OUT: Final = 10


def send(
    platform: "Platform", project: str, *, tool: str, queue: "ReviewQueue | None", to: Path, limit: int | None
) -> None:
    """Export the frames in a review queue to `to` for another annotation tool, and print how to import them again.

    If `queue` is None, it is the queue `unsure`. If `limit` is None, all frames in the queue are exported.

    Raises:
        ConfigError: the project does not exist, the tool or queue is not supported, or `to` cannot be used.
        DataMinerError: the queue has no open question, an image is missing, or the export cannot be read back.
        TransientError: the project's tables are being rewritten.
    """
    from data_miner_dagster.domain.verdicts import ReviewQueue
    from data_miner_dagster.operations.reviewing.sending import send_frames

    sent = send_frames(platform, project, tool=tool, queue=queue or ReviewQueue.UNSURE, to=to, limit=limit)
    echo(f"{project}: {counted(sent.num_images, 'image')}, {counted(sent.num_boxes, 'box', 'boxes')} → {sent.folder}")
    again = said_again(with_config=True)
    command = f"data-miner review import {project} FILE --from {tool} --sent {quote(str(sent.folder))}{again}"
    echo(f"next: correct the boxes in {tool}, then run `{command}`")


def applying_line() -> str:
    """Return the line to print after an import that has stored or undone verdicts."""
    return (
        f"next: run `data-miner run --config FILE{said_again()}` to apply the verdicts; a running `data-miner up` does "
        "this automatically"
    )


def receive(
    platform: "Platform",
    project: str,
    file: "ReturnedFile",
    *,
    sent: Path | None,
    version: str | None,
    as_json: bool,
) -> None:
    """Convert labels that were corrected in another annotation tool to verdicts, store them, and print the result.

    The boxes were sent to the tool in the folder `sent` or in the release `version`. If both are None, the file must be
    the folder of an export, or be in one.

    Raises:
        ConfigError: the project, export or release does not exist, neither is given and the file is not in an export,
            the export belongs to another project, or the file cannot be read as a file of a supported tool.
        DataMinerError: the manifest of the release is damaged.
    """
    from data_miner_dagster.operations.reviewing.round_trips import find_sent, import_corrections

    folder = sent.expanduser() if sent is not None else None
    known = find_sent(platform, project, file.path, folder=folder, version=version)
    outcome = import_corrections(platform, project, file, known)
    if as_json:
        print_json(
            {
                "reviewed": outcome.num_reviewed,
                "changed": outcome.num_changed,
                "untouched": outcome.num_untouched,
                "not_returned": outcome.num_not_returned,
                "new": outcome.num_verdicts,
                "words": {word.value: number for word, number in outcome.words.items()},
                "left_out": dict(outcome.left_out),
            }
        )
        return
    _print(project, outcome)


def _print(project: str, outcome: "RoundTripOutcome") -> None:
    words = ", ".join(f"{number:,} {word.value.replace('_', ' ')}" for word, number in outcome.words.items())
    echo(f"{project}: {counted(outcome.num_verdicts, 'new verdict')}; the file contains: {words or 'no answers'}")
    echo(
        f"images: {outcome.num_reviewed:,} reviewed, {counted(outcome.num_changed, 'other')} changed, "
        f"{outcome.num_untouched:,} untouched, {outcome.num_not_returned:,} not in the file"
    )
    if outcome.num_changed:
        echo("for images that nobody marked as reviewed, only changes count; --all-reviewed marks all as reviewed")
    for name, why in list(outcome.left_out.items())[:_MOST_LEFT_OUT]:
        echo(f"left out: {name}: {why}", err=True)
    if (num_more := len(outcome.left_out) - _MOST_LEFT_OUT) > 0:
        echo(f"left out: {num_more:,} more; --json names them", err=True)
    if outcome.num_verdicts:
        echo(applying_line())
