"""Create the verifier that a project's settings name, and describe it for a release."""

from data_miner_dagster.catalog.box_answers import spent_on_answers
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.export.records import ReleaseModel
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preflight import check_verifier
from data_miner_dagster.operations.verification.endpoint_verifier import EndpointVerifier, endpoint_fingerprint
from data_miner_dagster.operations.verification.local_verifier import LocalVerifier
from data_miner_dagster.operations.verification.replies import Verifier


def verifier_of(platform: Platform, project: str, config: DetectionConfig) -> Verifier:
    """Return the verifier named in a project's detection settings. No model is loaded and no request is sent yet.

    `config.verifier` must not be None. If the platform is offline, only stored answers are used, so the verifier's
    settings are not checked.

    Raises:
        ConfigError: the verifier is not configured or not allowed, its key is missing, its address is not allowed, or
            `max_cost` is set although its price is unknown.
        ModelError: the verifier's model is neither available nor downloadable.
    """
    assert config.verifier is not None
    name = config.verifier.model
    if not platform.is_offline:  # stored answers need no key
        check_verifier(platform, config.verifier)
    endpoint = platform.config.models.endpoints.get(name)
    if endpoint is None:
        return LocalVerifier(platform.models.verifier(name), batch_size=config.batch_size)
    hosts = platform.config.downloading.allowed_private_hosts
    spent = spent_on_answers(platform.database, project, endpoint_fingerprint(endpoint))
    is_price_known = config.verifier.max_cost is None or spent.num_priced > 0
    return EndpointVerifier(name, endpoint, hosts, is_known=spent.num_answers > 0, is_price_known=is_price_known)


def verifier_model(platform: Platform, name: str) -> ReleaseModel:
    """Return the entry for a verifier in a release's list of models.

    The entry of an endpoint names the model and omits the address, because answers do not depend on the address.
    """
    endpoint = platform.config.models.endpoints.get(name)
    if endpoint is None:
        entry = platform.models.verifier(name).entry
        return ReleaseModel("verifier", name, entry.source, entry.revision, entry.licence, entry.fingerprint)
    source, fingerprint = f"endpoint:{endpoint.model}", endpoint_fingerprint(endpoint)
    return ReleaseModel("verifier", name, source, endpoint.revision or None, "unknown", fingerprint)
