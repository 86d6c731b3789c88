"""Files that are whole or not there: manifests, records, and tensors read and written in blocks.

No torch here.
"""
