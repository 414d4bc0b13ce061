"""Objects in buckets: requests through fsspec's clients, with limits, retries, resumption and verification.

Belongs here: communication with a bucket. Does not belong here: its contents (operations/), the addresses that a user
may write (domain/object_urls.py, config/objects.py), and folders that hold copies (storage/folder_store.py).
"""
