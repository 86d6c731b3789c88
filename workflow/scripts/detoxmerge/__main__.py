"""`python -m detoxmerge`, where the library is not installed."""

from .cli import main

main()
