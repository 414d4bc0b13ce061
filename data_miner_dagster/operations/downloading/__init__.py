"""Downloading: from a key in the catalog to a proven file under the root. The entry is `download_videos`."""
