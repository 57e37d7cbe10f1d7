"""`python -m mesh.sandbox.apiserver`."""

from mesh.sandbox.apiserver.main import main

main()
