"""Commands that make no unit: they foretell, show, export, or let a person talk with a
therapist.
"""
