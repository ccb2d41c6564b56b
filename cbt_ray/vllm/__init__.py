"""A server of the study's own models: vLLM, what it holds, and whether that is what was trained."""
