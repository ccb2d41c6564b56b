"""The public repository of "The Thinking Therapist" (arXiv 2509.09712)."""
