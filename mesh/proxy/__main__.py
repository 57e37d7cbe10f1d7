import sys

from mesh.proxy.main import main

sys.exit(main())
