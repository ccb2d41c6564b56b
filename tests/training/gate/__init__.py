"""Tests: the parity gate."""
