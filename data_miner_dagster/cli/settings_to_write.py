"""Print the settings that a command has found and the project file that they belong in, or write them there."""

from collections.abc import Mapping
from shlex import quote
from typing import TYPE_CHECKING

from data_miner_dagster.cli.options import said_again
from data_miner_dagster.cli.output import echo

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform


def show_settings(
    platform: "Platform", project: str, section: str, settings: Mapping[str, object], *, is_to_be_written: bool
) -> None:
    """Print settings and the file that they belong in, or write them there. Then print the next step.

    If `settings` is empty, nothing is written, and no next step is printed.

    Raises:
        ConfigError: the settings are to be written, but the project's file does not exist or cannot be changed safely.
    """
    from data_miner_dagster.config.editing import one_line_yaml
    from data_miner_dagster.operations.project_file_settings import project_file_of, write_settings

    if not settings:
        if is_to_be_written:
            echo("nothing was written, because there are no settings to change")
        return
    file = project_file_of(platform, project)
    if is_to_be_written:
        file = write_settings(platform, project, section, settings)
        echo(f"written under `{section}:` in {file}:")
    else:
        echo(f"put this under `{section}:` in {file or 'the project file'} (or use --write):")
    for name, value in settings.items():
        echo(f"  {name}: {one_line_yaml(value)}")
    what = "nothing before filtering is redone" if section == "filtering" else "only the release is redone"
    echo(
        f"next: run `{next_command(platform, str(file or 'FILE'))}` ({what}); "
        "a running `data-miner up` does this automatically"
    )


def next_command(platform: "Platform", file: str) -> str:
    """Return the command that builds a project with its new settings, in the same root and with the given --profile."""
    options = said_again()
    root = "" if " --root " in options else f" --root {quote(str(platform.root))}"
    return f"data-miner run --config {quote(file)}{root}{options}"


def settings_json(
    platform: "Platform", project: str, section: str, settings: Mapping[str, object], *, is_to_be_written: bool
) -> dict[str, object]:
    """Return settings, the file that they belong in and whether they were written there, as JSON content.

    With `is_to_be_written`, the settings are written first, unless they are empty.

    Raises:
        ConfigError: the settings are to be written, but the project's file does not exist or cannot be changed safely.
    """
    from data_miner_dagster.operations.project_file_settings import project_file_of, write_settings

    is_written = is_to_be_written and bool(settings)
    if is_written:
        write_settings(platform, project, section, settings)
    return {
        "settings": dict(settings),
        "project_file": None if (file := project_file_of(platform, project)) is None else str(file),
        "is_written": is_written,
    }
