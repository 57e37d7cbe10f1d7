"""Which command stands in for which image."""

import os
from pathlib import Path

import pytest

from mesh.sandbox.images import BadTable, ImageResolver, UnknownImage, load_table, parse_table, split_reference

NO_FILE = Path("/nonexistent/images.yaml")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("busybox", ("busybox", "latest")),
        ("docker.io/library/busybox:1.36", ("busybox", "1.36")),
        ("localhost:5000/a/b", ("localhost:5000/a/b", "latest")),
        ("localhost:5000/a/b:v1", ("localhost:5000/a/b", "v1")),
        ("docker.io/istio/x:1@sha256:abc", ("istio/x", "1")),
    ],
)
def test_a_reference_splits_into_name_and_tag(reference: str, expected: tuple[str, str]) -> None:
    assert split_reference(reference) == expected


def test_istios_bookinfo_images_run_our_samples() -> None:
    image = load_table(NO_FILE).resolve("docker.io/istio/examples-bookinfo-reviews-v2:1.20.3")
    assert image.command == ("python", "-m", "samples.bookinfo.reviews")
    assert image.env == {"SERVICE_VERSION": "v2", "ENABLE_RATINGS": "true", "STAR_COLOR": "black"}


def test_a_star_of_the_pattern_fills_the_environment() -> None:
    assert load_table(NO_FILE).resolve("istio/examples-bookinfo-ratings-v-faulty:1").env == {"SERVICE_VERSION": "v-faulty"}


def test_our_httpbin_listens_where_its_manifest_says() -> None:
    image = load_table(NO_FILE).resolve("triomesh/httpbin:0.1.0")
    assert (image.command, image.args) == (("python", "-m", "samples.httpbin.httpbin"), ("8080",))


@pytest.mark.parametrize("registry", ["", "docker.io/", "ghcr.io/some/where/", "localhost:5000/"])
def test_the_registry_does_not_matter(registry: str) -> None:
    assert load_table(NO_FILE).resolve(f"{registry}triomesh/proxy:0.1").user == 1337


def test_an_unknown_image_teaches_the_entry_to_add() -> None:
    with pytest.raises(UnknownImage, match=r'image: "example.invalid/x".* to /nonexistent/images.yaml'):
        load_table(NO_FILE).resolve("example.invalid/x:1")


def test_the_users_table_wins(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text('images: [{image: "triomesh/proxy", tag: "dev-*", command: [other]}]')
    table = load_table(file)
    assert table.resolve("triomesh/proxy:dev-1").command == ("other",)
    assert table.resolve("triomesh/proxy:1").command == ("python", "-m", "mesh.proxy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", 'expected "images:"'),
        ("images: [{}]", r'images\[0\]: needs "image"'),
        ("images: [{image: a}]", 'needs "command" or "args"'),
        ("images: [{image: a, command: b}]", "command must be a list of strings"),
        ("images: [{image: a, command: [b], comand: []}]", "unknown field 'comand'"),
        ("images: [{image: a, command: [b], env: {A: 1}}]", "env must map strings to strings"),
        ("images: [{image: a, command: [b], user: root}]", "user must be a numeric id"),
        ("images: [", "t.yaml:"),
    ],
)
def test_a_malformed_table_names_the_entry(text: str, message: str) -> None:
    with pytest.raises(BadTable, match=message):
        parse_table(text, "t.yaml")


def test_the_users_images_count_as_soon_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    resolve = ImageResolver(file)
    assert resolve("busybox:1").args == ("sh",)
    with pytest.raises(UnknownImage):
        resolve("mine:1")
    file.write_text("images: [{image: mine, command: [one]}]")
    os.utime(file, (1000, 1000))
    assert resolve("mine:1").command == ("one",)
    file.write_text("images: [{image: mine, command: [two]}]")
    os.utime(file, (2000, 2000))
    assert resolve("mine:1").command == ("two",)


def test_a_broken_table_is_said_and_the_last_good_one_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "images.yaml"
    file.write_text("images: [{image: mine, command: [one]}]")
    os.utime(file, (1000, 1000))
    resolve = ImageResolver(file)
    assert resolve("mine:1").command == ("one",)
    file.write_text("images: [{image: mine, colour: red}]")
    os.utime(file, (2000, 2000))
    assert resolve("mine:1").command == ("one",) and "colour" in caplog.text
    assert ImageResolver(file)("busybox:1").args == ("sh",)  # one that is broken from the start leaves the built-in one
