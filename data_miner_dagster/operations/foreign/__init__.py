"""Worker processes for untrusted bytes: their requests, their jobs, and the clients that call them.

Belongs here: processing pages, video files, pictures and project files from other people within limits. Does not
belong here: running worker processes (workers/), or acting on their answers (each stage's operation).
"""
