"""A Kubernetes cluster: what is submitted to it, how it is followed, and what is wrong when it does
not run.
"""
