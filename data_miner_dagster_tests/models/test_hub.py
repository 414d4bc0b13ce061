"""Test that the network of a checkpoint is recognised from its configuration alone."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster_tests.end_to_end.platform_process import free_port
from data_miner_dagster_tests.support.file_hub import use_hub


def provider_of(folder: Path, architecture: str, config: object) -> ModelProvider:
    (folder / "config.json").write_text(json.dumps(config))
    entry = {"architecture": architecture, "source": f"file:{folder}"}
    return ModelProvider(
        ModelsConfig.model_validate({"profile": "lite", "detector": "own", "registry": {"own": entry}})
    )


@pytest.mark.parametrize(
    ("architecture", "config", "remedy"),
    [
        ("rf-detr", {"model_type": "d_fine"}, "set `platform.models.registry.own.architecture: d-fine`"),
        ("rt-detr", {"model_type": "deimv2"}, "set `platform.models.registry.own.architecture: deimv2`"),
        ("d-fine", {"model_type": "rt_detr"}, "set `platform.models.registry.own.architecture: rt-detr`"),
        ("grounding-dino", {"model_type": "mm-grounding-dino"}, "architecture: mm-grounding-dino`"),
        ("mm-grounding-dino", {"model_type": "grounding-dino"}, "architecture: grounding-dino`"),
        ("owlv2", {"model_type": "sam3_video", "architectures": ["Sam3VideoModel"]}, "architecture: sam3`"),
        ("sam3", {"model_type": "owlv2"}, "architecture: owlv2`"),
        ("rt-detr", {"model_type": "yolos"}, "choose a checkpoint of type rt_detr or rt_detr_v2 or d_fine"),
        ("owlv2", {"model_type": "owlvit"}, "no architecture loads it, so choose a checkpoint of type owlv2"),
        (
            "rf-detr",
            {"model_type": "rf_detr", "architectures": ["RfDetrModel"]},
            "no architecture loads it, so choose a checkpoint of type rf_detr",
        ),
    ],
)
def test_check_network__another_architecture(
    architecture: str, config: dict[str, object], remedy: str, tmp_path: Path
) -> None:
    """The checkpoint has no weights, so a message that names its type is raised before any weights are read."""
    models = provider_of(tmp_path, architecture, config)
    entry = models.detector.entry
    ways: list[Callable[[], object]] = [models.detector.load, models.check_available]
    if entry.class_names is not None:
        ways.append(lambda: check_classes(entry, []))
    for ask in ways:
        with pytest.raises(ModelError) as raised:
            ask()
        message = str(raised.value)
        assert f"is of type {config['model_type']!r}" in message
        assert f"which architecture {architecture!r} does not load" in message
        assert remedy in message
        assert "\n" not in message


def test_check_network__configuration_that_says_nothing(tmp_path: Path) -> None:
    provider_of(tmp_path, "owlv2", {}).check_available()


def test_check_network__configuration_that_is_broken(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"own .* could not be loaded \(config\.json is not a mapping"):
        provider_of(tmp_path, "owlv2", []).check_available()
    models = provider_of(tmp_path, "owlv2", {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"own .* could not be loaded \(Expecting property name"):
        models.check_available()


class Hub(BaseHTTPRequestHandler):
    """A model hub that gives the same answer to every request."""

    answer: tuple[int, dict[str, str]] = (200, {})
    asked: tuple[str, ...] = ()

    def do_HEAD(self) -> None:
        """Answer as the hub does before a file is downloaded."""
        status, headers = type(self).answer
        type(self).asked += (self.path,)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Suppress the request log."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    """Yield a hub on loopback, used with an empty cache."""

    class Served(Hub):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield Served
        server.shutdown()
        thread.join()


@pytest.fixture
def hub_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Return the address of a hub on whose port nobody listens, used with an empty cache."""
    address = f"http://127.0.0.1:{free_port()}"
    use_hub(monkeypatch, address, tmp_path)
    return address


def test_check_reachable__no_network_is_one_line_with_ways_out(hub_of_nobody: str) -> None:
    detector = ModelProvider(ModelsConfig(profile="standard")).detector
    for ask in (detector.check_reachable, detector.load):
        with pytest.raises(ModelError) as raised:
            ask()
        message = str(raised.value)
        assert message.startswith(f"model {detector.name} ({detector.entry.location}) is not in the cache, ")
        assert f", and the model hub {hub_of_nobody} does not answer (" in message
        assert "run `data-miner models fetch --profile standard` with network access" in message
        assert "`--profile lite`" in message
        assert "\n" not in message


@pytest.mark.usefixtures("hub_of_nobody")
def test_check_reachable__sends_nothing_for_models_that_are_here(tmp_path: Path) -> None:
    provider_of(tmp_path, "d-fine", {"model_type": "d_fine"}).detector.check_reachable()
    ModelProvider(ModelsConfig(profile="lite")).detector.check_reachable()


COMMIT = {"X-Repo-Commit": "0" * 40, "ETag": '"1"'}


@pytest.mark.parametrize(
    "answer",
    [
        (200, COMMIT),
        (307, {**COMMIT, "Location": "https://cdn.example/elsewhere"}),
        (404, {"X-Error-Code": "EntryNotFound"}),
        (503, {}),
        (429, {}),
    ],
)
def test_check_reachable__what_may_work_is_not_refused(hub: type[Hub], answer: tuple[int, dict[str, str]]) -> None:
    hub.answer = answer
    detector = ModelProvider(ModelsConfig(profile="standard")).detector
    detector.check_reachable()
    detector.check_reachable()
    (path,) = hub.asked
    assert path == f"/{detector.entry.location}/resolve/{detector.entry.revision}/config.json"


@pytest.mark.parametrize(
    ("answer", "problem", "remedy"),
    [
        ((200, {}), "does not answer like a model hub", "run `data-miner models fetch --profile standard`"),
        ((403, {}), r"refuses to serve it \(403\)", "set HF_ENDPOINT"),
        ((407, {}), r"refuses to serve it \(407\)", "set HF_ENDPOINT"),
        ((401, {"X-Error-Code": "RepoNotFound"}), "has no such model", "set HF_ENDPOINT"),
        ((404, {"X-Error-Code": "RevisionNotFound"}), "has no revision [0-9a-f]{40} of it", "set HF_ENDPOINT"),
    ],
)
def test_check_reachable__a_hub_that_answers_without_the_model(
    hub: type[Hub], answer: tuple[int, dict[str, str]], problem: str, remedy: str
) -> None:
    hub.answer = answer
    with pytest.raises(ModelError, match=rf"^model llmdet-tiny .* is not in the cache, and .* {problem}.*; {remedy}"):
        ModelProvider(ModelsConfig(profile="standard")).detector.check_reachable()


def test_check_reachable__the_users_own_entry_can_be_corrected(hub: type[Hub]) -> None:
    hub.answer = 404, {"X-Error-Code": "RevisionNotFound"}
    own = {"architecture": "dinov2", "source": "hf:someone/net", "revision": "0123abc"}
    config = ModelsConfig.model_validate({"dedup_encoder": "own", "registry": {"own": own}})
    with pytest.raises(ModelError, match=r"correct the `source` or `revision` of `platform\.models\.registry\.own`"):
        ModelProvider(config).dedup_encoder.check_reachable()


def test_check_reachable__a_gated_model(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_not_one")
    hub.answer = 403, {"X-Error-Code": "GatedRepo"}
    with pytest.raises(ModelError, match=r"model dinov3 .* is gated, and HF_TOKEN is set but not accepted"):
        ModelProvider(ModelsConfig(dedup_encoder="dinov3")).dedup_encoder.check_reachable()
