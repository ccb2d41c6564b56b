"""Importing what others published or rated: transcripts, courses and ratings become units of a
study, keyed by their content.
"""
