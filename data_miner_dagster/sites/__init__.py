"""Where videos come from: yt-dlp, local files, and the policy on addresses.

Belongs here: the network and its errors, translated. Does not belong here: the catalog, and any retry decision.
"""
