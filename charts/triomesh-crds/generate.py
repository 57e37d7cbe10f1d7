"""Generate the CRDs beside this file from their tables: `python charts/triomesh-crds/generate.py [--check]`."""

import sys
from pathlib import Path

import gateway_api
import istio
import yaml

_HEADER = "# Made by charts/triomesh-crds/generate.py from its tables: edit those.\n"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def render() -> dict[str, str]:
    """File name → text."""
    files = istio.FILES | gateway_api.FILES
    options = {"sort_keys": False, "default_flow_style": None, "width": 160}
    return {name: _HEADER + yaml.dump_all(crds, Dumper=_Dumper, **options) for name, crds in files.items()}


def main() -> int:
    """Write the files, or with --check say which of them are out of date (exit 1)."""
    here = Path(__file__).parent
    stale = [name for name, text in render().items() if not (here / name).exists() or (here / name).read_text() != text]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"{name} is out of date" for name in stale) or "up to date")
        return 1 if stale else 0
    for name in stale:
        (here / name).write_text(render()[name])
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
