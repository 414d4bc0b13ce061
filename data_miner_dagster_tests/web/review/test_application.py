"""Test which requests are answered and which are refused, with real HTTP over a socket."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.storage.root_lock import take_root_lock
from data_miner_dagster.web.review.access import Access
from data_miner_dagster.web.review.serving import is_served, port_of_up
from data_miner_dagster_tests.operations.foreign.planted_pictures import coded
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.frames import write_pictures
from data_miner_dagster_tests.support.sample_project import build_platform, build_project
from data_miner_dagster_tests.web.review.serving import JSON, Answer, ReviewSite, served

PROJECT = "cyclists"
FRAME = "files-aaa/000001"
PAGES = (
    f"/projects/{PROJECT}",
    f"/projects/{PROJECT}/queues/unsure",
    f"/projects/{PROJECT}/queues/filter",
    f"/projects/{PROJECT}/queues/duplicates",
    f"/projects/{PROJECT}/gallery?class=person",
    f"/projects/{PROJECT}/gallery?video=files-aaa",
    f"/projects/{PROJECT}/frames/{FRAME}",
    f"/api/projects/{PROJECT}/queues/unsure",
    "/pictures/files-aaa/1",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewSite]:
    platform = build_project(tmp_path_factory.mktemp("review") / "root")
    with served(platform) as running:
        yield running


@pytest.fixture(scope="module")
def cookie(site: ReviewSite) -> str:
    return site.cookie()


def verdict(answer_id: str = "a-first-answer") -> dict[str, object]:
    return {
        "answers": [
            {
                "answer_id": answer_id,
                "word": "complete",
                "queue": "random",
                "frame_id": FRAME,
                "pts_seconds": 1.0,
            }
        ]
    }


def post(site: ReviewSite, path: str, body: object, cookie: str, **headers: str) -> Answer:
    return site.ask(path, method="POST", body=body, Cookie=cookie, **{**JSON, **headers})


@pytest.mark.parametrize("page", PAGES)
def test_pages__are_for_visitors_with_a_session(site: ReviewSite, cookie: str, page: str) -> None:
    refused = site.ask(page)
    assert refused.status == 401
    assert b"data-miner review" in refused.body
    assert site.ask(page, Cookie=cookie.replace("=", "=x")).status == 401
    assert site.ask(page, Cookie=cookie).status == 200


def test_login__link_works_once_and_its_cookie_is_strict(site: ReviewSite) -> None:
    link = site.link()
    address, _, secret = link.partition("#")
    page = site.ask("/login")
    assert address == f"{site.address}/login"
    assert page.status == 200
    assert secret.removesuffix("%20/") not in page.text
    first = site.log_in(secret.removesuffix("%20/"))
    attributes = {part.strip().lower() for part in first.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert site.log_in(secret.removesuffix("%20/")).status == 403
    assert site.log_in("something else").status == 403


def test_login__looking_at_a_link_uses_nothing_up(site: ReviewSite) -> None:
    secret = site.link().partition("#")[2].removesuffix("%20/")
    for address in ("/login", f"/login?secret={secret}", f"/api/login?secret={secret}"):
        site.ask(address)
    assert site.log_in(secret).status == 200


def test_logout__ends_the_session(site: ReviewSite) -> None:
    cookie = site.cookie("carl")
    assert post(site, "/api/name", {"who": "Carla"}, cookie).json == {"who": "Carla"}
    assert site.ask("/api/session", Cookie=cookie).json == {"who": "Carla"}
    assert post(site, "/api/name", {"who": "\u200b"}, cookie).status == 400
    assert post(site, "/api/logout", {}, cookie).status == 200
    assert site.ask("/api/session", Cookie=cookie).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_answers__only_from_our_own_pages(site: ReviewSite, cookie: str, headers: dict[str, str], status: int) -> None:
    address = f"/api/projects/{PROJECT}/answers"
    own = {"Origin": site.address, "Sec-Fetch-Site": "same-origin"}
    assert (
        site.ask(
            address, method="POST", body=verdict("of-a-stranger"), Cookie=cookie, **{**JSON, **own, **headers}
        ).status
        == status
    )
    assert site.ask(address, method="POST", body=verdict("of-a-stranger"), **{**JSON, **own}).status == 401
    assert site.ask(address, Cookie=cookie).status == 405
    assert "of-a-stranger" not in stored(site)


@pytest.mark.parametrize("path", ["/api/login", "/api/logout", "/api/name", f"/api/projects/{PROJECT}/undo"])
def test_get__changes_nothing(site: ReviewSite, cookie: str, path: str) -> None:
    assert site.ask(path, Cookie=cookie).status == 405
    assert site.ask("/api/session", Cookie=cookie).status == 200


def stored(site: ReviewSite) -> list[str]:
    from data_miner_dagster.catalog.verdicts import all_verdicts

    return [found.verdict.answer_id for found in all_verdicts(site.platform.database, PROJECT)]


def test_answers__are_stored_once_and_undone(site: ReviewSite, cookie: str) -> None:
    address = f"/api/projects/{PROJECT}"
    for _ in range(3):  # sent again, as if the acknowledgement had been lost
        assert post(site, f"{address}/answers", verdict("sent-three-times"), cookie, Origin=site.address).status == 200
    assert stored(site).count("sent-three-times") == 1
    assert post(site, f"{address}/undo", {"answer_id": "sent-three-times"}, cookie).json == {"is_undone": True}
    assert post(site, f"{address}/undo", {"answer_id": "sent-three-times"}, cookie).json == {"is_undone": False}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"answers": 1}',
        json.dumps({"answers": [{"answer_id": "a" * 12}]}).encode(),
        json.dumps({"answers": [{**verdict()["answers"][0], "who": "somebody else"}]}).encode(),  # type: ignore[index]
        json.dumps({"answers": [{**verdict()["answers"][0], "pts_seconds": float("nan")}]}).encode(),  # type: ignore[index]
        json.dumps({"answers": [{**verdict()["answers"][0], "frame_id": "../../etc/passwd"}]}).encode(),  # type: ignore[index]
        b"[" * 100_000,
        b"x" * 1_000_001,
    ],
)
def test_answers__what_is_no_answer_is_refused(site: ReviewSite, cookie: str, body: bytes) -> None:
    refused = post(site, f"/api/projects/{PROJECT}/answers", body, cookie)
    assert refused.status == 400
    assert set(refused.json) == {"error"}


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/..%2f..%2fcatalog.sqlite/0",
        "/pictures/../../catalog.sqlite",
        "/pictures/files-aaa/99",
        "/pictures/files-nowhere/0",
        "/static/../access.py",
        "/static/%2e%2e/access.py",
        "/report/..%2f..%2fcatalog.sqlite/",
        "/projects/nowhere",
        "/projects/..%2f..",
    ],
)
def test_pages__no_path_leaves_what_is_shown(site: ReviewSite, cookie: str, path: str) -> None:
    answer = site.ask(path, Cookie=cookie)
    assert answer.status in (400, 404)
    assert b"SQLite" not in answer.body
    assert b"import" not in answer.body


def test_pages__run_no_script_but_ours(site: ReviewSite, cookie: str) -> None:
    policy = site.ask(f"/projects/{PROJECT}", Cookie=cookie).headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "'unsafe-inline'" not in policy.replace("style-src-attr 'unsafe-inline'", "")
    for page in PAGES[:7]:
        text = site.ask(page, Cookie=cookie).text
        assert text.count("<script") == text.count("<script src=") + text.count('<script type="module" src=')
        assert " onclick=" not in text


def test_pages__titles_are_text(tmp_path: Path) -> None:
    from data_miner_dagster.catalog.schema import VideoRow

    platform = build_project(tmp_path / "root")
    with platform.database.transaction() as session:
        session.get_one(VideoRow, "files-aaa").title = '<script>alert(1)</script>"\u202e'
    with served(platform) as site:
        cookie = site.cookie("<b>anna</b>")
        page = site.ask(f"/projects/{PROJECT}/gallery?video=files-aaa", Cookie=cookie).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;\\u202e" in page
    assert "&lt;b&gt;anna&lt;/b&gt;" in page


def test_picture__ours_is_sent_as_stored_and_a_strangers_encoded_again(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    layout = platform.layout
    foreign = coded(0, "JPEG", quality=90, comment=b"a stranger's bytes")
    write_pictures(layout, "frames-zzz", [foreign, coded(1, "PNG")], width=640, height=480)
    with served(platform) as site:
        cookie = site.cookie()
        ours = site.ask("/pictures/files-aaa/1", Cookie=cookie)
        theirs = [site.ask(f"/pictures/frames-zzz/{index}", Cookie=cookie) for index in range(2)]
        small = site.ask("/pictures/frames-zzz/0?small=1", Cookie=cookie)
        layout.frame_path("files-aaa", "000001.jpg").write_bytes(b"\xff\xd8\xff, but not what was stored")
        damaged = site.ask("/pictures/files-aaa/1?again", Cookie=cookie)
    assert ours.body.startswith(b"\xff\xd8\xff")
    assert ours.headers["content-type"] == "image/jpeg"
    assert ours.headers["x-content-type-options"] == "nosniff"
    for answer in theirs:
        assert answer.status == 200
        assert answer.body.startswith(b"\xff\xd8\xff")
        assert b"a stranger's bytes" not in answer.body
    assert small.status == 200
    assert len(small.body) < len(theirs[0].body)
    assert damaged.status == 404


def test_picture__of_a_frame_that_is_stored_as_png(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    write_pictures(platform.layout, "files-png", [coded(1, "PNG")], file_name=["000000.png"], width=640, height=480)
    folder = platform.layout.frames_folder("files-png")
    (folder / "000000.jpg").rename(folder / "000000.png")
    with served(platform) as site:
        answer = site.ask("/pictures/files-png/0", Cookie=site.cookie())
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.body.startswith(b"\xff\xd8\xff")


def test_report__is_the_page_on_disk(site: ReviewSite, cookie: str) -> None:
    assert site.ask(f"/report/{PROJECT}/", Cookie=cookie).status == 404
    page = site.platform.layout.report_page(PROJECT)
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html><title>The report</title><style>a {}</style>", encoding="utf-8")
    answer = site.ask(f"/report/{PROJECT}/", Cookie=cookie)
    assert answer.text == page.read_text(encoding="utf-8")
    assert "script-src" not in answer.headers["content-security-policy"]


def test_is_served__recognizes_the_root(site: ReviewSite, tmp_path: Path) -> None:
    assert is_served(site.platform, site.port)
    assert not is_served(build_platform(tmp_path / "another"), site.port)
    assert not is_served(site.platform, 9)


def test_port_of_up__only_where_the_pages_are_answered(site: ReviewSite, tmp_path: Path) -> None:
    other = build_platform(tmp_path / "another")
    other.root.mkdir(exist_ok=True)
    assert port_of_up(other) is None
    for noted in (site.port, 9, None):  # another root's port, a port without pages, and a lock without a port
        os.close(take_root_lock(other.layout.up_lock, review_port=noted))
        assert port_of_up(other) is None
    other.layout.up_lock.write_text('{"pid": 1, "host": "a", "since": "b", "review_port": "x"}')
    assert port_of_up(other) is None


def test_access__no_secret_is_logged(site: ReviewSite, capfd: pytest.CaptureFixture[str]) -> None:
    secret = Access(site.platform.layout).new_link_secret("anna")
    cookie = site.log_in(secret).headers["set-cookie"].partition(";")[0]
    site.ask(f"/projects/{PROJECT}?x", Cookie=cookie)
    site.ask(f"/projects/{PROJECT}/nowhere", Cookie=cookie)
    out, err = capfd.readouterr()
    assert secret not in out + err
    assert cookie.partition("=")[2] not in out + err


def test_frame__is_found_by_its_address(site: ReviewSite, cookie: str) -> None:
    assert make_frame_id("files-aaa", 1) == FRAME
    assert f'data-key="{FRAME}"' in site.ask(f"/projects/{PROJECT}/frames/{FRAME}", Cookie=cookie).text


def test_video__leads_to_its_frames_in_the_project_that_wants_it(site: ReviewSite, cookie: str) -> None:
    found = site.ask("/videos/files-aaa", Cookie=cookie)
    assert (found.status, found.headers["location"]) == (303, f"/projects/{PROJECT}/gallery?video=files-aaa")
    assert site.ask("/videos/files-nowhere", Cookie=cookie).status == 404
    assert site.ask("/videos/files-aaa").status == 401
    save_snapshot(site.platform.database, "other", {}, "hash", None)
    add_video(site.platform.database, "files-aaa", "other")
    both = site.ask("/videos/files-aaa", Cookie=cookie)
    assert both.status == 200
    assert 'href="/projects/other/gallery?video=files-aaa"' in both.text
    assert f'href="/projects/{PROJECT}/gallery?video=files-aaa"' in both.text
