"""The methods, one file each, found by file name. A module here imports without torch."""
