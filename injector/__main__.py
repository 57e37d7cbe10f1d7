"""`python -m injector iptables …` (the init container) and `python -m injector serve …` (the webhook)."""

import sys


def main(words: list[str]) -> int:
    """Run a subcommand. Imports it only then: the init container must not pay for the webhook's libraries."""
    match words:
        case ["iptables", *rest]:
            from injector.capture_run import main as iptables_main

            return iptables_main(rest)
        case ["serve", *rest]:
            from injector.server import main as serve_main

            return serve_main(rest)
        case _:
            print("usage: python -m injector {iptables|serve} [--help]", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
