"""The review pages, where people look at frames and boxes and correct them.

Belongs here: pages, logins, and passing answers from the browser to operations/reviewing. Does not belong here: the
questions and their order (operations/reviewing), the effect of an answer (stages/, catalog/).
"""
