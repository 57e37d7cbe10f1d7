"""Pod addresses over restarts."""

from pathlib import Path

from mesh.sandbox.ipam import AddressPool


def test_a_released_address_is_not_given_again_soon(tmp_path: Path) -> None:
    pool = AddressPool(tmp_path / "ipam.json")
    first = pool.take()
    pool.release(first)
    assert pool.take() != first


def test_a_restarted_pool_goes_on_behind_the_last_address(tmp_path: Path) -> None:
    first = AddressPool(tmp_path / "ipam.json").take()
    again = AddressPool(tmp_path / "ipam.json")
    again.adopt("198.18.1.1")
    assert (first, again.take()) == ("198.18.1.0", "198.18.1.2")
