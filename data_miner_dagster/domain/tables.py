"""The Parquet schemas of all tables about frames, pairs of videos, boxes and tracks.

Rows about frames are sorted by `frame_id` (video, then time), and detections by (`frame_id`, descending confidence).
The Parquet metadata of a table contains the `fingerprint` of its inputs (storage/tables.py).
"""

from typing import Final

import pyarrow as pa


def not_null(name: str, kind: pa.DataType) -> pa.Field:
    """Return a field that does not allow nulls."""
    return pa.field(name, kind, nullable=False)


FRAMES_SCHEMA: Final = pa.schema(
    [
        not_null("frame_id", pa.string()),
        not_null("video_key", pa.string()),
        not_null("frame_index", pa.int32()),  # ordinal among the sampled frames, from 0
        not_null("file_name", pa.string()),  # inside frames/<video_key>/
        not_null("pts", pa.int64()),  # in units of the time base; exact time = pts * numerator / denominator
        not_null("time_base_numerator", pa.int64()),
        not_null("time_base_denominator", pa.int64()),
        not_null("pts_seconds", pa.float64()),  # `pts` in seconds, rounded to a float, for people
        not_null("source_frame_number", pa.int64()),  # ordinal among all frames of the video, from 0
        not_null("is_keyframe", pa.bool_()),
        not_null("width", pa.int32()),
        not_null("height", pa.int32()),
        not_null("size_bytes", pa.int64()),
        not_null("sha256", pa.string()),  # the hash of the image file
        not_null("sharpness", pa.float32()),  # variance of the Laplacian of luma, at 360 lines
        not_null("brightness", pa.float32()),  # mean luma, 0..255
        not_null("contrast", pa.float32()),  # standard deviation of luma
        not_null("is_letterboxed", pa.bool_()),
        not_null("perceptual_hash", pa.uint64()),
        pa.field("text_share", pa.float32()),  # share of the picture inside lines of text; null where no flag needs it
        pa.field("plain_share", pa.float32()),  # share of the picture without texture; null where no flag needs it
        pa.field("quality_flag", pa.string()),  # domain.reasons.QualityFlag, or null
    ]
)
"""The schema of frames/<video_key>/frames.parquet: one row per sampled frame."""

FRAMES_ROWS_PER_GROUP: Final = 1000
"""The number of rows in a row group of `frames.parquet`."""

WINDOWS_SCHEMA: Final = pa.schema(
    [
        not_null("file_name", pa.string()),
        not_null("pts", pa.int64()),
        not_null("pts_seconds", pa.float64()),
        not_null("times_us", pa.list_(pa.int64())),  # the requested times at which this picture is on screen
        not_null("width", pa.int32()),
        not_null("height", pa.int32()),
        not_null("sha256", pa.string()),  # the hash of the image file
    ]
)
"""The schema of windows/<video_key>/windows.parquet: one row per picture around a video's frames, in order of time."""

FILTERED_SCHEMA: Final = pa.schema(
    [
        not_null("frame_id", pa.string()),
        not_null("video_key", pa.string()),
        not_null("frame_index", pa.int32()),
        not_null("pts_seconds", pa.float64()),
        pa.field("positive_similarity", pa.float32()),  # null, like its prompt, if the frame was unreadable
        pa.field("positive_prompt", pa.string()),
        pa.field("negative_similarity", pa.float32()),
        pa.field("negative_prompt", pa.string()),
        pa.field("junk_similarity", pa.float32()),
        pa.field("junk_prompt", pa.string()),
        not_null("is_kept", pa.bool_()),
        pa.field("drop_reason", pa.string()),  # domain.reasons.DropReason, null if kept
    ]
)
"""The schema of projects/<name>/filtered.parquet: one row per frame of every member video."""

DEDUPLICATED_SCHEMA: Final = pa.schema(
    [
        not_null("frame_id", pa.string()),
        not_null("video_key", pa.string()),
        not_null("frame_index", pa.int32()),
        not_null("is_representative", pa.bool_()),
        not_null("representative_frame_id", pa.string()),  # its own id if is_representative
        pa.field("similarity", pa.float32()),  # cosine to the representative; null if is_representative
        pa.field("tier", pa.string()),  # domain.reasons.DuplicateTier; null if is_representative
        not_null("quality_rank", pa.int32()),  # 0 is considered first
        not_null("generation", pa.int32()),  # 0 is the first; later generations were added with later videos
    ]
)
"""The schema of projects/<name>/deduplicated.parquet: one row per frame kept by filtering."""

REUPLOADS_SCHEMA: Final = pa.schema(
    [
        not_null("video_key", pa.string()),
        not_null("original_video_key", pa.string()),
        not_null("share", pa.float64()),  # share of the video's kept frames found in order in the original
        not_null("original_share", pa.float64()),  # share of the original's frames in the video; below 1: an excerpt
        not_null("num_matched_frames", pa.int32()),
        not_null("num_frames", pa.int32()),
    ]
)
"""The schema of projects/<name>/reuploads.parquet.

One row per video that is a re-upload of another. Rows are sorted by video key.
"""

MASK_TYPE: Final = pa.struct([not_null("size", pa.list_(pa.int32())), not_null("counts", pa.string())])
"""A mask in COCO's compressed form: [height, width] of the picture, and the run lengths."""

DETECTIONS_SCHEMA: Final = pa.schema(
    [
        not_null("frame_id", pa.string()),
        not_null("video_key", pa.string()),
        not_null("frame_index", pa.int32()),
        not_null("class_name", pa.string()),
        not_null("prompt", pa.string()),
        not_null("confidence", pa.float32()),
        not_null("x_min", pa.float32()),  # absolute pixels of the stored frame
        not_null("y_min", pa.float32()),
        not_null("x_max", pa.float32()),
        not_null("y_max", pa.float32()),
        not_null("detector", pa.string()),  # registry name
        not_null("num_agreeing_detectors", pa.int32()),
        pa.field("mask", MASK_TYPE),  # on the stored frame; null if there is none. Files of earlier versions lack it
    ]
)
"""The schema of projects/<name>/detections.parquet: one row per box, including boxes with low confidences."""

COLOURS_COLUMN: Final = "colours"
COLOURED_DETECTIONS_SCHEMA: Final = pa.schema(
    # domain.colours.Colours; empty if the object is hidden, null if unknown
    [*DETECTIONS_SCHEMA, pa.field(COLOURS_COLUMN, pa.binary())]
)
"""The schema of the stored output of a detector with ByteTrack. Files of earlier versions lack the column `colours`."""

VERDICT_COLUMN: Final = "verifier_verdict"
REASON_COLUMN: Final = "verifier_reason"
VERIFIER_COLUMNS: Final = (
    pa.field(VERDICT_COLUMN, pa.string()),  # domain.verification.VerifierVerdict; null if there is no answer
    pa.field(REASON_COLUMN, pa.string()),
    pa.field("verifier", pa.string()),  # the verifier's name in the settings
)
"""Additional columns of detections.parquet, in projects whose boxes are verified."""

SIGHTINGS_TYPE: Final = pa.list_(
    pa.struct([not_null("pts_seconds", pa.float64()), not_null("confidence", pa.float64())])
)
"""The other times in a video at which an object was detected (domain.tracks.Sighting), in ascending order."""
TRACK_ID_COLUMN: Final = "track_id"
RECOVERED_COLUMN: Final = "recovered"
RECOVERED_FROM_COLUMN: Final = "recovered_from"
TRACK_COLUMNS: Final = (
    pa.field(TRACK_ID_COLUMN, pa.int64()),  # the object, numbered from 1 within its video; null if seen only once
    pa.field(RECOVERED_COLUMN, pa.bool_()),  # the object was detected in neighbouring frames, but not in this one
    pa.field(RECOVERED_FROM_COLUMN, SIGHTINGS_TYPE),  # the detections in those frames; null unless `recovered`
)
"""Additional columns of detections.parquet, in projects that follow objects through their videos."""

OBJECT_NUMBER_COLUMN: Final = "object_number"

SEEN_OBJECTS_SCHEMA: Final = pa.schema(
    [*DETECTIONS_SCHEMA, not_null(OBJECT_NUMBER_COLUMN, pa.int64())]  # the object, within its video
)
"""The schema of the stored output of a network that follows objects: one row per object in a frame."""

TRACKED_FRAMES_SCHEMA: Final = pa.schema(
    [
        not_null("video_key", pa.string()),
        not_null("tracked_frame", pa.int32()),  # ordinal among the tracked frames of its video, from 0, by time
        not_null("stretch", pa.int32()),  # ordinal of the frame's unbroken stretch; no track is in two stretches
        not_null("pts_seconds", pa.float64()),
        pa.field("frame_id", pa.string()),  # null if the frame was examined only as a neighbour of stored frames
        not_null("width", pa.int32()),
        not_null("height", pa.int32()),
    ]
)
"""The schema of projects/<name>/whole_clip_frames.parquet.

One row per frame in which objects were followed. Rows are ordered by video and time.
"""

TRACKS_SCHEMA: Final = pa.schema(
    [
        not_null("video_key", pa.string()),
        not_null("tracked_frame", pa.int32()),
        not_null("pts_seconds", pa.float64()),
        pa.field("frame_id", pa.string()),
        not_null(TRACK_ID_COLUMN, pa.int64()),
        not_null("class_name", pa.string()),
        not_null("prompt", pa.string()),
        not_null("confidence", pa.float32()),
        not_null("x_min", pa.float32()),  # absolute pixels of the frame, whose size is in whole_clip_frames.parquet
        not_null("y_min", pa.float32()),
        not_null("x_max", pa.float32()),
        not_null("y_max", pa.float32()),
        not_null("num_agreeing_detectors", pa.int32()),
        pa.field("mask", MASK_TYPE),
        not_null(RECOVERED_COLUMN, pa.bool_()),
        pa.field(RECOVERED_FROM_COLUMN, SIGHTINGS_TYPE),
    ]
)
"""The schema of projects/<name>/whole_clip_tracks.parquet.

One row per tracked frame and object. Rows are ordered by video, time and track.
"""

DETECTED_FRAMES_SCHEMA: Final = pa.schema(
    [
        not_null("frame_id", pa.string()),
        not_null("image_sha256", pa.string()),  # the hash of the examined image
        not_null("detection_fingerprint", pa.string()),  # depends on the detector, its revision and the class list
        not_null("num_boxes", pa.int32()),
    ]
)
"""The schema of projects/<name>/detected_frames.parquet: one row per examined frame, including frames without boxes."""
