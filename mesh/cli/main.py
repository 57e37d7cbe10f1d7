"""The command tree, and the one place where a failure becomes an exit code."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from mesh.cli import demo, inject, proxy_config, proxy_status, routes, sandbox, traces, traffic, version
from mesh.cli.failure import NEGATIVE, UNREACHABLE, CommandError
from mesh.cli.kube import KubeError

VERBS = {
    "demo": "Bookinfo through real sidecars on this machine, measured.",
    "sandbox": "A cluster with the mesh in it: up, down, status, env.",
    "routes": "Where requests go, in which shares, and by whose word.",
    "traffic": "Live success rate, requests per second, latency.",
    "traces": "Traces, or one request's tree with every hop.",
    "proxy-status": "Does every proxy have what was last made for it?",
    "proxy-config": "What one proxy really has, object by object.",
    "inject": "Add the sidecar to the objects of a file.",
    "version": "Versions of meshctl, control plane and proxies.",
}
"""One line each (with a terminal of 80 columns none is cut), in the order in which a newcomer meets them."""


class _InOrder(TyperGroup):
    """Typer lists groups after commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: list(VERBS).index(name) if name in VERBS else len(VERBS))


app = typer.Typer(
    name="meshctl",
    help="See, run and explain a Triomesh service mesh.\n\nStart with `meshctl demo`: bookinfo through real sidecars on this machine.",
    epilog="Exit codes: 0 done or true; 1 a negative answer (broken, missing, refused); 2 wrong usage; 3 the API server, the sandbox or a proxy cannot be reached; 130 interrupted.",
    cls=_InOrder,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(sandbox.app, name="sandbox", short_help=VERBS["sandbox"])
app.add_typer(proxy_config.app, name="proxy-config", short_help=VERBS["proxy-config"])
app.add_typer(proxy_config.app, name="pc", hidden=True)
for module, name in ((demo, "demo"), (inject, "inject"), (routes, "routes"), (traffic, "traffic"), (traces, "traces"), (version, "version")):
    app.command(name, short_help=VERBS[name])(getattr(module, name))
app.command("proxy-status", short_help=VERBS["proxy-status"])(proxy_status.proxy_status)
app.command("ps", hidden=True)(proxy_status.proxy_status)


def main() -> None:
    """Run meshctl with this process's arguments, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code (see the package's docstring)."""
    try:
        app(arguments, prog_name="meshctl")
        return 0
    except SystemExit as exc:
        sys.stdout.flush()
        return exc.code if isinstance(exc.code, int) else int(bool(exc.code))
    except KeyboardInterrupt:
        return 130
    except CommandError as exc:
        print(f"meshctl: {exc}", file=sys.stderr)
        return exc.code
    except KubeError as exc:
        print(f"meshctl: {exc}", file=sys.stderr)
        return UNREACHABLE if exc.code == 0 and exc.reason != "Timeout" else NEGATIVE
    except BrokenPipeError:
        # The reader (head, less) has had enough; python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
