"""Files that are complete or absent: manifests, records, and tensors read and written in blocks.

No torch here.
"""
