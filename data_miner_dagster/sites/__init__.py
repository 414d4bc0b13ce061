"""Access to sites, local files and chat endpoints, and the policy for network addresses.

Belongs here: listing, fetching, and translating foreign errors. Does not belong here: choosing candidates
(stages/sourcing.py), scheduling retries (stages/downloading/failures.py), or the catalog.
"""
