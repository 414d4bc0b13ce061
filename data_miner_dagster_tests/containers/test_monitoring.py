"""Check dashboards, alerting rules and the collector against the metrics and log lines that really exist."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

MONITORING = Path(__file__).parents[2] / "docker" / "monitoring"
BOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
TABLE = Path(__file__).parents[2] / "docs" / "deploy" / "monitoring.md"


def queries(kind: str) -> Iterator[str]:
    for board in BOARDS:
        for panel in json.loads(board.read_text(encoding="utf-8"))["panels"]:
            yield from (target["expr"] for target in panel["targets"] if target["datasource"]["type"] == kind)


def rules() -> Iterator[str]:
    for group in yaml.safe_load((MONITORING / "rules.yaml").read_text(encoding="utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def selectors(query: str) -> list[tuple[str, set[str]]]:
    """Return each metric in a query, with the labels by which the query selects it."""
    found: list[tuple[str, set[str]]] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((str(node.name), {matcher.name for matcher in node.matchers.matchers}))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def exported() -> Mapping[str, set[str]]:
    """Return the labels of each metric from the exporter's own page, which its tests compare with what it serves."""
    rows = re.findall(r"(?m)^\| `(data_miner_\w+)` \| \w+ \| ([^|]*) \|", TABLE.read_text(encoding="utf-8"))
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


@pytest.mark.parametrize("query", [*queries("prometheus"), *rules()])
def test_queries__ask_for_metrics_and_labels_that_are_exported(query: str) -> None:
    known, asked = exported(), selectors(query)
    assert asked
    assert {name for name, _ in asked} <= known.keys()
    labels = set().union(*(known[name] for name, _ in asked))
    assert all(chosen <= known[name] for name, chosen in asked)
    grouped = {word for names in re.findall(r"(?:by|on) \(([^)]*)\)", query) for word in names.split(", ") if word}
    assert grouped <= labels


def test_selectors__by_hand() -> None:
    query = 'sum by (stage) (rate(a{x="1", y=~"2"}[5m])) / on (p) group_left () b > 0'
    assert selectors(query) == [("a", {"x", "y"}), ("b", set())]
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        selectors("sum by (stage (a)")


def test_dashboards__show_what_they_are_for() -> None:
    assert [board.stem for board in BOARDS] == ["logs", "machine", "pipeline"]
    shown = {name for query in queries("prometheus") for name, _ in selectors(query)}
    for word in (
        "pending",
        "pool_slots",
        "stage_closed",
        "budget",
        "items_total",
        "failed_items",
        "cpu_seconds",
        "eta",
    ):
        assert any(word in name for name in shown), word
    assert {"data_miner_disk_free_bytes", "data_miner_gpu_memory_used_bytes"} <= shown


def test_dashboards__name_only_sources_that_are_provisioned() -> None:
    sources = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/sources.yaml").read_text(encoding="utf-8"))
    known = {(source["type"], source["uid"]) for source in sources["datasources"]}
    for board in BOARDS:
        content = json.loads(board.read_text(encoding="utf-8"))
        panels = content["panels"]
        assert {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in panels} <= known
        assert len({panel["id"] for panel in panels}) == len(panels)
        for panel in panels:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24


def test_log_queries__ask_for_labels_of_the_collector_and_fields_of_the_lines() -> None:
    collector = (MONITORING / "config.alloy").read_text(encoding="utf-8")
    labels = {
        word for found in re.findall(r"values = \{([^}]*)\}", collector) for word in re.findall(r"(\w+) =", found)
    }
    assert labels == {"service", "level", "stage"}
    assert 'service = "runs"' in collector
    fields = {"time", "level", "logger", "message", "run_id", "stage", "project", "video"}
    for query in queries("loki"):
        stream, _, behind = query.partition("}")
        assert set(re.findall(r'(\w+)=~?"', stream)) <= labels
        assert set(re.findall(r'(\w+)=~?"', behind)) <= fields
        assert set(re.findall(r"by \((\w+)\)", query)) <= labels
