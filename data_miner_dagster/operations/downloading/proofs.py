"""Check the content of a downloaded file before the file is published as a video."""

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.keys import FILE_PREFIX, is_key_of_content
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.operations.foreign.media_workers import MediaWorkers
from data_miner_dagster.sites.records import FetchedVideo
from data_miner_dagster.stages.downloading.failures import durations_agree
from data_miner_dagster.stages.downloading.site_health import is_of_file_alone
from data_miner_dagster.storage.videos import VideoInfo


def prove(media: MediaWorkers, config: DownloadingConfig, row: VideoRow, fetched: FetchedVideo) -> VideoInfo:
    """Check that a file is complete and is the requested video. Return its manifest.

    Raises:
        VideoPermanentError: a check failed. The error's `is_of_file_alone` is False if the site may be the cause.
        VideoTransientError: the worker that read the file died.
    """
    try:
        return _prove(media, config, row, fetched)
    except VideoPermanentError as error:
        error.is_of_file_alone = is_of_file_alone(
            error.kind, is_direct=fetched.is_direct, is_complete=fetched.is_complete
        )
        raise


def _prove(media: MediaWorkers, config: DownloadingConfig, row: VideoRow, fetched: FetchedVideo) -> VideoInfo:
    probed = media.probe(fetched.path)
    if probed.duration_seconds > config.max_duration_seconds:
        raise VideoPermanentError(
            VideoErrorKind.LIMIT_EXCEEDED,
            f"the video lasts {probed.duration_seconds:.0f} s, more than platform.downloading.max_duration_seconds="
            f"{config.max_duration_seconds:g}; to accept it, raise the limit, then run `data-miner retry --kind "
            f"{VideoErrorKind.LIMIT_EXCEEDED.value}`",
        )
    said = fetched.candidate.duration_seconds
    if not durations_agree(probed.duration_seconds, said, config.duration_tolerance):
        raise VideoPermanentError(
            VideoErrorKind.TRUNCATED,
            f"the file lasts {probed.duration_seconds:.1f} s, but its site states {said:.1f} s, which differs by more "
            f"than platform.downloading.duration_tolerance={config.duration_tolerance:g} (a fraction); if the file is "
            f"complete, raise the tolerance, then run `data-miner retry --kind {VideoErrorKind.TRUNCATED.value}`",
        )
    sha256 = sha256_of_file(fetched.path)
    if row.origin is Origin.LOCAL and row.key.startswith(FILE_PREFIX) and not is_key_of_content(row.key, sha256):
        raise VideoPermanentError(
            VideoErrorKind.MISSING_FILE,
            f"{row.url} has changed since it was listed; list the sources again with `data-miner populate --config "
            "FILE --force`",
        )
    candidate = fetched.candidate
    return VideoInfo(
        video_key=row.key,
        file=VideoFileRecord(
            file_name=fetched.path.name,
            size_bytes=fetched.path.stat().st_size,
            sha256=sha256,
            duration_seconds=probed.duration_seconds,
            width=probed.width,
            height=probed.height,
            title=candidate.title,
            channel=candidate.channel,
            licence=candidate.licence,
            upload_date=candidate.upload_date,
        ),
        url=None if row.origin is Origin.LOCAL else with_references(candidate.url),
        extractor=fetched.extractor,
        format_id=fetched.format_id,
        channel_id=candidate.channel_id,
        content_fingerprint=probed.content_fingerprint,
    )
