"""The merge operators, one file each, found by file name. A module here imports without numpy."""
