"""Contracts of association systems: no test hides another, attacks would succeed, pytest stays in tests."""

import ast
import contextlib
from pathlib import Path

import pytest
import torch
import voiceface
from voiceface.testing.contracts.association_system import AssociationSystemContract
from voiceface.testing.contracts.published import write_form
from voiceface.testing.corrupt_files import write_malicious_checkpoints


def test_no_contract_hides_a_member_of_another() -> None:
    owners: dict[str, str] = {}
    for contract in AssociationSystemContract.__bases__:
        for name in vars(contract):
            if not name.startswith("__"):
                assert name not in owners, f"{name} is in {owners[name]} and {contract.__name__}"
                owners[name] = contract.__name__
    assert sum(name.startswith("test_") for name in owners) > 60


@pytest.mark.parametrize("number", range(4))
def test_malicious_checkpoints_run_their_code_in_an_unsafe_reader(tmp_path: Path, number: int) -> None:
    """The contract would notice a system that unpickles without restriction."""
    marker = tmp_path / "marker"
    path = write_malicious_checkpoints(tmp_path, marker, "weight")[number]
    assert not marker.exists()
    with contextlib.suppress(
        RuntimeError
    ):  # a plain pickle has no magic number, but has been executed by then
        torch.load(path, weights_only=False)
    assert marker.exists()


def test_forms_of_a_published_checkpoint_hold_the_same_tensors(tmp_path: Path) -> None:
    state = {"weight": torch.arange(3.0)}
    torch.save({"step": 7, "state_dict": state}, tmp_path / "source.pth")
    write_form(tmp_path / "source.pth", tmp_path / "parallel.pth", "parallel", "state_dict")
    write_form(tmp_path / "source.pth", tmp_path / "bare.pth", "bare", "state_dict")
    parallel = torch.load(tmp_path / "parallel.pth", weights_only=True)
    assert parallel["step"] == 7 and torch.equal(parallel["state_dict"]["module.weight"], state["weight"])
    assert torch.equal(torch.load(tmp_path / "bare.pth", weights_only=True)["weight"], state["weight"])
    assert (tmp_path / "source.pth").read_bytes()[:2] == b"PK" != (tmp_path / "parallel.pth").read_bytes()[:2]


def test_pytest_is_imported_by_contracts_only() -> None:
    root = Path(voiceface.__file__).parent
    for path in root.rglob("*.py"):
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "pytest" not in names or path.parent == root / "testing" / "contracts", path
