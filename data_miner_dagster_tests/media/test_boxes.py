from pathlib import Path

import pytest

from data_miner_dagster.media.boxes import is_cut_off
from data_miner_dagster_tests.sites.tiny_videos import make_video


@pytest.mark.parametrize("faststart", [True, False])
def test_is_cut_off__wherever_it_ends(tmp_path: Path, faststart: bool) -> None:
    content = make_video(tmp_path / "whole.mp4", num_frames=5, faststart=faststart).read_bytes()
    assert not is_cut_off(tmp_path / "whole.mp4")
    cut = tmp_path / "cut.mp4"
    for length in (len(content) - 1, len(content) // 2, 40, 12, 9):
        cut.write_bytes(content[:length])
        assert is_cut_off(cut), length


@pytest.mark.parametrize(
    "content",
    [b"", b"no video at all, but text", b"\x1a\x45\xdf\xa3" * 8, b"\x00\x00\x00\x00mdat1234"],
)
def test_is_cut_off__is_said_of_no_other_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert not is_cut_off(tmp_path / "file")
