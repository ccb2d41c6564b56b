"""Effects: contrasts and tests on means of chains, what they rest on, and how large an effect could
be found.
"""
