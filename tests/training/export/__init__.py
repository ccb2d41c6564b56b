"""Tests: what training hands on."""
