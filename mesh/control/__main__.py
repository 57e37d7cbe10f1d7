"""`python -m mesh.control`."""

from mesh.control.main import main

main()
