"""Explain each kind of failure and its remedy, for docs/troubleshooting.md.

There is one entry for each kind in the code; a test fails if one is missing. Belongs here: advice in words. Does not
belong here: the kinds themselves, and the program's own reaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from data_miner_dagster.domain import errors
from data_miner_dagster.domain.reasons import DropReason, RejectionRule, VideoErrorKind
from data_miner_dagster.domain.work import FailureKind
from data_miner_dagster.operations.upkeep.inspection import Discrepancy


@dataclass(frozen=True, slots=True)
class Advice:
    """The cause of a failure, what the program does automatically, and what a person can do."""

    cause: str
    by_itself: str
    remedy: str


RETRY: Final = "retries after 30 seconds, then after growing delays of up to 6 hours"
GATE: Final = "closes the gate of the stage, charges no item, and probes until one probe succeeds"
LATER: Final = "marks the video UNAVAILABLE and checks again after `platform.downloading.unavailable_retry_days`"
NEVER: Final = "marks the video FAILED; the project continues without it"

CLASSES: Final[Mapping[type[errors.DataMinerError], Advice]] = {
    errors.ConfigError: Advice(
        "A value in a project file, platform file, environment variable or option is wrong.",
        "starts no work, and exits with status 2",
        "Change the key that the message names. `data-miner config check FILE` shows every mistake of a file at once; "
        "[configuration](configuration.md) lists all keys.",
    ),
    errors.NothingToReleaseError: Advice(
        "Every frame was dropped, or every box waits for review.",
        "keeps all tables, and builds again when the project changes",
        "Read the funnel in the message: it shows the step that no frame passes. Lower the threshold of that step, or "
        "answer the questions of `data-miner review PROJECT`.",
    ),
    errors.SourceError: Advice(
        "One source could not be listed: a path that matches nothing, a feed that answers 404, an empty playlist.",
        "lists the other sources, and retries this one at the next listing",
        "Check the path or address in a file manager or browser. `data-miner status` names the source.",
    ),
    errors.ClaimHeldError: Advice(
        "Another process is working on the same video or project.",
        "waits for a while, then ends with this error",
        "Wait for that process, or stop it: `data-miner status` lists the workers. A dead worker's claim expires.",
    ),
    errors.RunEndedError: Advice(
        "The run was cancelled or ended externally while its process was still working.",
        "stops and charges no item",
        "Run `data-miner resume` if you cancelled the run in the UI. Otherwise none is needed.",
    ),
    errors.NotReadyError: Advice(
        "An earlier stage of the project is not finished.",
        "starts no work; `data-miner up` runs the stages in order",
        "Run the stage that the message names first, or `data-miner run`, which runs all of them.",
    ),
    errors.OutOfDateError: Advice(
        "A table was made from inputs that have changed since, or by an earlier version.",
        "recreates it in the next run",
        "Run `data-miner run` again, or leave it to `data-miner up`.",
    ),
    errors.SystematicFaultError: Advice(
        "The same unexpected exception affected every item: this program has a bug, or the installation is broken.",
        "ends the run and charges no item; the work is tried three times, and again by another version of the package",
        "Update the package. If the error persists, report it with the output of `data-miner doctor` and a traceback "
        "(`DATA_MINER_DEBUG=1`).",
    ),
    errors.CatalogError: Advice(
        "The catalog is damaged, is missing although the root has files, or belongs to another root.",
        GATE,
        "Restore the catalog from a copy (`catalog-<revision>.sqlite` beside it, or [a backup](deploy/backup.md)). "
        "`data-miner init-db` creates an empty catalog.",
    ),
    errors.DamagedFileError: Advice(
        "A derived file cannot be read.",
        "deletes it and recreates it in the next run",
        "None is needed for a single file. If the error recurs, check the disk; `data-miner doctor` reads every "
        "derived table and array.",
    ),
    errors.PermanentError: Advice(
        "The work is impossible with these inputs, so a retry would give the same result.",
        "waits until the inputs change",
        "Make the change that the message names.",
    ),
    errors.VideoPermanentError: Advice(
        "One video cannot be used.", "stores the kind with the video and continues", "See [one video](#one-video)."
    ),
    errors.UnreadableImageError: Advice(
        "One image is missing, damaged or not an image.",
        "leaves it out and counts it",
        "Replace the file that the message names.",
    ),
    errors.ObjectError: Advice(
        "A bucket refuses a request, or an object differs from what was stored.",
        "does not retry",
        "Check the address and the bucket. [Buckets](deploy/backup.md) explains how to configure access.",
    ),
    errors.ObjectMissingError: Advice(
        "The object or bucket does not exist.", "does not retry", "Check the address in the message."
    ),
    errors.ObjectForbiddenError: Advice(
        "The credentials are wrong, or do not permit the request.",
        "does not retry",
        "Check the credentials and their permissions: reading needs list and get; writing also needs put and delete.",
    ),
    errors.ModelError: Advice(
        "A model is unknown, cannot be fetched, or does not match its pinned checksum.",
        GATE,
        "`data-miner models list` shows the known names, and `data-miner models fetch --model NAME` fetches one. "
        "Without access to a hub: `--profile lite`.",
    ),
    errors.TransientError: Advice(
        "A resource is temporarily unavailable.",
        RETRY,
        "None is needed, unless the error persists; `data-miner retry` retries at once.",
    ),
    errors.ClaimLostError: Advice(
        "The process was suspended or disconnected for so long that another worker took over, or its run was ended.",
        "stops and charges no item",
        "None is needed. If the error occurs often, the machine sleeps or swaps.",
    ),
    errors.OutageError: Advice(
        "A resource that every item needs is unavailable or exhausted.",
        GATE,
        "See [a whole stage](#a-whole-stage-or-project).",
    ),
    errors.ObjectTransientError: Advice(
        "A bucket did not respond, or sent a truncated response, in every attempt.",
        RETRY,
        "Check the network and the status of the service.",
    ),
    errors.ObjectChangedError: Advice(
        "An object was replaced again and again while it was being read.",
        RETRY,
        "Stop the program that writes to it, then run `data-miner retry`.",
    ),
    errors.VideoTransientError: Advice(
        "One video failed for a reason that may be temporary.",
        "stores the kind with the video and retries",
        "See [one video](#one-video).",
    ),
}

VIDEOS: Final[Mapping[VideoErrorKind, Advice]] = {
    VideoErrorKind.TRANSIENT: Advice(
        "A dropped connection, a timeout, HTTP 408, 425 or 5xx.",
        "retries within the run, then after growing delays",
        "None is needed. If the error persists, open the address in a browser.",
    ),
    VideoErrorKind.RATE_LIMITED: Advice(
        "HTTP 429, or one of your own download budgets is used up.",
        "sends this site no requests until the time that `data-miner status` shows",
        "None is needed. `platform.downloading.politeness.hourly_budget` and `daily_budget` set the pace.",
    ),
    VideoErrorKind.BOT_CHECK: Advice(
        "The site asks for a captcha or a sign-in.",
        "sends this site no requests for a while",
        "Lower the budgets (`platform.downloading.politeness`), or use cookies of your account "
        "(`platform.downloading.cookies`).",
    ),
    VideoErrorKind.DISK_FULL: Advice(
        "The disk is full, less than `platform.downloading.min_free_bytes` is free, or the quota is used up.",
        "downloads the video when there is room; no attempt is counted",
        "Free space, raise `platform.room.quota`, or run `data-miner clean`.",
    ),
    VideoErrorKind.CUT_OFF: Advice(
        "Fewer bytes arrived than the server had promised.",
        "retries after the run's other videos, then after growing delays",
        "None is needed. If the error persists, run `pip install -U yt-dlp`.",
    ),
    VideoErrorKind.SITE_REFUSAL: Advice(
        "The whole site refuses requests: it has changed its player, requires a token, or limits your requests.",
        "waits, then requests one video as a test",
        "Run `pip install -U yt-dlp`. The message states the age of the installed version.",
    ),
    VideoErrorKind.PRIVATE: Advice("The uploader made the video private.", LATER, "None."),
    VideoErrorKind.REMOVED: Advice("The video no longer exists (HTTP 404 or 410).", LATER, "Check the address."),
    VideoErrorKind.GEO_BLOCKED: Advice(
        "The video is not available in this country.", LATER, "None, unless you may use a proxy."
    ),
    VideoErrorKind.AGE_RESTRICTED: Advice(
        "The site requires a signed-in adult.", LATER, "Use cookies of your account (`platform.downloading.cookies`)."
    ),
    VideoErrorKind.MEMBERS_ONLY: Advice(
        "Only paying members may watch the video.",
        LATER,
        "Use cookies of your account (`platform.downloading.cookies`).",
    ),
    VideoErrorKind.LIVE: Advice(
        "The video is a live stream, or has not started.", LATER, "None is needed: it is downloaded once it has ended."
    ),
    VideoErrorKind.UNSUPPORTED: Advice(
        "No extractor supports this page, the video has DRM, or the extractor is broken.",
        NEVER,
        "Run `pip install -U yt-dlp`, then `data-miner retry --kind unsupported`.",
    ),
    VideoErrorKind.NO_FORMATS: Advice(
        "No format is available, or only formats that need ffmpeg.",
        NEVER,
        "Run `pip install -U yt-dlp`, then `data-miner retry --kind no_formats`.",
    ),
    VideoErrorKind.FORBIDDEN: Advice(
        "The site answers HTTP 401 or 403.", LATER, "Use cookies of your account, or run `pip install -U yt-dlp`."
    ),
    VideoErrorKind.TOO_LARGE: Advice(
        "The video exceeds `platform.downloading.max_size_bytes` or `platform.downloading.max_duration_seconds`.",
        NEVER,
        "Raise the limit, then run `data-miner retry --kind too_large`.",
    ),
    VideoErrorKind.POLICY: Advice(
        "The video's address is not public, or its page opts out of text and data mining.",
        NEVER,
        "Add your own server to `platform.downloading.allowed_private_hosts`. An opt-out cannot be overridden.",
    ),
    VideoErrorKind.MISSING_FILE: Advice(
        "A local file no longer exists.", NEVER, "Put the file back, then run `data-miner retry --kind missing_file`."
    ),
    VideoErrorKind.EMPTY_FILE: Advice("The file is empty.", NEVER, "Copy or download the file again."),
    VideoErrorKind.NOT_A_VIDEO: Advice("The file is not a video.", NEVER, "Remove the file from the source."),
    VideoErrorKind.NO_VIDEO_STREAM: Advice(
        "The file has sound but no pictures.", NEVER, "Remove the file from the source."
    ),
    VideoErrorKind.TRUNCATED: Advice(
        "The file is shorter than its header states.",
        NEVER,
        "Copy or download the file again, then run `data-miner retry`.",
    ),
    VideoErrorKind.UNDECODABLE: Advice(
        "The file cannot be decoded, or its frames cannot be read.",
        "marks a broken file FAILED; recreates unreadable frames",
        "Play the file. If a player can open it, convert it, or report the problem.",
    ),
    VideoErrorKind.LIMIT_EXCEEDED: Advice(
        "The video needs more memory, time, pixels or frames than a worker process may use.",
        NEVER,
        "If you trust the file, raise the limit that the message names, then run "
        "`data-miner retry --kind limit_exceeded`.",
    ),
    VideoErrorKind.CRASHED: Advice(
        "A process that worked on this video alone died.",
        "retries the video, alone, after growing delays",
        "Look for a killed process in the system's log, then run `data-miner retry --kind crashed`.",
    ),
    VideoErrorKind.INTERNAL_ERROR: Advice(
        "An unexpected exception occurred: this program has a bug.",
        "retries with another version of the package; the traceback is in the log",
        "Update the package, or run `data-miner retry --kind internal_error`. Please report the bug.",
    ),
}

RUNS: Final[Mapping[FailureKind, Advice]] = {
    FailureKind.DISK_FULL: Advice(
        "The disk or quota of the root is full.", GATE, "Free space, or run `data-miner clean`."
    ),
    FailureKind.STORE: Advice(
        "The file system is read-only, unmounted or broken, or too many files are open.",
        GATE,
        "Check the mount and the system's log. `data-miner doctor --environment` checks both.",
    ),
    FailureKind.DATABASE: Advice(
        "The catalog's database does not respond, or is damaged.", GATE, "Start the server, or restore the catalog."
    ),
    FailureKind.MODEL: Advice(
        "A model is missing or does not match its pin.",
        GATE,
        "Run `data-miner models fetch --model NAME`, or use `--profile lite`.",
    ),
    FailureKind.GPU_MEMORY: Advice(
        "The GPU has too little memory for this model.",
        GATE,
        "Stop other programs that use the GPU, or choose a smaller model.",
    ),
    FailureKind.MEMORY: Advice(
        "The machine has too little memory.", GATE, "Stop other programs, or lower `platform.extraction.workers`."
    ),
    FailureKind.NETWORK: Advice(
        "No site can be reached from this machine.", GATE, "Check the connection, DNS and proxy."
    ),
    FailureKind.SETTINGS: Advice(
        "The settings of the platform are wrong for this stage.", GATE, "Change the setting that the message names."
    ),
    FailureKind.CRASHED: Advice(
        "Different items killed their process one after another, so the machine is the likely cause.",
        GATE,
        "Look for killed processes (memory) in the system's log.",
    ),
    FailureKind.OTHER_OUTAGE: Advice(
        "Another resource that every item needs is unavailable.", GATE, "Restore the resource that the message names."
    ),
    FailureKind.NOTHING_TO_RELEASE: Advice(
        "No frame of the project reaches the release.",
        "waits until the project changes",
        "Read the funnel of `data-miner status`. Lower a threshold, or review frames.",
    ),
    FailureKind.OUT_OF_DATE: Advice(
        "A table was made from inputs that have changed.", "recreates it", "None is needed."
    ),
    FailureKind.DAMAGED_FILE: Advice(
        "A derived file could not be read, and was deleted.", "recreates it", "None is needed, unless the error recurs."
    ),
    FailureKind.FAILED: Advice(
        "A stage of the project failed for a reason of its own.", RETRY, "Make the change that the message names."
    ),
    FailureKind.TAKEN_OVER: Advice(
        "Another worker has taken over the work.", "continues in that worker", "None is needed."
    ),
    FailureKind.SYSTEMATIC_FAULT: Advice(
        "The same exception affected every item: this program has a bug.",
        "the work is tried three times, and again by another version of the package",
        "Update the package, or report the bug.",
    ),
    FailureKind.INTERNAL_ERROR: Advice(
        "An unexpected exception ended the run.", "halves the batch to find the faulty item", "Please report the bug."
    ),
}

REJECTIONS: Final[Mapping[RejectionRule, str]] = {
    RejectionRule.DURATION: "`sourcing.rules.min_duration_seconds`, `sourcing.rules.max_duration_seconds`",
    RejectionRule.UPLOAD_DATE: "`sourcing.rules.published_after`, `sourcing.rules.published_before`",
    RejectionRule.VIEWS: "`sourcing.rules.min_views`, `sourcing.rules.max_views`",
    RejectionRule.LIVE: "`sourcing.rules.reject_live`",
    RejectionRule.RESOLUTION: "`sourcing.rules.min_height`",
    RejectionRule.LANGUAGE: "`sourcing.rules.languages`",
    RejectionRule.LICENCE: "`sourcing.rules.licences`",
    RejectionRule.WORDS: "`sourcing.rules.required_words`, `sourcing.rules.blocked_words`",
    RejectionRule.BLOCKED_HASHTAG: "`sourcing.rules.blocked_hashtags`, `sourcing.rules.blocked_hashtags_file`",
    RejectionRule.BLOCKED_CHANNEL: "`sourcing.rules.blocked_channels`, `sourcing.rules.blocked_channels_file`",
    RejectionRule.SECRET_ADDRESS: "write `{env:NAME}` in place of the secret, if the address is yours",
    RejectionRule.REFUSED_ADDRESS: "none: the page or feed names the address",
    RejectionRule.PRESCREENING: "`sourcing.prescreening.threshold`, `sourcing.prescreening.slack`",
    RejectionRule.REUPLOAD: "`sourcing.rules.skip_reuploads`",
    RejectionRule.BY_HAND: "`data-miner add-video` adds the video again",
    RejectionRule.INTERNAL_ERROR: "none: this program has a bug; please report it",
    RejectionRule.MAX_VIDEOS: "`sourcing.max_videos`",
}

DROPS: Final[Mapping[DropReason, str]] = {
    DropReason.BY_HAND: "the review pages can undo the verdict",
    DropReason.BLACK: "`filtering.drop_quality_flags`",
    DropReason.FLAT: "`filtering.drop_quality_flags`",
    DropReason.BLURRED: "`filtering.drop_quality_flags`",
    DropReason.SLIDE: "`filtering.drop_quality_flags`",
    DropReason.TEXT: "`filtering.drop_quality_flags`",
    DropReason.UNREADABLE: "none: if no frame of a video can be read, extraction recreates all of them",
    DropReason.BELOW_POSITIVE: "`filtering.positive_threshold` (`data-miner calibrate` finds it), `filtering.positive`",
    DropReason.BEATEN_BY_NEGATIVE: "`filtering.negative`, and the margin of that prompt",
    DropReason.JUNK: "`filtering.junk`, `filtering.junk_threshold`, `filtering.junk_margin`",
    DropReason.TOO_CLOSE_IN_TIME: "`filtering.min_gap_seconds`",
    DropReason.OVER_VIDEO_CAP: "`filtering.max_frames_per_video`, `filtering.cap_by`",
}

DISCREPANCIES: Final[Mapping[Discrepancy, Advice]] = {
    Discrepancy.FRAMES_MISSING: Advice(
        "The catalog says EXTRACTED, but there is no `frames.parquet`.", "extracts again", ""
    ),
    Discrepancy.EMBEDDINGS_MISSING: Advice("The catalog lists embeddings, but there is no file.", "embeds again", ""),
    Discrepancy.VIDEO_MISSING: Advice(
        "The catalog says DOWNLOADED, but there is no `info.json`.", "downloads again", ""
    ),
    Discrepancy.WORKER_GONE: Advice("An item is marked as in progress, but no worker has it.", "frees it", ""),
    Discrepancy.STRAY_FILES: Advice("There are files of a video that the catalog does not know.", "deletes them", ""),
    Discrepancy.STRAY_PROJECT: Advice(
        "There are tables of a project that the catalog does not know.",
        "",
        "Delete them, or `populate` the project again.",
    ),
    Discrepancy.PARTIAL: Advice("A killed writer left a partial file.", "deletes it", ""),
    Discrepancy.DAMAGED: Advice(
        "A file cannot be read.",
        "deletes a derived file, so that it is recreated",
        "Restore other files from a backup.",
    ),
    Discrepancy.RELEASE_MISSING: Advice(
        "The catalog lists a release, but its folder is missing.",
        "",
        "Restore it from a backup. If it was deleted on purpose, run `data-miner delete-release PROJECT VERSION`.",
    ),
    Discrepancy.PARTITION_MISSING: Advice(
        "Dagster does not have a partition for an entry of the catalog.", "adds it", ""
    ),
    Discrepancy.PARTITION_STRAY: Advice("Dagster has a partition that the catalog does not know.", "removes it", ""),
}
