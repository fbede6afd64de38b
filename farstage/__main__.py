"""`python -m farstage` is `farstage`."""

from farstage.cli import main

main()
