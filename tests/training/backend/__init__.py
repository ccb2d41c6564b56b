"""Tests: the run of a training."""
