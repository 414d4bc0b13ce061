"""Sources of videos: an adapter for yt-dlp, local files, and the policy for network addresses.

Belongs here: listing, fetching, translating foreign errors. Does not belong here: which candidates are wanted
(stages/sourcing.py), when to retry (stages/downloading/failures.py), the catalog.
"""
