"""The software-defined assets: thin shells around `operations/`."""
