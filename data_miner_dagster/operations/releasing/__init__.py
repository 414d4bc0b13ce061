"""Releasing: an immutable, verified dataset, and later work with it. The entry is `release_project`."""
