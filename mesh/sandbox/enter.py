"""`python -m mesh.sandbox.enter [--netns FILE] -- COMMAND…`: exec a command in a network namespace, tied to its parent's life."""

import argparse
import os

from mesh.sandbox import linux


def main() -> None:
    """Never returns."""
    parser = argparse.ArgumentParser(prog="mesh.sandbox.enter")
    parser.add_argument("--netns")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    linux.die_with_parent()
    if os.getppid() != options.parent:
        raise SystemExit("the parent died before its child could begin")
    if options.netns:
        linux.enter(options.netns, linux.CLONE_NEWNET)
    os.execvp(options.command[0], options.command)


if __name__ == "__main__":
    main()
