"""Re-uploads in hand-written sequences of duplicate groups, with one letter per frame."""

import pyarrow as pa

from data_miner_dagster.stages.deduplication.reuploads import Reupload, find_reuploads


def decided(**groups_by_video: str) -> pa.Table:
    """Return a table in which the first frame with a letter, in the given order, represents the letter's group."""
    first: dict[str, str] = {}
    rows = []
    for video_key, groups in groups_by_video.items():
        for index, group in enumerate(groups):
            frame_id = f"{video_key}/{index:06d}"
            representative = first.setdefault(group, frame_id)
            rows.append(
                {
                    "frame_id": frame_id,
                    "video_key": video_key,
                    "frame_index": index,
                    "representative_frame_id": representative,
                    "is_representative": representative == frame_id,
                }
            )
    names = ["frame_id", "video_key", "frame_index", "representative_frame_id", "is_representative"]
    return pa.table({name: pa.array([row[name] for row in rows]) for name in names})


def find(minimum_share: float = 0.8, minimum_pictures: int = 3, **groups: str) -> list[Reupload]:
    """Find re-uploads, by default with the usual settings."""
    return find_reuploads(decided(**groups), minimum_share=minimum_share, minimum_pictures=minimum_pictures)


def test_find_reuploads__empty() -> None:
    none = decided(a="x").slice(0, 0)
    assert find_reuploads(none, minimum_share=0.8, minimum_pictures=3) == []


def test_find_reuploads__whole_video() -> None:
    assert find(a="abcde", b="abcde") == [Reupload("b", "a", 1.0, 1.0, 5, 5)]


def test_find_reuploads__the_one_with_fewer_representatives_is_the_copy() -> None:
    assert find(b="abcde", a="abcde") == [Reupload("a", "b", 1.0, 1.0, 5, 5)]


def test_find_reuploads__other_frame_rate_and_an_intro() -> None:
    assert find(a="abcde", b="xaabbccddee") == [Reupload("b", "a", 10 / 11, 1.0, 10, 11)]


def test_find_reuploads__excerpt() -> None:
    assert find(a="abcdefghij", b="defg") == [Reupload("b", "a", 1.0, 0.4, 4, 4)]


def test_find_reuploads__longer_copy_of_a_shorter_original() -> None:
    # b is not a copy of a. Instead, a is an excerpt of b, although b came second.
    assert find(a="defg", b="abcdefghij") == [Reupload("a", "b", 1.0, 0.4, 4, 4)]


def test_find_reuploads__same_pictures_in_another_order() -> None:
    assert find(a="abcde", b="edcba") == []


def test_find_reuploads__a_still_proves_nothing() -> None:
    assert find(a="aaaaaaaa", b="aaaaaaaa") == []
    assert find(a="aaaabbbb", b="aaaabbbb") == []


def test_find_reuploads__share_is_inclusive() -> None:
    assert [r.share for r in find(a="abcdy", b="abcdx")] == [0.8]
    assert find(0.81, a="abcdy", b="abcdx") == []


def test_find_reuploads__names_the_original_that_contains_most() -> None:
    found = find(a="abcde", b="abcdefgh", c="abcdefg")
    assert [(r.video_key, r.original_video_key) for r in found] == [("a", "b"), ("c", "b")]


def test_find_reuploads__common_intro_of_many_videos() -> None:
    videos = {f"v{i:02d}": "abc" + "".join(chr(1000 + 10 * i + j) for j in range(9)) for i in range(60)}
    assert find_reuploads(decided(**videos), minimum_share=0.1, minimum_pictures=3) == []
