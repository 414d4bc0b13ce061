from data_miner_dagster.stages.upgrading import describe_earlier_frames, describe_upgrade

VERSIONS = {"scoring": 1, "filtering": 1, "deduplication": 4, "detection": 1, "releasing": 3, "report": 3}


def test_describe_upgrade__nothing_has_changed() -> None:
    assert describe_upgrade("bikes", VERSIONS, VERSIONS, ["v001"]) is None


def test_describe_upgrade__a_stage_takes_every_later_one_along() -> None:
    assert describe_upgrade("bikes", VERSIONS, {**VERSIONS, "filtering": 2}, ["v001"]) == (
        "bikes was built by another version of this package (filtering version 1 is now 2); its next build redoes the "
        "filter decisions (from stored similarities), the duplicate groups (from stored vectors), the table of boxes "
        "(from stored boxes), the release (as a new version) and the report, and keeps downloads, frames, embeddings, "
        "similarities and earlier releases (v001)"
    )


def test_describe_upgrade__boxes_are_looked_for_again_only_where_detection_has_changed() -> None:
    assert describe_upgrade("bikes", VERSIONS, {**VERSIONS, "detection": 2, "releasing": 4}, ["v002"]) == (
        "bikes was built by another version of this package (detection version 1 is now 2, releasing version 3 is now "
        "4); its next build redoes the boxes (the detector examines every image again), the release (as a new version) "
        "and the report, and keeps downloads, frames, embeddings, similarities, filter decisions, duplicate groups and "
        "earlier releases (v002)"
    )


def test_describe_upgrade__without_a_release_there_is_none_to_redo() -> None:
    assert describe_upgrade("bikes", VERSIONS, {**VERSIONS, "releasing": 4, "report": 4}, []) is None
    assert describe_upgrade("bikes", VERSIONS, {**VERSIONS, "detection": 2, "releasing": 4}, []) == (
        "bikes was built by another version of this package (detection version 1 is now 2); its next build redoes the "
        "boxes (the detector examines every image again), and keeps downloads, frames, embeddings, similarities, "
        "filter decisions and duplicate groups"
    )


def test_describe_upgrade__only_the_report() -> None:
    assert describe_upgrade("bikes", VERSIONS, {**VERSIONS, "report": 4}, ["v001"]) == (
        "bikes was built by another version of this package (report version 3 is now 4); its next build redoes the "
        "report, and keeps downloads, frames, embeddings, similarities, filter decisions, duplicate groups, boxes and "
        "earlier releases (v001)"
    )


def test_describe_earlier_frames() -> None:
    assert describe_earlier_frames({}, 6) is None
    assert describe_earlier_frames({4: 2, 5: 1}, 6) == (
        "the frames of 3 videos were extracted by an earlier version (2 by version 4, 1 by version 5; this is version "
        "6); they will be extracted and embedded again, and their projects will then be rebuilt"
    )
