"""The vocabulary: keys, statuses, reasons, records, table schemas and errors.

Belongs here: terms that every layer uses. Does not belong here: code that accesses stored data, decodes or infers.
"""
