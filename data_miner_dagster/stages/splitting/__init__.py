"""Deciding which split each video, or each part of a video, goes to. Pure decisions.

Does not belong here: remembering them (operations/split_memory.py), or writing them (export/).
"""
