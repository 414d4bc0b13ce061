"""Test the metrics as Prometheus receives them: over HTTP, read by the client library's own parser."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.planted_catalog import plant_root
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.monitoring.collecting import Collector, Values
from data_miner_dagster.monitoring.families import FAMILIES, metrics_table
from data_miner_dagster.monitoring.serving import RisingValues, listening, metrics_registry, metrics_server
from data_miner_dagster.operations.platform import Platform


def rest(values: Values) -> None:
    """Set one value of each metric, in place of the parts that need a GPU, Dagster's storage or measured work."""
    for family in FAMILIES.values():
        values.set(family.name, 1.0, *('x\n\\"\x1b' for _ in family.labels))


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    platform = Platform(PlatformConfig(), tmp_path / "root")
    plant_root(platform, 20, num_projects=1, num_batches=0)
    opened = listening("127.0.0.1", 0)
    server = metrics_server(metrics_registry(Collector(platform, {"rest": rest})))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"127.0.0.1:{opened.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    opened.close()


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: str


def ask(address: str, path: str, method: str = "GET", **headers: str) -> Answer:
    with closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers["Content-Type"] or "", answer.read().decode())


def test_metrics__are_what_prometheus_reads(address: str) -> None:
    answer = ask(address, "/metrics")
    assert answer.content_type.startswith("text/plain; version=")
    found = {family.name: family for family in text_string_to_metric_families(answer.body)}
    assert found.keys() == {f"data_miner_{name}" for name in FAMILIES}
    for name, family in FAMILIES.items():
        read = found[f"data_miner_{name}"]
        assert (read.type, read.documentation) == (family.kind, family.meaning)
        assert {sample.name for sample in read.samples} == {family.full_name}
        assert all(set(sample.labels) == set(family.labels) for sample in read.samples)
    of_project = {tuple(s.labels.values()): s.value for s in found["data_miner_project_items"].samples}
    assert of_project["p000", "downloading", "pending"] == 5
    assert 'x\n\\"\\u001b' in {sample.labels["stage"] for sample in found["data_miner_runs"].samples}


def test_metrics__open_metrics_head_and_nothing_else(address: str) -> None:
    answer = ask(address, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.content_type.startswith("application/openmetrics-text")
    assert len(list(open_metrics(answer.body))) == len(FAMILIES)
    assert ask(address, "/metrics", "HEAD") == Answer(200, ask(address, "/metrics").content_type, "")
    assert ask(address, "/-/healthy").body == "ok\n"
    assert {ask(address, "/metrics", method).status for method in ("POST", "PUT", "DELETE")} == {405}
    assert ask(address, "/other").status == 404


def test_rising_values__never_fall() -> None:
    rising = RisingValues()
    assert [rising.risen("items", ("a",), value) for value in (3.0, 5.0, 2.0, 4.0, 1.0)] == [3.0, 5.0, 5.0, 7.0, 7.0]
    assert rising.risen("items", ("b",), 1.0) == 1.0


def test_metrics_table__is_in_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "deploy" / "monitoring.md"
    assert metrics_table() in page.read_text(encoding="utf-8")
