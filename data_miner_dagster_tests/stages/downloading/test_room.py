from dataclasses import replace
from typing import Any

import pytest

from data_miner_dagster.stages.downloading.room import RoomAnswer, RoomState, filled_limit, may_download

STATE = RoomState(quota=1000, held=0, promised=0, is_extracting=False, goes_on_beyond=False)


def test_filled_limit__nine_tenths() -> None:
    assert filled_limit(1000) == 900


@pytest.mark.parametrize(
    ("changes", "frames_bytes", "answer"),
    [
        ({}, 0, RoomAnswer.YES),
        ({"held": 900}, 0, RoomAnswer.YES),  # one more video may exceed the limit
        ({"held": 801}, 100, RoomAnswer.NO),  # the video's frames must fit, too
        ({"held": 901}, 0, RoomAnswer.NO),
        ({"held": 901, "goes_on_beyond": True}, 0, RoomAnswer.YES),
        ({"held": 901, "goes_on_beyond": True, "promised": 1}, 0, RoomAnswer.AFTER_DOWNLOADS),  # one at a time
        ({"held": 901, "goes_on_beyond": True, "is_extracting": True}, 0, RoomAnswer.AFTER_EXTRACTION),
        ({"held": 600, "promised": 300}, 0, RoomAnswer.YES),
        ({"held": 600, "promised": 301}, 0, RoomAnswer.AFTER_DOWNLOADS),
        ({"held": 600, "promised": 301, "is_extracting": True}, 0, RoomAnswer.AFTER_DOWNLOADS),
        ({"held": 901, "promised": 301, "is_extracting": True}, 0, RoomAnswer.AFTER_EXTRACTION),
    ],
)
def test_may_download__at_most_the_quota_and_one_video(
    changes: dict[str, Any], frames_bytes: int, answer: RoomAnswer
) -> None:
    assert may_download(replace(STATE, **changes), frames_bytes) is answer
