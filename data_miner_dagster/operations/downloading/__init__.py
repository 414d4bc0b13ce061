"""Download the catalog's videos as verified files under the root. The entry point is `download_videos`."""
