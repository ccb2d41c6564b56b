"""Rating sessions: the scale, what the judge sees of a session, what it is asked and how its answer
is read.
"""
