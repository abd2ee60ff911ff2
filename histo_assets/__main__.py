"""`python -m histo_assets` is the command `histo-assets`."""

from histo_assets.cli.app import main

main()
