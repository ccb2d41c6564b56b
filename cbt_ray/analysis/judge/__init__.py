"""Judges: do they repeat themselves, agree with each other and with people, and read what they
rate.
"""
