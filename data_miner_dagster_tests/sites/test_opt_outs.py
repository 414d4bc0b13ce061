"""Pages that opt out of use by machines."""

import pytest

from data_miner_dagster.sites.opt_outs import opt_out_of


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, None),
        ({"Content-Type": "noai"}, None),
        ({"X-Robots-Tag": "noarchive, NoAI"}, "X-Robots-Tag: NoAI"),
        ({"x-robots-tag": "data-miner: noindex"}, "X-Robots-Tag: noindex"),
        ({"x-robots-tag": "otherbot: noindex"}, None),
        ({"TDM-Reservation": " 1 "}, "tdm-reservation: 1"),
        ({"TDM-Reservation": "0"}, None),
    ],
)
def test_opt_out_of__headers(headers: dict[str, str], words: str | None) -> None:
    assert opt_out_of(headers) == words


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("", None),
        ("<p>noai</p><meta name='description' content='noai'>", None),
        ("<meta name='robots' content='index, follow'>", None),
        ("<meta name='robots' content='noindex'>", "robots: noindex"),
        ('<META CONTENT="NoAI" NAME="Robots"/>', "robots: noai"),
        ("<meta\n  name = robots\n  content = none >", "robots: none"),
        ("<meta name=data-miner content=noimageai>", "robots: noimageai"),
        ("<meta name='robots' content='index' content='noai'>", None),  # the first attribute counts
        ("<meta name='robots' content='no&#97;i'>", "robots: noai"),
        ("<meta title='a > b' name='robots' content='noai'>", "robots: noai"),
        ("<meta name=tdm-reservation content=1>", "tdm-reservation: 1"),
        ("<meta name=tdm-reservation content=10>", None),
        ("<metadata name=robots content=noai>", None),
        ("<!-- <meta name='robots' content='noai'> -->", None),
        ("<script>'<meta name=robots content=noai>'</script>", None),
        ("<meta name=robots><meta content=noai>", None),  # two elements
        # broken markup does not hide what follows it
        ("<p <div> </<b> <![if x]> <![what ever> <?php ?> & &# <meta name='robots' content='noai'>", "robots: noai"),
        ("<meta name='robots' content='noai'", None),  # cut off
    ],
)
def test_opt_out_of__meta_elements(html: str, words: str | None) -> None:
    assert opt_out_of({}, html) == words
    assert opt_out_of({}, f"<!DOCTYPE html><html><head>{html}") == words


def test_opt_out_of__looks_at_the_beginning_of_a_page_only() -> None:
    meta = "<meta name=robots content=noai>"
    assert opt_out_of({}, " " * 199_000 + meta) == "robots: noai"
    assert opt_out_of({}, " " * 200_000 + meta) is None
