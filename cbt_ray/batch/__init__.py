"""Batch jobs: what each one owes, and how it runs in its container."""
