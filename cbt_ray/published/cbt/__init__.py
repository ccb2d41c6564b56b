"""The public repository of arXiv 2412.00251."""
