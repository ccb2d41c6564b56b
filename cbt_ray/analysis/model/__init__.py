"""Models: mixed models of all sessions, as published and by default."""
