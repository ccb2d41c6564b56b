"""The published repository of arXiv 2412.00251: a clone of it becomes the forms that anybody's
transcripts and ratings have (docs/import.md).
"""
