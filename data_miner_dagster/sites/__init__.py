"""Sources of videos: an adapter for yt-dlp, local files, and the policy for network addresses.

Belongs here: listing, fetching, and translating foreign errors. Does not belong here: choosing candidates
(stages/sourcing.py), scheduling retries (stages/downloading/failures.py), or the catalog.
"""
