"""Train a small network on a release, and find the frames where it disagrees with the labels."""
