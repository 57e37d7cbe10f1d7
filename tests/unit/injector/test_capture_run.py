import subprocess
import sys

import pytest

from injector import capture_run


def test_dry_run_prints_both_families_and_touches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert capture_run.main(["--dry-run", "-d", "9999"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("*nat\n") == 2
    assert "--dport 9999 -j RETURN" in printed
    assert "::6/128" in printed


def test_bad_flag_value_exits_2_and_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert capture_run.main(["--dry-run", "-o", "80,http"]) == capture_run.BAD_USAGE
    assert "flag -o '80,http': 'http' is not a port" in capsys.readouterr().err


def test_unsupported_mode_is_refused() -> None:
    with pytest.raises(SystemExit) as caught:
        capture_run.main(["-m", "TPROXY"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        ("iptables-restore: Extension owner revision 0 not supported, missing kernel module?", "xt_owner"),
        ("Fatal: can't open lock file /run/xtables.lock: Permission denied", "NET_ADMIN"),
        ("iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist", "nat table"),
        ("iptables/1.8.9 Failed to initialize nft: Protocol not supported", "nf_tables"),
    ],
)
def test_refusal_names_the_missing_piece_of_the_kernel(words: str, piece: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(command, 1, "", words)

    monkeypatch.setattr(capture_run.subprocess, "run", refuse)
    assert capture_run.main([]) == capture_run.KERNEL_REFUSED
    message = capsys.readouterr().err
    assert piece in message
    assert words in message


def test_init_container_imports_the_standard_library_only() -> None:
    script = "import sys, injector.capture_run; print(sorted(n for n in sys.modules if n.split('.')[0] in ('yaml', 'kubernetes', 'cryptography', 'starlette')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
