"""Worker processes for untrusted bytes: their requests, their jobs, and the ends that call them.

Belongs here: pages, video files, pictures and project files that somebody else wrote, processed within limits. Does not
belong here: the mechanism of workers (workers/), and what follows from an answer (each stage's operation).
"""
