"""cbt-ray: containerized batch jobs that run an LLM therapy study end to end.

For research on models, not for clinical use.
"""
