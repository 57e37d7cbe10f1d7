"""`python -m mesh.cli` is meshctl."""

from mesh.cli.main import main

main()
