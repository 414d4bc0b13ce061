"""Messages that name the packages to install for a cluster. This module does not import these packages."""

from typing import Final

RAY_IS_MISSING: Final = (
    "the settings send runs to Ray, but dagster-ray is not installed here; run "
    "`pip install 'data-miner-dagster[ray]'` to install it"
)
KUBERNETES_IS_MISSING: Final = (
    "the settings send runs to Kubernetes, but dagster-k8s is not installed here; run "
    "`pip install 'data-miner-dagster[kubernetes]'` to install it"
)
