"""`python -m residency` is the `residency` command."""

from residency.cli import main

main()
