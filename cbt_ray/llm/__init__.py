"""Language models behind one interface: an in-process GGUF, anything litellm can call, a scripted
rehearsal.
"""
