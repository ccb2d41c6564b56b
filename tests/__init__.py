"""Tests; a package, so that the scripted server can be imported by the tests of other modules."""
