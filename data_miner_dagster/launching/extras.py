"""Messages that say what to install for a cluster, in a module of their own that needs none of these packages."""

from typing import Final

RAY_IS_MISSING: Final = (
    "runs are to be executed by Ray, which is not installed here: pip install 'data-miner-dagster[ray]'"
)
KUBERNETES_IS_MISSING: Final = (
    "runs are to be executed by Kubernetes, and dagster-k8s is not installed here: "
    "pip install 'data-miner-dagster[kubernetes]'"
)
