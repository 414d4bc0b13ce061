"""A verifier is asked once about each box, and its answers are stored and added to the detections tables."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.catalog.box_answers import spent_on_answers
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import OutcomeStatus, RgbImage
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preflight import check_models_and_classes
from data_miner_dagster.operations.verification.verify_boxes import VerifierAwayError, read_verification
from data_miner_dagster.storage.tables import read_fingerprint, read_table
from data_miner_dagster_tests.operations.detection.planted_boxes import planted, stage, table_bytes
from data_miner_dagster_tests.operations.verification.verified_shapes import (
    VERIFIER,
    platform_with,
    sees_colours,
    verified_project,
)
from data_miner_dagster_tests.support.chat_server import KEY, always, answer_text, chat_server, cuts, refuses, says
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, set_detection, set_stage


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYES_KEY", KEY)


def verdicts(platform: Platform) -> list[tuple[str, str, str | None, str | None]]:
    rows = read_table(platform.layout.detections_table(PROJECT)).to_pylist()
    return [(row["frame_id"], row["class_name"], row["verifier_verdict"], row["verifier_reason"]) for row in rows]


def test_detect_project__each_box_is_asked_about_once(tmp_path: Path) -> None:
    def contrary(rgb: RgbImage, prompt: str) -> str:
        return sees_colours(rgb, prompt) if "picture: red?" in prompt else answer_text("rejected", "no shape")

    with chat_server(contrary) as chat:
        platform = verified_project(tmp_path, chat, price_per_box=0.002)
        first = detect_project(platform, PROJECT)
        assert verdicts(platform) == [
            ("files-a/000000", "red", "confirmed", "it is red"),
            ("files-a/000001", "red", "confirmed", "it is red"),
            ("files-a/000001", "blue", "rejected", "no shape"),
            ("files-b/000000", "blue", "rejected", "no shape"),
        ]
        assert {row["verifier"] for row in read_table(platform.layout.detections_table(PROJECT)).to_pylist()} == {
            "eyes"
        }
        assert first.counts["verifier:confirmed"] == first.counts["verifier:rejected"] == 2
        assert first.metadata["verifier"] == (
            "eyes answered questions about 4 boxes in this run and 4 in total, for 0.008 in this run and 0.008 in "
            "total (2 per 1,000 boxes)"
        )
        before = table_bytes(platform)
        set_stage(platform, ProjectStage.DETECTION_READY)
        assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED
        forced = detect_project(platform, PROJECT, force=True)
        assert (forced.status, forced.fingerprint, table_bytes(platform)) == (
            OutcomeStatus.DONE,
            first.fingerprint,
            before,
        )
        assert len(chat.bodies) == 4
    body = chat.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("eyes", 0, 200)
    assert body["response_format"]["json_schema"]["schema"]["properties"]["verdict"]["enum"] == [
        "confirmed",
        "rejected",
        "cannot_tell",
    ]


def test_detect_project__without_a_verifier_the_tables_are_as_ever(tmp_path: Path) -> None:
    platform = planted(tmp_path)
    detect_project(platform, PROJECT)
    assert "verifier_verdict" not in read_table(platform.layout.detections_table(PROJECT)).column_names
    assert read_verification(platform.layout.detected_frames_table(PROJECT)) is None
    fingerprint = read_fingerprint(platform.layout.detections_table(PROJECT))
    bytes_before = table_bytes(platform)
    with chat_server(sees_colours) as chat:
        verifying = platform_with(tmp_path, chat.url)
        set_detection(verifying, batch_size=2, verifier=VERIFIER)
        assert detect_project(verifying, PROJECT).fingerprint != fingerprint
        set_detection(verifying, batch_size=2)
        assert detect_project(verifying, PROJECT).fingerprint == fingerprint
    assert table_bytes(platform) == bytes_before


@pytest.mark.parametrize("changed", [{"question": "Do you see {phrases}?"}, {"margin": 0.5}, {"min_confidence": 0.05}])
def test_detect_project__another_question_is_asked_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    with chat_server(always("confirmed")) as chat:
        platform = verified_project(tmp_path, chat)
        detect_project(platform, PROJECT)
        set_detection(platform, batch_size=2, verifier={**VERIFIER, **changed})
        detect_project(platform, PROJECT)
        num_new = 0 if changed == {"min_confidence": 0.05} else 4
        assert len(chat.bodies) == 4 + num_new
        verified = read_verification(platform.layout.detected_frames_table(PROJECT))
        assert verified is not None
        assert verified.confirmed == (2 if num_new == 0 else 4)


def test_detect_project__rudeness_loses_nothing_and_changes_no_byte(tmp_path: Path) -> None:
    with chat_server(sees_colours) as chat:
        friendly = verified_project(tmp_path / "friendly", chat, num_more=4)
        detect_project(friendly, PROJECT)
    moods = [
        refuses(429, Retry_After="0"),
        refuses(500),
        says(b"<html>gateway</html>"),
        says({"error": "overloaded"}),
        cuts(10),
        refuses(503),
        says({"choices": []}),
        says(b"[" * 100_000),
    ]
    with chat_server(sees_colours, moods) as chat:
        rude = verified_project(tmp_path / "rude", chat, num_more=4, tries=9, concurrent_requests=3)
        detect_project(rude, PROJECT)
        assert len(chat.bodies) == 12 + len(moods)
        assert chat.most_at_once <= 3
    assert table_bytes(rude) == table_bytes(friendly)


def test_detect_project__what_does_not_fit_the_form_decides_about_its_own_box_alone(tmp_path: Path) -> None:
    said = iter(["yes, surely", '{"verdict": "yes"}', "{", ""])

    def garbage(rgb: RgbImage, prompt: str) -> str:
        return next(said) if "picture: blue?" in prompt else sees_colours(rgb, prompt)

    with chat_server(garbage) as chat:
        platform = verified_project(tmp_path, chat)
        outcome = detect_project(platform, PROJECT)
    assert [verdict for _, _, verdict, _ in verdicts(platform)] == [
        "confirmed",
        "confirmed",
        "cannot_tell",
        "cannot_tell",
    ]
    assert outcome.counts["verifier:cannot_tell"] == 2


@pytest.mark.parametrize("policy", ["release", "wait"])
def test_detect_project__a_gone_endpoint_is_asked_later(tmp_path: Path, policy: str) -> None:
    with chat_server(sees_colours) as chat:
        platform = verified_project(tmp_path, chat, num_more=9, verifier={"when_unavailable": policy})
        chat.moods += [lambda _handler: False] * 5 + [refuses(500)] * 500
        if policy == "wait":
            with pytest.raises(VerifierAwayError, match=r"HTTP 500 \(no: 500\); the project waits for the verifier"):
                detect_project(platform, PROJECT)
            assert stage(platform) is ProjectStage.FAILED
            set_stage(platform, ProjectStage.DETECTION_READY)
        else:
            outcome = detect_project(platform, PROJECT)
            assert (outcome.counts["verifier:confirmed"], outcome.counts["verifier:waiting"]) == (5, 17)
            assert "unavailable: verifier eyes: the endpoint returned HTTP 500" in str(outcome.metadata["verifier"])
            assert stage(platform) is ProjectStage.RELEASING_READY
        assert spent_on_answers(platform.database, PROJECT).num_answers == 5
        assert len(chat.bodies) <= 5 + 3 * (3 + 8), "three boxes in a row, and those on their way"
        chat.moods.clear()
        again = detect_project(platform, PROJECT)
        assert (again.status, again.counts["verifier:confirmed"]) == (OutcomeStatus.DONE, 22)
    with chat_server(sees_colours) as chat:
        whole = verified_project(tmp_path / "whole", chat, num_more=9, verifier={"when_unavailable": policy})
        detect_project(whole, PROJECT)
    assert table_bytes(platform) == table_bytes(whole)


def test_detect_project__nobody_listens(tmp_path: Path) -> None:
    with chat_server(sees_colours) as chat:
        platform = verified_project(tmp_path, chat)
    outcome = detect_project(platform, PROJECT)
    assert outcome.counts["verifier:waiting"] == 4
    assert [verdict for _, _, verdict, _ in verdicts(platform)] == [None] * 4


@pytest.mark.parametrize(
    ("limit", "num_answers"), [({"max_boxes": 3}, 3), ({"max_cost": 0.0061}, 3), ({"max_cost": 0.0059}, 2)]
)
def test_detect_project__a_budget_stops_it(tmp_path: Path, limit: dict[str, Any], num_answers: int) -> None:
    prices: dict[str, Any] = {
        "price_per_million_input_tokens": 1.0,
        "price_per_million_output_tokens": 50.0,
    }  # an answer costs 1,000 input and 20 output tokens
    with chat_server(sees_colours) as chat:
        platform = verified_project(tmp_path, chat, num_more=9, verifier=limit, **prices)
        outcome = detect_project(platform, PROJECT)
        assert len(chat.bodies) == outcome.counts["verifier:confirmed"] == num_answers
        assert outcome.counts["verifier:over_budget"] == 22 - num_answers
        assert "verifier:waiting" not in outcome.counts
        assert "(2 per 1,000 boxes); " in str(outcome.metadata["verifier"])
        assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED, "nothing more may be asked"
        set_detection(platform, batch_size=2, verifier={**VERIFIER, "max_boxes": num_answers + 4})
        assert detect_project(platform, PROJECT).counts["verifier:confirmed"] == num_answers + 4
        assert len(chat.bodies) == num_answers + 4


def test_detect_project__a_budget_holds_although_earlier_answers_have_no_price(tmp_path: Path) -> None:
    prices: dict[str, Any] = {"price_per_million_input_tokens": 1.0, "price_per_million_output_tokens": 50.0}
    with chat_server(sees_colours) as chat:
        platform = verified_project(tmp_path, chat, num_more=9, verifier={"max_boxes": 3})
        detect_project(platform, PROJECT)
        assert len(chat.bodies) == 3
        priced = platform_with(tmp_path, chat.url, **prices)
        set_detection(priced, batch_size=2, verifier={**VERIFIER, "max_cost": 0.0059})
        set_stage(priced, ProjectStage.DETECTION_READY)
        detect_project(priced, PROJECT)
        assert len(chat.bodies) == 3 + 2


def test_detect_project__a_cost_that_nobody_states(tmp_path: Path) -> None:
    prices: dict[str, Any] = {"price_per_million_input_tokens": 1.0, "price_per_million_output_tokens": 50.0}
    with chat_server(sees_colours) as chat:
        chat.usage = None
        platform = verified_project(tmp_path, chat, verifier={"max_cost": 1}, **prices)
        with pytest.raises(
            ConfigError, match="max_cost is 1, but endpoint eyes reports no token counts; set its price_per_box"
        ):
            detect_project(platform, PROJECT)
        assert len(chat.bodies) == 1


def _detect(root: Path, url: str) -> None:
    detect_project(platform_with(root, url), PROJECT)


def test_detect_project__killed_while_asking(tmp_path: Path) -> None:
    victim: list[int] = []

    def kills(rgb: RgbImage, prompt: str) -> str:
        if len(chat.bodies) >= 9 and victim:
            os.kill(victim.pop(), signal.SIGKILL)
        return sees_colours(rgb, prompt)

    with chat_server(kills) as chat:
        platform = verified_project(tmp_path, chat, num_more=9)
        process = multiprocessing.get_context("spawn").Process(target=_detect, args=(tmp_path, chat.url))
        process.start()
        assert process.pid is not None
        victim.append(process.pid)
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        num_kept, num_asked = spent_on_answers(platform.database, PROJECT).num_answers, len(chat.bodies)
        assert num_asked - 4 <= num_kept < num_asked, "those on their way are lost"
        detect_project(platform, PROJECT)
        assert len(chat.bodies) == num_asked + 22 - num_kept, "nothing that was answered is asked again"
    with chat_server(sees_colours) as chat:
        whole = verified_project(tmp_path / "whole", chat, num_more=9)
        detect_project(whole, PROJECT)
    assert table_bytes(platform) == table_bytes(whole)


def test_detect_project__a_wrong_key_is_one_line_that_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYES_KEY", "sk-wrong-key-9876543210")
    with chat_server(sees_colours) as chat:
        platform = verified_project(tmp_path, chat)
        with pytest.raises(ConfigError) as caught:
            detect_project(platform, PROJECT)
    assert str(caught.value) == (
        "verifier eyes: the endpoint returned HTTP 401 (wrong key Bearer ***); correct its url, api_key, model or "
        "parameters in platform.models.endpoints.eyes"
    )


def test_detect_project__refused_pictures_are_not_told(tmp_path: Path) -> None:
    with chat_server(sees_colours, [refuses(400), lambda _: False, refuses(413)]) as chat:
        platform = verified_project(tmp_path, chat)
        outcome = detect_project(platform, PROJECT)
        assert (outcome.counts["verifier:cannot_tell"], outcome.counts["verifier:confirmed"]) == (2, 2)
        assert verdicts(platform)[0][3] == "not examined: the endpoint returned HTTP 400 (no: 400)"


def test_detect_project__a_server_that_refuses_every_request_is_at_fault(tmp_path: Path) -> None:
    with chat_server(sees_colours, [refuses(400)] * 50) as chat:
        platform = verified_project(tmp_path, chat)
        with pytest.raises(ConfigError, match=r"HTTP 400 \(no: 400\); correct its url, api_key, model"):
            detect_project(platform, PROJECT)
    assert spent_on_answers(platform.database, PROJECT).num_answers == 0


@pytest.mark.parametrize(
    ("endpoint", "verifier", "line"),
    [
        (
            {"api_key": "env:NO_KEY"},
            {},
            "variable NO_KEY is not set or is empty, but platform.models.endpoints.eyes.api_key",
        ),
        ({"url": "http://10.0.0.1/v1"}, {}, "with their pictures and any key, are not encrypted; use https://"),
        ({"url": "https://10.0.0.1/v1"}, {}, "10.0.0.1 resolves to 10.0.0.1, which is not a public address"),
        ({}, {"max_cost": 1}, "the price of an answer by eyes is not known"),
        (
            {},
            {"model": "ears"},
            r"'ears' is in neither platform.models.endpoints \(eyes\) nor platform.models.registry; add",
        ),
        (
            {},
            {"model": "lite-yolov3-tiny"},
            "'lite-yolov3-tiny' is a model of kind detector and is in neither platform",
        ),
    ],
)
def test_check_models_and_classes__a_verifier_that_may_not_be_asked_is_one_line(
    tmp_path: Path, endpoint: dict[str, Any], verifier: dict[str, Any], line: str
) -> None:
    platform = platform_with(tmp_path, **{"url": "http://127.0.0.1:1/v1", **endpoint})
    set_detection(platform, verifier={**VERIFIER, **verifier})
    with pytest.raises(ConfigError, match=line) as caught:
        check_models_and_classes(platform, platform.project_config(PROJECT))
    assert "\n" not in str(caught.value)
