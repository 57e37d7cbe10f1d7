"""`python -m mesh.sandbox.node --state DIR`"""

from mesh.sandbox.node.main import main

main()
