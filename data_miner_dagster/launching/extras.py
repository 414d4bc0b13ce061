"""What to install for a cluster. Kept apart, since the extra may be missing where the message is needed."""

from typing import Final

RAY_IS_MISSING: Final = (
    "runs are to be executed by Ray, which is not installed here: pip install 'data-miner-dagster[ray]'"
)
KUBERNETES_IS_MISSING: Final = (
    "runs are to be executed by Kubernetes, and dagster-k8s is not installed here: "
    "pip install 'data-miner-dagster[kubernetes]'"
)
