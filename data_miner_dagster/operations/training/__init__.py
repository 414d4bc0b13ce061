"""Train a small network on a release, and find the frames whose annotations it disagrees with."""
