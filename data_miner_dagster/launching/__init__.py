"""Launch runs: the resources that a run requests from a cluster, and the launchers that pass them on."""
