"""Worker processes for the bytes of strangers: what they are asked, what they do, and the ends that call them.

Belongs here: pages, video files, pictures and project files that somebody else wrote, looked at within limits. Does not
belong here: the mechanism of workers (workers/), and what follows from an answer (each stage's operation).
"""
