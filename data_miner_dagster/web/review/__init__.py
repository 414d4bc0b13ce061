"""The review pages: where people look at frames and boxes, and say what is right.

Belongs here: pages, logins, and the way of an answer from the browser to operations/reviewing. Does not belong here:
what is asked and in which order (operations/reviewing), what an answer does (stages/, catalog/).
"""
