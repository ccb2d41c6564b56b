"""Published repositories: a clone of one becomes the forms that anybody's transcripts and ratings
have (docs/import.md). A folder a publication.
"""
