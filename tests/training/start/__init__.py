"""Tests: what training starts from."""
