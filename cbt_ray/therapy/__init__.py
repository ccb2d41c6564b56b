"""The protocol of therapy, without a network: profiles, generated courses, simulated sessions, stop
rules, flags.
"""
