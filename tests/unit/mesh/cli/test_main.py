"""Exit codes of the command line."""

import pytest

from mesh.cli.main import VERBS, run


def commands(out: str) -> list[str]:
    return out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()


def test_help_is_complete_enough_to_need_no_docs(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in commands(out)] == list(VERBS)
    assert not any(line.endswith("...") for line in commands(out))
    assert "Exit codes: 0 done" in out


@pytest.mark.parametrize("group", ["sandbox", "proxy-config"])
def test_no_line_of_a_groups_help_is_cut(group, capsys):
    assert run([group, "--help"]) == 0
    lines = commands(capsys.readouterr().out)
    assert lines and not any(line.endswith("...") for line in lines)


@pytest.mark.parametrize("arguments", [["nonsense"], ["routes", "--nonsense"], ["version", "-o", "xml"], ["proxy-config", "clusters"]])
def test_wrong_usage_is_2(arguments, capsys):
    assert run(arguments) == 2
    assert capsys.readouterr().err


def test_no_server_is_3(tmp_path, capsys):
    assert run(["routes", "--kubeconfig", str(tmp_path / "none")]) == 3
    assert "no usable kubeconfig" in capsys.readouterr().err


def test_a_sandbox_that_is_absent_is_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRIOMESH_STATE", str(tmp_path))
    assert run(["sandbox", "status", "--name", "nobody"]) == 1
    assert "absent" in capsys.readouterr().out
    assert run(["sandbox", "env", "--name", "nobody"]) == 1
    assert "meshctl sandbox up" in capsys.readouterr().err


def test_a_bad_sandbox_name_is_named(capsys):
    assert run(["sandbox", "status", "--name", "Not_A_Name"]) == 2
    assert "Not_A_Name" in capsys.readouterr().err
