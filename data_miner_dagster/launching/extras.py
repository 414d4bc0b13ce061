"""Messages that say what to install for a cluster. They have their own module, which imports none of these packages."""

from typing import Final

RAY_IS_MISSING: Final = (
    "the settings send runs to Ray, but dagster-ray is not installed here: pip install 'data-miner-dagster[ray]'"
)
KUBERNETES_IS_MISSING: Final = (
    "the settings send runs to Kubernetes, but dagster-k8s is not installed here: "
    "pip install 'data-miner-dagster[kubernetes]'"
)
