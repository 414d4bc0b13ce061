"""Compute the bases of the video stages: fingerprints of their inputs, which the catalog compares instead of files.

Belongs here: the current bases. Does not belong here: comparing bases (catalog/pending.py), and reading the bases of
existing files (operations/upkeep/auditing.py).
"""

from collections.abc import Mapping

from data_miner_dagster import __version__
from data_miner_dagster.catalog.pending import join_frames_bases
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.versions import EXTRACTION_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.platform import Platform


def extraction_basis(config: ExtractionConfig, *, version: int = EXTRACTION_VERSION) -> str:
    """Return the basis of frames sampled by version `version` of extraction with the settings in `config`.

    From this, `frames_basis_of` derives the basis of a single video's frames. The video's bytes are not included: if
    they change, the video becomes DOWNLOADED again, and its frames are recreated anyway.
    """
    content: dict[str, object] = {"settings": config.sampling_settings(), "version": version}
    # The limit decides which pictures of a folder are left out.
    return join_frames_bases(
        fingerprint_of(content), fingerprint_of({**content, "max_pixels": config.limits.max_pixels})
    )


def embedding_basis(encoder: EncoderRole) -> str:
    """Return the basis of the embeddings that an encoder computes from frames.

    Raises:
        ModelError: the folder of the encoder's weights is missing.
    """
    return fingerprint_of({"encoder": encoder.name, "fingerprint": encoder.fingerprint})


def bases_in_force(platform: Platform) -> Mapping[WorkStage, str]:
    """Return the current basis of each video stage, except for embedding if its encoder's weights are missing.

    The basis of downloading is this package's version, because a new version may fix the cause of a failed download.
    """
    bases = {
        WorkStage.DOWNLOADING: fingerprint_of({"package": __version__}),
        WorkStage.EXTRACTION: extraction_basis(platform.config.extraction),
    }
    try:
        return {**bases, WorkStage.EMBEDDING: embedding_basis(platform.models.filter_encoder)}
    except ModelError:  # the embedding stage reports this error
        return bases
