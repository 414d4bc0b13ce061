"""Worker processes for untrusted bytes: their requests, their jobs, and the clients that call them.

Belongs here: processing, within limits, other people's pages, video files, pictures and project files. Does not belong
here: running worker processes (workers/), or acting on their answers (each stage's operation).
"""
