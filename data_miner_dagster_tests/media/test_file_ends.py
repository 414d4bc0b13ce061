from pathlib import Path

import pytest

from data_miner_dagster.media.file_ends import FileEnd, file_end
from data_miner_dagster_tests.support.small_videos import make_video


@pytest.mark.parametrize("faststart", [True, False])
def test_file_end__wherever_it_ends(tmp_path: Path, faststart: bool) -> None:
    content = make_video(tmp_path / "whole.mp4", num_frames=5, faststart=faststart).read_bytes()
    assert file_end(tmp_path / "whole.mp4") is FileEnd.WHOLE
    cut = tmp_path / "cut.mp4"
    for length in (len(content) - 1, len(content) // 2, 40, 12, 9):
        cut.write_bytes(content[:length])
        assert file_end(cut) is FileEnd.CUT, length


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no video at all, but text",
        b"\x1a\x45\xdf\xa3" * 8,
        b"\x00\x00\x00\x00mdat1234",
        b"FLV",
        b"RIFF\0\0\0\0AVI ",
    ],
)
def test_file_end__cut_is_said_of_no_other_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert file_end(tmp_path / "file") is not FileEnd.CUT
