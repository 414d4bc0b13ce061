"""Linked videos and their content."""

from hypothesis import strategies as st

from data_miner_dagster.stages.splitting.drawing import VideoContent

SHARES = {"train": 0.8, "test": 0.1, "val": 0.1}
ORDER = list(SHARES)

keys = st.lists(st.from_regex(r"files-[a-z0-9]{1,8}", fullmatch=True), min_size=1, max_size=40, unique=True)
counts = st.dictionaries(st.integers(0, 3), st.integers(1, 20), max_size=4)


@st.composite
def linked_videos(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, str]]]:
    """Draw videos and links between them."""
    videos = draw(keys)
    one = st.sampled_from(videos)
    return videos, draw(st.lists(st.tuples(one, one), max_size=30))


@st.composite
def contents_of(draw: st.DrawFn, videos: list[str]) -> dict[str, VideoContent]:
    """Draw the content of each of these videos."""
    return {key: VideoContent(draw(st.integers(1, 50)), found := draw(counts), found) for key in videos}


def alike(num_videos: int, prefix: str = "youtube") -> dict[str, VideoContent]:
    """Return videos with equal content."""
    return {f"{prefix}-{index}": VideoContent(10, {0: 5}, {0: 8}) for index in range(num_videos)}
