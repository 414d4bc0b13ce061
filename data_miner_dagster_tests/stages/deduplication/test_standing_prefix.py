"""The decisions that remain valid when frames are added, removed or changed."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.stages.deduplication.leaders import standing_prefix

DECIDED = pa.schema(
    [
        ("frame_id", pa.string()),
        ("video_key", pa.string()),
        ("representative_frame_id", pa.string()),
        ("quality_rank", pa.int32()),
        ("is_representative", pa.bool_()),
    ]
)


@given(st.data())
def test_standing_prefix__gives_what_deciding_everything_gives(data: st.DataObject) -> None:
    def decided(positions: dict[str, int]) -> pa.Table:
        # Greedy leaders over points on a line, in order of name. Points at most 2 apart are within reach.
        leaders: list[str] = []
        rows = []
        for rank, key in enumerate(sorted(positions)):
            near = [leader for leader in leaders if abs(positions[leader] - positions[key]) <= 2]
            leaders += [] if near else [key]
            names = {"frame_id": key, "video_key": key, "representative_frame_id": near[0] if near else key}
            rows.append(names | {"quality_rank": rank, "is_representative": not near})
        return pa.Table.from_pylist(rows, schema=DECIDED)

    points = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 9), max_size=10)
    before, after = data.draw(points), data.draw(points)
    wanted = decided(after)
    unchanged = [key for key in before if before[key] == after.get(key)]
    standing = standing_prefix(decided(before), wanted["frame_id"], unchanged_videos=unchanged)
    assert standing.drop_columns("quality_rank").equals(
        wanted.slice(0, len(standing)).combine_chunks().drop_columns("quality_rank")
    )
    if before == after:
        assert len(standing) == len(wanted)
