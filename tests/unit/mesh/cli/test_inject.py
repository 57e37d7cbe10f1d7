"""meshctl inject."""

import yaml

from mesh.cli.main import run

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: x}]}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}  # kept\n"


def test_pods_get_the_sidecar_and_other_kinds_pass_unchanged(tmp_path, capsys):
    file = tmp_path / "app.yaml"
    file.write_text(f"{POD}---\n{SERVICE}")
    assert run(["inject", "-f", str(file)]) == 0
    out, err = capsys.readouterr()
    pod, service = yaml.safe_load_all(out)
    assert {container["name"] for container in pod["spec"]["containers"]} == {"app", "triomesh-proxy"}
    assert service["kind"] == "Service" and "# kept" in out
    assert "Pod" in err and "web" in err


def test_malformed_yaml_is_refused_by_file(tmp_path, capsys):
    file = tmp_path / "broken.yaml"
    file.write_text("kind: [")
    assert run(["inject", "-f", str(file)]) == 1
    assert "broken.yaml" in capsys.readouterr().err


def test_a_missing_file_is_wrong_usage(tmp_path, capsys):
    assert run(["inject", "-f", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_wrong_settings_name_the_field(tmp_path, capsys):
    file, settings = tmp_path / "app.yaml", tmp_path / "settings.yaml"
    file.write_text(POD)
    settings.write_text("nativeSidecars: perhaps\n")
    assert run(["inject", "-f", str(file), "--settings", str(settings)]) == 2
    assert "nativeSidecars" in capsys.readouterr().err
