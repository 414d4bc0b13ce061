"""Downloading: from a key in the catalog to a verified file under the root. The entry is `download_videos`."""
