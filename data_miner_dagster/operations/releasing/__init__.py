"""Releasing: an immutable, verified dataset, and what can be done with it later. The entry is `release_project`."""
