"""How units are made: their keys, what is owed, the engine that makes them side by side, what they
cost.
"""
