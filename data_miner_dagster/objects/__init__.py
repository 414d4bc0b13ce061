"""Objects in buckets: requests by fsspec's clients, with limits, tries, resumption and verification.

Belongs here: how a bucket is asked. Does not belong here: what lies in it (operations/), which addresses a user may
write (domain/object_urls.py, config/objects.py), and folders as places of copies (storage/folder_store.py).
"""
