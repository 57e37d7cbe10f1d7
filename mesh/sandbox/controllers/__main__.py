"""`python -m mesh.sandbox.controllers --state DIR`"""

from mesh.sandbox.controllers.main import main

main()
