"""The list of outside files: complete in form, nothing made up, and a fetch that keeps only right files."""

import dataclasses
import hashlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "voiceface",
    "seeking_shape",
    "archetype_agnostic",
    "sf2f",
    "perceptionist",
    "cmpc2",
    "fop",
    "voicestyle",
}
FILES_NAMED_BY_SYSTEMS = (
    "backbone_ir50_ms1m_epoch120.pth",
    "baseline_lite_ap.model",
    "Backbone_IR_152_Epoch_112_Batch_2547328_Time_2019-07-13-02-59_checkpoint.pth",
    "2D-to-3D-pretrained.tar",
    "voice_embedding.pth",
    "checkpoint_CMPC.pth.tar",
    "model_best_256.pth.tar",
    "frame_memory_best_256.pth.tar",
    "550000.pt",
    "model_ir_se50.pth",
    "20180402-114759-vggface2.pt",
    "resnet50_ft_weight.pkl",
)


def load_fetch_script():
    spec = importlib.util.spec_from_file_location("third_party_fetch", ROOT / "third_party" / "fetch.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fetch = load_fetch_script()
ENTRIES = fetch.read_manifest()
DATA = b"weights of nobody"
DIGEST = hashlib.sha256(DATA).hexdigest()


def make_entry(**changes):
    values = {
        "name": "made-up",
        "kind": "checkpoint",
        "title": "Made up",
        "file": "sub/made_up.pth",
        "sha256": "unknown",
        "bytes": "unknown",
        "licence": "MIT",
        "home": "https://example.org",
        "address": "unknown",
        "readers": ("voiceface",),
        "converter": "none",
    }
    return fetch.Entry(**(values | changes))


@pytest.mark.parametrize("item", ENTRIES, ids=lambda item: item.name)
def test_entry_is_complete_and_invents_nothing(item):
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        optional = {"note"} if item.package else {"note", "package", "version", "training_data"}
        if isinstance(value, str) and field.name not in optional:
            assert value.strip(), field.name
    assert re.fullmatch(r"[A-Za-z0-9._-]+", item.name)
    assert item.kind in {"checkpoint", "face model", "dataset"}
    assert item.sha256 == "unknown" or re.fullmatch(r"[0-9a-f]{64}", item.sha256)
    assert item.bytes == "unknown" or (isinstance(item.bytes, int) and item.bytes > 0)
    assert item.home == "unknown" or item.home.startswith("https://")
    assert item.address == "unknown" or item.address.startswith("https://")
    assert not Path(item.file).is_absolute() and ".." not in Path(item.file).parts
    assert set(item.readers) <= PACKAGES
    assert item.readers or item.converter == "none"


@pytest.mark.parametrize("item", ENTRIES, ids=lambda item: item.name)
def test_converter_exists_once_its_package_does(item):
    if item.converter in ("planned", "none"):
        return
    package, *rest = item.converter.split(".")
    assert package in PACKAGES
    source = ROOT / ("shared" if package == "voiceface" else f"packages/{package}") / "src" / package
    assert source.joinpath(*rest).is_dir() or source.joinpath(*rest).with_suffix(".py").is_file()


def test_files_that_the_systems_name_are_listed():
    files = {Path(item.file).name for item in ENTRIES}
    assert set(FILES_NAMED_BY_SYSTEMS) <= files


def test_registry_of_the_shared_package_matches_the_manifest():
    from voiceface.checkpoints.third_party import THIRD_PARTY_FILES

    listed = {item.name: (item.file, item.home) for item in ENTRIES}
    for name, file in THIRD_PARTY_FILES.items():
        assert listed[name] == (file.path, file.homepage)


def test_networks_inside_packages_are_those_of_the_catalogue():
    from voiceface.real.catalogue import MODELS

    listed = {item.name: item for item in ENTRIES if item.package}
    assert list(listed) == list(MODELS)
    for name, model in MODELS.items():
        item = listed[name]
        assert item.converter == "voiceface.real.conversion" and item.readers == ("voiceface",)
        assert (item.file, item.sha256, item.bytes) == (model.member, model.sha256, model.bytes)
        assert (item.package, item.version, item.home) == (model.package, model.version, model.homepage)
        assert (item.title, item.licence) == (model.title, model.licence)
        assert item.training_data == model.training_data
        with pytest.raises(fetch.FetchError, match=f"voiceface models get {name}"):
            fetch.fetch(item, ROOT / "absent")


def test_the_documentation_states_the_sizes_of_the_catalogue():
    from voiceface.real.catalogue import fetched_bytes, kept_bytes

    stated = f"{fetched_bytes() / 1e6:.0f} MB to fetch once, {kept_bytes() / 1e6:.0f} MB are kept"
    assert stated in (ROOT / "docs" / "real_encoders.md").read_text()


def test_every_system_has_an_entry_and_the_notices_name_the_licences():
    assert {reader for item in ENTRIES for reader in item.readers} == PACKAGES
    notice = (ROOT / "third_party" / "NOTICE.md").read_text()
    for words in (
        "BFM-2009",
        "MS-Celeb-1M",
        "GPL-3.0",
        "Nvidia Source Code License-NC",
        "CC BY-NC-SA 4.0",
        "VoxCeleb",
    ):
        assert words in notice


def test_no_third_party_file_is_in_the_repository():
    found = {path.name for path in (ROOT / "third_party").iterdir() if path.name != "__pycache__"}
    assert found == {"README.md", "NOTICE.md", "manifest.toml", "fetch.py"}


def test_check_file_states(tmp_path):
    known = make_entry(sha256=DIGEST, bytes=len(DATA))
    assert fetch.check_file(known, tmp_path)[0] == "missing"
    (tmp_path / "made_up.pth").write_bytes(DATA)
    assert fetch.check_file(known, tmp_path)[0] == "valid"
    state, sentence = fetch.check_file(make_entry(), tmp_path)
    assert state == "present" and DIGEST in sentence
    assert fetch.check_file(make_entry(bytes=3), tmp_path)[0] == "corrupt"
    assert fetch.check_file(make_entry(sha256="0" * 64), tmp_path)[0] == "corrupt"


def test_download_keeps_valid_files_only(tmp_path):
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)
    target = tmp_path / "to" / "file.bin"
    assert fetch.download(source.as_uri(), target, DIGEST, len(DATA)) == DIGEST
    assert target.read_bytes() == DATA
    for sha256, size in (("0" * 64, "unknown"), ("unknown", 3)):
        with pytest.raises(fetch.FetchError):
            fetch.download(source.as_uri(), tmp_path / "to" / "other.bin", sha256, size)
    with pytest.raises(fetch.FetchError, match="could not be downloaded"):
        fetch.download((tmp_path / "absent").as_uri(), tmp_path / "to" / "other.bin")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["file.bin"]


def test_fetch_keeps_existing_files_and_names_the_home_page(tmp_path):
    with pytest.raises(fetch.FetchError, match=r"no stable address.*https://example\.org.*MIT"):
        fetch.fetch(make_entry(), tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "made_up.pth").write_bytes(b"mine")
    with pytest.raises(fetch.FetchError, match="is not changed"):
        fetch.fetch(make_entry(sha256=DIGEST, address="https://example.org/x"), tmp_path)
    assert fetch.fetch(make_entry(address="https://example.org/x"), tmp_path)[0].read_bytes() == b"mine"


def test_command_line(tmp_path, capsys):
    assert fetch.main(["list", "--reader", "seeking_shape"]) == 0
    assert "baseline_lite_ap.model" in capsys.readouterr().out
    assert fetch.main(["verify", "cmpc", "--to", str(tmp_path)]) == 1
    assert "missing" in capsys.readouterr().out
    assert fetch.main(["verify", "--to", str(tmp_path)]) == 0
    assert fetch.main(["fetch", "cmcp", "--to", str(tmp_path)]) == 1
    assert "did you mean 'cmpc'" in capsys.readouterr().err
