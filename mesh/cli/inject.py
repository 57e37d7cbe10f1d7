"""meshctl inject: the webhook's two pure functions, offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from injector.fields import BadField
from injector.inject import BadDocument, inject_report
from injector.settings import Settings, parse_settings
from mesh.cli.failure import USAGE, CommandError


def inject(
    filename: Annotated[str, typer.Option("-f", "--filename", help="YAML file with Kubernetes objects; `-` reads standard input.")],
    settings_file: Annotated[str | None, typer.Option("--settings", help="Injector settings (key `config` of ConfigMap triomesh-injector).", metavar="FILE")] = None,
) -> None:
    """Print the objects of a file with the sidecar added to every pod template.

    Several documents and Lists are read; kinds without pods pass through unchanged.
    """
    settings = Settings()
    try:
        if settings_file:
            settings = parse_settings(Path(settings_file).read_text(encoding="utf-8"))
            for warning in settings.warnings:
                print(f"{settings_file}: warning: {warning}", file=sys.stderr)
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
        injected, outcomes = inject_report(text, settings)
    except (OSError, UnicodeDecodeError) as exc:
        raise CommandError(f"cannot read: {exc}", USAGE) from exc
    except BadField as exc:
        raise CommandError(f"{settings_file}: {exc}", USAGE) from exc
    except BadDocument as exc:
        raise CommandError(f"{filename}: {exc}") from exc
    print(injected, end="")
    for outcome in outcomes:
        print(f"{outcome.reference}: {outcome.sentence}", *outcome.warnings, sep="\n  warning: ", file=sys.stderr)
