"""Where runs execute: what a run asks a cluster for, and who tells the cluster."""
