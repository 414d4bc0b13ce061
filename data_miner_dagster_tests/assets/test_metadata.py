import dagster as dg
from dagster import serialize_value

from data_miner_dagster.assets.metadata import bounded, counts_line, main_counts, stored_bytes


def text(value: object) -> str:
    assert isinstance(value, dg.TextMetadataValue)
    return str(value.text)


def test_bounded__what_fits_stays_as_it_is() -> None:
    metadata: dict[str, dg.MetadataValue] = {
        "status": dg.MetadataValue.text("done"),
        "num_frames": dg.MetadataValue.int(3),
    }
    assert bounded({}) == {}
    assert bounded(metadata) == metadata


def test_bounded__names_that_read_differently_are_escaped() -> None:
    told = bounded({"title": dg.MetadataValue.text("cat\u202e4pm.exe"), "next": dg.MetadataValue.md("a\u200bb\n\nc")})
    assert text(told["title"]) == "cat\\u202e4pm.exe"
    assert told["next"] == dg.MetadataValue.md("a\\u200bb\n\nc")


def test_bounded__first_come_first_kept_texts_are_cut_and_others_dropped() -> None:
    told = bounded(
        {
            "status": dg.MetadataValue.text("failed"),
            "message": dg.MetadataValue.text("ä" * 5_000),
            "page": dg.MetadataValue.url("https://example.org/" + "x" * 900),
            "figures": dg.MetadataValue.text("kept 3"),
        }
    )
    assert list(told) == ["status", "message"]
    assert set(text(told["message"])) == {"ä", "…"}
    assert text(told["message"]).endswith("…")
    event = serialize_value(dg.AssetMaterialization("a", metadata=told))
    assert 990 < len(event) - len(serialize_value(dg.AssetMaterialization("a"))) == stored_bytes(told) <= 1_000


def test_bounded__what_is_named_gets_its_room_before_longer_texts() -> None:
    page = dg.MetadataValue.url("https://example.org/" + "x" * 300)
    told = bounded({"counts": dg.MetadataValue.text("frames " * 300), "page": page, "figures": page}, first=["page"])
    assert list(told) == ["counts", "page"]
    assert told["page"] == page
    assert text(told["counts"]).startswith("frames frames ")
    assert stored_bytes(told) <= 1_000


def test_bounded__the_ways_on_of_a_release_with_a_long_name_have_room() -> None:
    name = "n" * 32
    address = f"https://miner.example.org:3001/{{}}/{name}"
    ways = (
        f"![frames](/previews/projects/{name}/dataset.webp)\n\n`data-miner export {name} --to FOLDER`; "
        f"`data-miner review {name}` asks the most useful questions. "
        f"[report]({address.format('report')}/), [review]({address.format('projects')})"
    )
    shown: dict[str, dg.MetadataValue] = {
        "result": dg.MetadataValue.text("v001: images 4, " + "boxes of person 3, " * 30),
        "next": dg.MetadataValue.md(ways),
        "figures": dg.MetadataValue.text("encoder lite, " * 30),
        "status": dg.MetadataValue.text("done"),
    }
    told = bounded(shown, first=("next", "status"))
    assert told["next"] == shown["next"]
    assert told["status"] == shown["status"]
    assert text(told["result"]).startswith("v001: images 4, ")
    assert stored_bytes(told) <= 1_000


def test_main_counts__what_a_stage_is_about_and_whatever_there_is() -> None:
    assert main_counts({}) == {}
    counts = {"frames": 3, "kept": 0, "black": 0, "junk": 3, "boxes:bus": 0}
    assert main_counts(counts) == {"frames": 3, "kept": 0, "junk": 3}


def test_counts_line() -> None:
    assert counts_line({}) == ""
    counts: dict[str, int | float | str] = {
        "frames": 120,
        "kept": 0,
        "below_positive": 3,
        "black": 0,
        "boxes:car": 1200,
        "size_bytes": 688_734,
        "duration_seconds": 8.0,
        "share": 1 / 3,
        "search": "exact",
        "status": "done",
    }
    assert counts_line(counts, without={"status"}) == (
        "frames 120, kept 0, not similar enough to the prompts 3, boxes of car 1,200, size 689 kB, "
        "duration 8 s, share 0.333333, search exact"
    )
