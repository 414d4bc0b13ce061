"""Where runs execute: the resources a run requests from a cluster, and passing them to the cluster."""
