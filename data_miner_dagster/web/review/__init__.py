"""The review pages, where people judge and correct frames and boxes.

Belongs here: pages, logins, and passing answers from the browser to operations/reviewing. Does not belong here: the
questions and their order (operations/reviewing), or the effect of an answer (stages/, catalog/).
"""
