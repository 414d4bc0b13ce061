"""The vocabulary: keys, statuses, reasons, records, table schemas and errors.

Belongs here: what every layer speaks of. Does not belong here: anything that reads, writes, decodes or infers.
"""
