"""Messages that say what to install for a cluster, in a module of their own that needs none of these packages."""

from typing import Final

RAY_IS_MISSING: Final = (
    "the settings send runs to Ray, but dagster-ray is not installed here: pip install 'data-miner-dagster[ray]'"
)
KUBERNETES_IS_MISSING: Final = (
    "the settings send runs to Kubernetes, but dagster-k8s is not installed here: "
    "pip install 'data-miner-dagster[kubernetes]'"
)
