"""The command tree, and the one place where a failure becomes an exit code."""

from __future__ import annotations

import os
import sys

import typer

from mesh.cli import demo, inject, proxy_config, proxy_status, routes, sandbox, traces, traffic, version
from mesh.cli.failure import CommandError
from mesh.cli.kube import KubeError

app = typer.Typer(
    name="meshctl",
    help="See, run and explain a Triomesh service mesh.\n\nStart with `meshctl demo`: bookinfo through real sidecars on this machine.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(proxy_config.app, name="proxy-config")
app.add_typer(proxy_config.app, name="pc", hidden=True)
for module, name in ((demo, "demo"), (inject, "inject"), (routes, "routes"), (traffic, "traffic"), (traces, "traces"), (version, "version")):
    app.command(name)(getattr(module, name))
app.command("proxy-status")(proxy_status.proxy_status)
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
        return 3 if exc.code == 0 and exc.reason != "Timeout" else 1
    except BrokenPipeError:
        # The reader (head, less) has had enough; python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
