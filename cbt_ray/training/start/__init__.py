"""What training starts from: a hub id's weights in the store, a GGUF or a folder, as one kind of
folder.
"""
