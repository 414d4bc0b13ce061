"""Where videos come from: yt-dlp behind one adapter, local files, and the rule which addresses may be spoken to.

Belongs here: listing, fetching, the translation of foreign errors. Does not belong here: which candidate is wanted
(stages/sourcing.py), when to try again (stages/downloading/failures.py), the catalog.
"""
