"""Locate, check and fetch models from the Hugging Face hub, with clear errors when they are unavailable."""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.architectures import ARCHITECTURES, Capability
from data_miner_dagster.models.checksums import ModelFile, folder_checksums
from data_miner_dagster.models.hub_cache import WANTED_FILES, is_cached, is_partly_cached
from data_miner_dagster.models.registry import BUILT_IN, PROFILES, ModelEntry

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 3.0
_NO_ANSWER: Final = "does not answer"
_served: Final[set[tuple[str, str, str | None]]] = set()  # (hub, model, revision) of models that hubs serve


def check_obtainable(entry: ModelEntry) -> None:
    """Ensure that a hub model is cached or that nothing on this machine prevents its download. No request is sent.

    Raises:
        ModelError: the model is not completely cached, and either HF_HUB_OFFLINE is set, or the model is gated and
            there is no token.
    """
    from huggingface_hub import constants, get_token

    if is_cached(entry):
        return
    if constants.HF_HUB_OFFLINE:
        raise ModelError(
            f"model {entry.name} ({entry.location}) is {_absence(entry)} the Hugging Face cache, and HF_HUB_OFFLINE is "
            f"set; unset it and {_remedy(entry)}"
        )
    if entry.is_gated and get_token() is None:
        raise ModelError(_gated_message(entry))


def check_reachable(entry: ModelEntry) -> None:
    """Check that the hub can probably serve a model that is not in the cache.

    At most one request is sent, with a short timeout. Without this check, the hub's own client would retry the request
    for each file for half a minute. A hub that is overloaded or failing passes the check.

    Raises:
        ModelError: the model is not completely in the cache, and the hub does not answer, does not have the model, or
            refuses access to it.
    """
    from huggingface_hub import constants

    asked = (constants.ENDPOINT, entry.location, entry.revision)
    if entry.scheme != "hf" or is_cached(entry) or asked in _served:
        return
    if (problem := _problem_of_hub(entry)) is not None:
        remedy = _remedy(entry) if problem.startswith(_NO_ANSWER) else _remedy_of_refusal(entry)
        raise ModelError(
            f"model {entry.name} ({entry.location}) is {_absence(entry)} the cache, and the model hub "
            f"{constants.ENDPOINT} {problem}; {remedy}"
        )
    _served.add(asked)


def _absence(entry: ModelEntry) -> str:
    return "only partly in" if is_partly_cached(entry) else "not in"


def _remedy(entry: ModelEntry) -> str:
    profile = profile_of_models([entry])
    if profile is None:
        return f"run `{fetching_command(entry)}` with network access, or choose another model"
    return f"run `{fetching_command(entry)}` with network access, or use `--profile lite`"


def _remedy_of_refusal(entry: ModelEntry) -> str:
    """Return what to do if the hub answers, but does not serve the model."""
    correct = (
        "set HF_ENDPOINT to a hub that serves it"
        if _is_built_in(entry)
        else f"correct the `source` or `revision` of `platform.models.registry.{entry.name}`"
    )
    return f"{correct}, set HF_TOKEN if the model is private, check the proxy if you use one, or choose another model"


def _is_built_in(entry: ModelEntry) -> bool:
    known = BUILT_IN.get(entry.name)
    return known is not None and (known.source, known.revision) == (entry.source, entry.revision)


def fetching_command(entry: ModelEntry) -> str:
    """Return the command that fetches a hub model as part of a profile, or by its name if no profile contains it."""
    if (profile := profile_of_models([entry])) is not None:
        return f"data-miner models fetch --profile {profile}"
    config = "" if _is_built_in(entry) else " --config FILE"
    return f"data-miner models fetch --model {entry.name}{config}"


def profile_of_models(entries: Sequence[ModelEntry]) -> str | None:
    """Return the name of a profile that contains all `entries`, or None if no profile does."""
    wanted = {(entry.source, entry.revision) for entry in entries}
    return next(
        (name for name, profile in PROFILES.items() if wanted <= {(e.source, e.revision) for e in profile.entries}),
        None,
    )


def _problem_of_hub(entry: ModelEntry) -> str | None:
    """Return why a model cannot be fetched from the hub, or None if it can probably be fetched.

    Raises:
        ModelError: the model is gated, and no token gives access to it.
    """
    found: list[str | ModelError | None] = []
    # The request is sent in a thread, since name resolution has no timeout.
    asking = threading.Thread(target=lambda: found.append(_ask_hub(entry)), name="model hub", daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS + 0.5)
    problem = found[0] if found else f"{_NO_ANSWER} within {_PATIENCE_SECONDS:.0f} s"
    if isinstance(problem, ModelError):
        raise problem
    return problem


def _ask_hub(entry: ModelEntry) -> str | ModelError | None:
    """Request the metadata of a model's `config.json`, as the hub's client does before it fetches the file.

    Returns:
        Why the model cannot be fetched, as the rest of a sentence about the hub, such as "has no such model". If the
            model is gated and no token gives access to it, the result is a ModelError. It is None if the model can
            probably be fetched, even if the hub is overloaded or failing at the moment.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    url = hf_hub_url(entry.location, "config.json", revision=entry.revision, endpoint=constants.ENDPOINT)
    try:
        commit = get_hf_file_metadata(url, timeout=_PATIENCE_SECONDS).commit_hash
    except GatedRepoError:
        return ModelError(_gated_message(entry))
    except RepositoryNotFoundError:
        return "has no such model, or does not show it without a valid HF_TOKEN"
    except RevisionNotFoundError:
        return f"has no revision {entry.revision} of it"
    except EntryNotFoundError:
        return None  # the model exists, and its other files decide
    except HfHubHTTPError as error:
        status = error.response.status_code
        # The hub is overloaded or failing, which may be over by the time the model is fetched.
        return None if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500 else f"refuses to serve it ({status})"
    except Exception as error:  # noqa: BLE001 - any other exception of the client means that the hub did not answer
        return f"{_NO_ANSWER} ({' '.join(str(error).split()) or type(error).__name__})"
    return None if commit is not None else f"{_NO_ANSWER} like a model hub (perhaps a proxy or a sign-in page answered)"


def check_network(entry: ModelEntry, *, may_fetch: bool = True) -> list[str]:
    """Ensure that an entry's architecture supports the network that the checkpoint's `config.json` names.

    Weights are not read. A checkpoint without a model type passes. A checkpoint that names no class passes if its model
    type fits. If the architecture lists no networks, nothing is checked.

    Args:
        entry: the registry entry.
        may_fetch: whether to download `config.json` if it is not in the cache. If False, a checkpoint whose
            `config.json` is not in the cache passes.

    Returns:
        The names of transformers' classes in `config.json`. The list is empty if there are none or nothing was checked.

    Raises:
        ModelError: the checkpoint contains a network that the entry's architecture does not load, its configuration
            cannot be fetched or read, or the model's source is unsupported or unavailable.
    """
    family = ARCHITECTURES.get(entry.architecture)
    if family is None or not family.networks:
        return []
    with hub_errors(entry):
        path = _configuration_file(entry, may_fetch=may_fetch)
        content = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("config.json is not a mapping")
    model_type = content.get("model_type")
    classes = [str(name) for name in content.get("architectures") or ()]
    if model_type is None or _loads(family.networks, model_type, classes):
        return classes
    fitting = [
        name
        for name, other in ARCHITECTURES.items()
        if other.capability is not Capability.VIDEO_TRACKER and _loads(other.networks, model_type, classes)
    ]
    if fitting and family.capability is not Capability.VIDEO_TRACKER:
        remedy = f"set `platform.models.registry.{entry.name}.architecture: {fitting[-1]}`"
    else:
        why = "" if fitting else "no architecture loads it, so "
        remedy = f"{why}choose a checkpoint of type {' or '.join(family.networks)}"
    holds = f"{model_type!r} ({', '.join(classes)})" if classes else f"{model_type!r}"
    raise ModelError(
        f"model {entry.name} ({entry.source}) is of type {holds}, which architecture {entry.architecture!r} does not "
        f"load; {remedy}"
    )


def _loads(networks: Mapping[str, tuple[str, ...]], model_type: object, classes: Sequence[str]) -> bool:
    """Return whether `networks` lists `model_type` and, unless `classes` is empty, one of `classes` for that type."""
    return model_type in networks and (not classes or not set(classes).isdisjoint(networks[str(model_type)]))


def _configuration_file(entry: ModelEntry, *, may_fetch: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    location, revision = _location_of(entry)
    if revision is None:
        path = Path(location) / "config.json"
        return path if path.is_file() else None
    cached = try_to_load_from_cache(location, "config.json", revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    if not may_fetch:
        return None
    check_reachable(entry)
    return Path(hf_hub_download(location, "config.json", revision=revision))


def fetch_from_hub(entry: ModelEntry, progress: Callable[[str], None]) -> Path:
    """Download a hub model to the hub's own cache, and return its folder. Files in the cache are not downloaded again.

    Raises:
        ModelError: the model cannot be downloaded.
    """
    from huggingface_hub import snapshot_download

    progress(f"fetching {entry.location} at {entry.revision}")
    check_reachable(entry)
    with hub_errors(entry):
        return Path(snapshot_download(entry.location, revision=entry.revision, allow_patterns=list(WANTED_FILES)))


def pretrained_location(entry: ModelEntry) -> tuple[str, str | None]:
    """Return the repository name or folder, and the `revision`, to pass to `from_pretrained`.

    The files of a hub model that are not in the cache are downloaded first, so that an interrupted download is
    continued. The revision is None for a folder.

    Raises:
        ModelError: the model's source is not the hub, a folder or a bucket; the files from its bucket are missing or do
            not match their pins; the model is neither cached nor downloadable; or the download fails.
    """
    location = _location_of(entry)
    if entry.scheme == "hf" and not is_cached(entry):
        fetch_from_hub(entry, logger.info)
    return location


def configuration_location(entry: ModelEntry) -> tuple[str, str | None]:
    """Return the location from which to read a model's configuration, as `pretrained_location` would return it.

    Nothing is downloaded, but the hub may be asked whether it has the model.

    Raises:
        ModelError: the model's source is not the hub, a folder or a bucket; the files from its bucket are missing or do
            not match their pins; or the model is neither cached nor downloadable.
    """
    location = _location_of(entry)
    check_reachable(entry)
    return location


def _location_of(entry: ModelEntry) -> tuple[str, str | None]:
    if entry.is_in_bucket:
        _check_fetched(entry)
    if entry.scheme == "file" or entry.is_in_bucket:
        return str(entry.folder), None
    if entry.scheme != "hf":
        raise ModelError(
            f"model {entry.name}: a model of architecture {entry.architecture!r} cannot be loaded from "
            f"{entry.source!r}; use a source that begins with `hf:` or `file:`, or a bucket"
        )
    check_obtainable(entry)
    return entry.location, entry.revision


def _check_fetched(entry: ModelEntry) -> None:
    """Ensure that the files of a model from a bucket are exactly those that its entry pins.

    Raises:
        ModelError: a pinned file is missing or differs, or the folder contains other files.
    """
    if not entry.folder.is_dir() or folder_checksums(entry.folder) != tuple(sorted(entry.files, key=_path_of)):
        raise ModelError(
            f"model {entry.name}: {entry.folder} does not contain exactly the pinned files; remove it if it exists, "
            "and fetch the files with `data-miner models fetch --own --config FILE`"
        )


def _path_of(file: ModelFile) -> str:
    return file.path


@contextmanager
def hub_errors(entry: ModelEntry) -> Iterator[None]:
    """Translate errors of the hub's client and of `from_pretrained` into a one-line ModelError.

    Raises:
        ModelError: the `with` block raised an HTTP error of the hub, an OSError, a ValueError or a SafetensorError.
    """
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
    from safetensors import SafetensorError

    try:
        yield
    except GatedRepoError as error:
        raise ModelError(_gated_message(entry)) from error
    except (HfHubHTTPError, OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {entry.name} ({entry.source}) could not be loaded ({reason}); {_remedy_of_loading(entry)}"
        ) from error


def _remedy_of_loading(entry: ModelEntry) -> str:
    if entry.scheme == "hf":
        return (
            f"fetch it again with `{fetching_command(entry)}` (if a file is damaged, first remove the model from the "
            "Hugging Face cache), or choose another model"
        )
    if entry.is_in_bucket:
        return f"remove {entry.folder}, and fetch it again with `data-miner models fetch --own --config FILE`"
    return f"correct `platform.models.registry.{entry.name}`, or the files that it names"


def _gated_message(entry: ModelEntry) -> str:
    from huggingface_hub import get_token

    open_models = [other.name for other in PROFILES["standard"].entries if other.capability is entry.capability]
    another = f"choose an open model, such as {open_models[0]}" if open_models else "choose a model that is not gated"
    if entry.capability is Capability.VIDEO_TRACKER:
        another = "set detection.tracking.tracker to byte_track"
    if os.environ.get("HF_TOKEN"):
        problem = "HF_TOKEN is set but not accepted"
    else:
        problem = "HF_TOKEN is not set" if get_token() is None else "the stored token is not accepted"
    return (
        f"model {entry.name} ({entry.location}) is gated, and {problem}; accept its licence on the hub with "
        f"your account and set HF_TOKEN to a token of that account, or {another}"
    )
