"""Whether a release teaches: a small network trained on it, and where it disagrees with the release's labels."""
