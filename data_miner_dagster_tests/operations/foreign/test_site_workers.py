"""Test sites that hang, grow or kill the process that reads them, which affects only their own item."""

import json
import threading
from pathlib import Path

import pytest

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import ForeignAddress, OwnAddress
from data_miner_dagster.domain.errors import ConfigError, SourceError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.sites.keys import key_of_url
from data_miner_dagster.sites.records import ListingLimits
from data_miner_dagster.workers.errors import WorkersClosedError
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.extractors import install_everywhere
from data_miner_dagster_tests.sites.hostile_server import HostileServer

ENDLESS_DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9H">'
    '<Period><AdaptationSet mimeType="video/mp4"><SegmentTemplate timescale="1000000000" duration="1" startNumber="1"'
    ' media="$Number$.m4s" initialization="i.mp4"/><Representation id="v" bandwidth="1" width="16" height="16"/>'
    "</AdaptationSet></Period></MPD>"
)
HOLDS_THE_INTERPRETER = "<html>" + "<video " * 30_000


def workers_for(**downloading: object) -> SiteWorkers:
    hosts = ("127.0.0.1", "localhost")
    return SiteWorkers(DownloadingConfig.model_validate({"allowed_private_hosts": hosts, **downloading}))


def fetch(workers: SiteWorkers, url: str, folder: Path) -> VideoCandidate:
    folder.mkdir(exist_ok=True)
    return workers.fetch(key_of_url(url), OwnAddress(url), folder, found_at=utc_now()).candidate


def list_address(workers: SiteWorkers, url: str, limits: ListingLimits | None = None) -> list[VideoCandidate]:
    return workers.list_address(OwnAddress(url), source="s", query="q", found_at=utc_now(), limits=limits)


def test_fetch__a_page_that_holds_the_interpreter_is_ended_and_stops_no_other(
    server: HostileServer, tmp_path: Path
) -> None:
    bad = server.add("/bad", hostile.page(HOLDS_THE_INTERPRETER))
    good = server.add("/good.mp4", hostile.whole_file(b"good" * 1000))
    with workers_for(limits={"max_cpu_seconds": 1}) as workers:
        failures: list[VideoPermanentError] = []

        def fetch_bad() -> None:
            with pytest.raises(VideoPermanentError) as failure:
                fetch(workers, bad, tmp_path / "bad")
            failures.append(failure.value)

        other = threading.Thread(target=fetch_bad)
        other.start()
        while other.is_alive():
            assert fetch(workers, good, tmp_path / "good").title == "good"
        other.join()
    [failure] = failures
    assert failure.kind is VideoErrorKind.LIMIT_EXCEEDED
    assert "limits.max_cpu_seconds (1)" in str(failure)


def test_list_address__a_page_that_holds_the_interpreter_is_that_listings_error(server: HostileServer) -> None:
    bad = server.add("/bad", hostile.page(HOLDS_THE_INTERPRETER))
    with workers_for(limits={"max_cpu_seconds": 1}) as workers, pytest.raises(SourceError, match="max_cpu_seconds"):
        list_address(workers, bad)


def test_fetch__what_does_not_end_in_its_wall_time_is_killed(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.operations.foreign.site_workers._GRACE_SECONDS", 0.2)
    bad = server.add("/bad", hostile.page(HOLDS_THE_INTERPRETER))
    with workers_for(max_wall_seconds=0.8) as workers:
        with pytest.raises(
            VideoPermanentError, match=r"after 0\.8 s, the limit in platform\.downloading\.max_wall_seconds"
        ) as failure:
            fetch(workers, bad, tmp_path / "bad")
        assert failure.value.kind is VideoErrorKind.LIMIT_EXCEEDED
        assert workers.process_ids == []


def test_fetch__a_manifest_that_grows_without_end_is_over_the_limit_of_memory(
    server: HostileServer, tmp_path: Path
) -> None:
    url = server.add("/v.mpd", hostile.page(ENDLESS_DASH, "application/dash+xml"))
    with workers_for(limits={"max_memory_bytes": 100 << 20}) as workers:
        with pytest.raises(VideoPermanentError, match="max_memory_bytes") as failure:
            fetch(workers, url, tmp_path / "bad")
        assert failure.value.kind is VideoErrorKind.LIMIT_EXCEEDED
        with pytest.raises(SourceError, match="max_memory_bytes"):
            list_address(workers, url)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_fetch__a_crash_is_of_the_video(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    install_everywhere(monkeypatch)
    url = server.url(f"/crash/{name}", host="localhost")
    with workers_for() as workers:
        with pytest.raises(VideoTransientError, match=name) as failure:
            workers.fetch("crash-a", ForeignAddress(url), tmp_path, found_at=utc_now())
        assert failure.value.kind is VideoErrorKind.CRASHED
        with pytest.raises(SourceError, match=f"the process that read the answer was ended by {name}"):
            list_address(workers, url)


def test_workers__are_given_the_variables_that_are_referred_to_and_no_others(
    server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_everywhere(monkeypatch)
    variables = {
        "HF_TOKEN": "hf_5EC12E7",
        "DATA_MINER_CATALOG_URL": "x://me:5EC12E7@h/db",
        "PO": "po-5EC12E7",
        "K": "k-1",
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    base = server.url("/environment/", host="localhost")
    arguments = {"youtube": {"po_token": ["env:PO"]}}
    with workers_for(extractor_args=arguments) as workers:
        [own] = list_address(workers, base + "{env:K}")
        assert json.loads(own.description or "") == {"provided": ["K", "PO"], "secrets": []}
        with pytest.raises(ConfigError, match="NOT_SET is not set"):
            list_address(workers, base + "{env:NOT_SET}")


def test_list_address__answers_of_any_length_come_in_portions(server: HostileServer) -> None:
    items = "".join(f"<item><title>t{n}</title><link>http://127.0.0.1/{n}.mp4</link></item>" for n in range(1201))
    url = server.add("/feed", hostile.page(f"<rss><channel>{items}</channel></rss>", "text/xml"))
    with workers_for() as workers:
        found = list_address(workers, url)
        assert [candidate.rank for candidate in found] == list(range(1201))
        assert found[-1].title == "t1200"
        assert len(list_address(workers, url, ListingLimits(max_results=3))) == 3


def test_close__ends_what_is_on_its_way(server: HostileServer, tmp_path: Path) -> None:
    url = server.add("/slow.mp4", hostile.slow_body(b"x" * 1000, 60))
    workers = workers_for()
    closer = threading.Timer(1.0, workers.close)
    closer.start()
    with pytest.raises(WorkersClosedError):  # a download that continued would succeed
        fetch(workers, url, tmp_path / "slow")
    closer.join()
