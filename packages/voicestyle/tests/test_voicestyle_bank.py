"""Face banks: layout, unreadable images, caching, retrieval."""

import os

import numpy as np
import pytest
import torch
from cmpc2.nearest import load_prototype_memory
from cmpc2.prototype_retrieval import TrainingVideo
from cmpc2.published import PrototypeMemory
from PIL import Image
from voiceface.faces import PictureReader
from voiceface.testing.faces import FrameFinder
from voicestyle.bank_builders import build_bank, build_bank_from_prototypes, build_synthetic_bank
from voicestyle.bank_layout import find_videos, locate_bank_folders, videos_from_images
from voicestyle.config import VoiceStyleConfig
from voicestyle.face_bank import FaceBank, FaceBankError
from voicestyle.pipeline import find_nearest_prototypes, select_videos


def write_image(path, number, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(small).resize((24, 24), Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


def retrieval_config(**values):
    return VoiceStyleConfig.model_validate({"retrieval": values})


def test_identities_are_named_after_directories_or_files(tmp_path):
    for number, name in enumerate(("anna/1.png", "anna/2.jpg", "bert/sub/1.png", "carl.png")):
        write_image(tmp_path / name, number)
    (tmp_path / "anna" / "notes.txt").write_text("no image")
    write_image(tmp_path / "anna" / "hidden.png", 9).rename(tmp_path / "anna" / "._1.png")
    table, frames = find_videos(tmp_path)
    assert [(v.identity, v.video_id) for v in table] == [
        *(("anna", "1.png"), ("anna", "2.jpg"), ("bert", "sub/1.png"), ("carl", "carl.png"))
    ]
    assert [[p.label for p in each] for each in frames] == [
        *(["anna/1.png"], ["anna/2.jpg"], ["bert/sub/1.png"], ["carl.png"])
    ]


def test_published_layout_has_videos_and_frontal_images(tmp_path, embedder):
    for number in range(12):
        name, video = f"p{number // 4}", f"video{number // 2 % 2}"
        write_image(tmp_path / "unzippedFaces" / name / "1.6" / video / f"{number:07}.png", number)
    for name in ("p0", "p2", "nobody"):
        write_image(tmp_path / "VGG_ALL_FRONTAL" / name / "1.png", hash(name) % 97)
    bank, _ = build_bank(tmp_path, embedder, num_clusters=3)
    assert [v.image_folder for v in bank.videos] == [f"p{n}/1.6/video{k}" for n in range(3) for k in range(2)]
    assert [len(each) for each in bank.frames] == [2] * 6
    assert {name: [p.label for p in found] for name, found in bank.frontal_images.items()} == {
        "p0": ["p0/1.png"],
        "p2": ["p2/1.png"],
    }
    assert bank.label(0) == "p0/1.6/video0"


def test_frontal_images_alone_form_a_bank(tmp_path, embedder):
    for number in range(4):
        write_image(tmp_path / "VGG_ALL_FRONTAL" / f"p{number % 2}" / f"{number}.png", number)
    bank, _ = build_bank(tmp_path, embedder, min_clusters=2)
    assert [v.identity for v in bank.videos] == ["p0", "p0", "p1", "p1"] and not bank.frontal_images
    assert locate_bank_folders(tmp_path) == (tmp_path, tmp_path / "VGG_ALL_FRONTAL")
    with pytest.raises(FileNotFoundError, match=r"--frontal names a directory"):
        locate_bank_folders(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("L", "jpg"), ("CMYK", "jpg"), ("P", "png")])
def test_greyscale_and_cmyk_images_are_read(tmp_path, embedder, mode, suffix):
    for number in range(3):
        write_image(tmp_path / f"{number}.png", number)
    odd = write_image(tmp_path / f"odd.{suffix}", 7, mode)
    assert Image.open(odd).mode == mode
    bank, _ = build_bank(tmp_path, embedder)
    image = bank.frames[3][0].read()
    assert len(bank) == 4 and not bank.left_out
    assert image.shape == (24, 24, 3) and image.dtype == np.uint8
    if mode == "L":
        assert (image == image[..., :1]).all()


def test_unreadable_images_are_skipped(tmp_path, embedder):
    for number in range(4):
        write_image(tmp_path / "p" / f"{number}.png", number)
    clean, _ = build_bank(tmp_path, embedder)
    (tmp_path / "p" / "bad.png").write_bytes(b"no image")
    (tmp_path / "p" / "torn.png").write_bytes((tmp_path / "p" / "1.png").read_bytes()[:20])
    bank, found = build_bank(tmp_path, embedder)
    assert [item.path.name for item in bank.left_out] == ["bad.png", "torn.png"]
    assert all(item.reason and item.remedy for item in bank.left_out)
    assert [v.video_id for v in bank.videos] == [v.video_id for v in clean.videos]
    assert torch.equal(bank.memory.centroids[0], clean.memory.centroids[0])
    again, _ = build_bank(tmp_path, embedder, cached=found)
    assert again.left_out == bank.left_out and again.digest == bank.digest
    for path in (tmp_path / "p").glob("[0-9].png"):
        path.unlink()
    with pytest.raises(FaceBankError, match=r"none of the 2 images in .* can be read; the first: .*bad.png"):
        build_bank(tmp_path, embedder)


def test_empty_and_missing_directories_raise(tmp_path, embedder):
    with pytest.raises(FileNotFoundError, match=r"the bank is empty"):
        build_bank(tmp_path, embedder)
    with pytest.raises(FileNotFoundError, match=r"--bank names a directory"):
        build_bank(tmp_path / "nowhere", embedder)
    with pytest.raises(FileNotFoundError, match=r"the bank is empty"):
        build_bank([], embedder)


def test_invalid_numbers_of_prototypes_raise(faces, embedder):
    with pytest.raises(
        FaceBankError, match=r"3 nearest of 10 prototypes of 9 videos.*retrieval.num_prototypes"
    ):
        build_bank(faces, embedder, num_clusters=10)
    with pytest.raises(FaceBankError, match=r"12 nearest of 9 prototypes of 9 videos"):
        build_bank(faces, embedder, min_clusters=12)
    bank, _ = build_bank(faces, embedder, num_clusters=4)
    voice = torch.rand(8)
    assert len(find_nearest_prototypes(voice, bank, retrieval_config(num_prototypes=4))) == 4
    with pytest.raises(FaceBankError, match=r"retrieval.num_prototypes: K = 5 of 4 prototypes"):
        find_nearest_prototypes(voice, bank, retrieval_config(num_prototypes=5))
    with pytest.raises(ValueError, match=r"no clustering of 7 clusters in this memory; available: 4"):
        find_nearest_prototypes(voice, bank, retrieval_config(num_clusters=7))


def test_embeddings_are_cached_until_a_file_or_network_changes(tmp_path, embedder):
    class Counts:
        fingerprint, embedding_dim, calls = embedder.fingerprint, embedder.embedding_dim, 0

        def embed_faces(self, images):
            Counts.calls += 1
            return embedder.embed_faces(images)

    for number in range(4):
        write_image(tmp_path / f"{number}.png", number)
    bank, found = build_bank(tmp_path, Counts())
    assert Counts.calls == 4
    again, same = build_bank(tmp_path, Counts(), cached=found)
    assert Counts.calls == 4 and again.digest == bank.digest and same["key"] == found["key"]
    Counts.fingerprint = "of another network"
    build_bank(tmp_path, Counts(), cached=found)
    assert Counts.calls == 8
    Counts.fingerprint = embedder.fingerprint
    data = (tmp_path / "2.png").read_bytes()
    os.utime(tmp_path / "2.png", ns=(1, 1))
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes().ljust(len(data), b"\0"))
    changed, _ = build_bank(tmp_path, Counts(), cached=found)
    assert Counts.calls == 12 and changed.digest != bank.digest


def test_digest_depends_on_every_image(tmp_path, embedder):
    for number in range(4):
        write_image(tmp_path / "bank" / f"p{number}" / "1.png", number)
    write_image(tmp_path / "front" / "p1" / "a.png", 8)

    def digest(frontal="front"):
        return build_bank(tmp_path / "bank", embedder, frontal=tmp_path / frontal)[0].digest

    digests = [digest(), digest()]
    assert digests[0] == digests[1]
    write_image(tmp_path / "front" / "p1" / "b.png", 9)
    digests.append(digest())
    write_image(tmp_path / "bank" / "p4" / "1.png", 10)
    digests.append(digest())
    write_image(tmp_path / "bank" / "p4" / "1.png", 11)
    digests.append(digest())
    assert len(set(digests)) == 4


def memory_of(places, centres=None):
    places = torch.tensor(places)
    centres = torch.eye(int(places.max()) + 1, 8) if centres is None else centres
    return PrototypeMemory([centres], [places], [])


def rows(*names):
    return [TrainingVideo(name, "1", f"id{n}", "", "", "", f"video{n}") for n, name in enumerate(names)]


def test_prototypes_may_refer_to_missing_videos(tmp_path, caplog):
    table = rows("anna", "bert", "carl")
    write_image(tmp_path / "anna" / "1.6" / "video0" / "1.png", 1)
    write_image(tmp_path / "anna" / "1.6" / "video0" / "x.png", 2).rename(
        tmp_path / "anna" / "1.6" / "video0" / "._1.png"
    )
    bank = build_bank_from_prototypes(tmp_path, memory_of([0, 1, 1]), table)
    assert [[p.label for p in each] for each in bank.frames] == [["anna/1.6/video0/1.png"], [], []]
    assert "2 of 3 videos of the table have no image" in caplog.text
    assert caplog.text.rstrip().endswith(": bert/1.6/video1, carl/1.6/video2")
    with pytest.raises(FaceBankError, match=r"none of the 1 videos .*carl/1.6/video2"):
        build_bank_from_prototypes(tmp_path, memory_of([0]), table[2:])
    with pytest.raises(FaceBankError, match=r"3, 3 and 2 videos"):
        build_bank_from_prototypes(tmp_path, memory_of([0, 1]), table)
    with pytest.raises(FileNotFoundError, match=r"no directory at"):
        build_bank_from_prototypes(tmp_path / "nowhere", memory_of([0, 1, 1]), table)
    write_image(tmp_path / "VGG_ALL_FRONTAL" / "carl" / "1.png", 3)
    assert list(build_bank_from_prototypes(tmp_path, memory_of([0, 1, 1]), table).frontal_images) == ["carl"]


def test_synthetic_bank_renders_images():
    memory, table = load_prototype_memory(None, None, None)
    bank = build_synthetic_bank(memory, table)
    assert bank.disclaimer and len(bank) == len(table)
    image = bank.frames[0][0]
    first = image.read()
    assert first.shape == (128, 128, 3) and (first == image.read()).all()
    assert image.label.startswith(table[0].image_folder)
    assert len({p.label for each in bank.frames for p in each}) == sum(map(len, bank.frames))
    with pytest.raises(FaceBankError, match=r"'anna' .* is not a synthetic identity"):
        build_synthetic_bank(memory_of([0]), rows("anna"))
    with pytest.raises(ValueError, match=r"unknown preset 'nothing'"):
        build_synthetic_bank(memory, table, preset="nothing")


def test_files_of_the_same_name_have_different_labels(tmp_path):
    files = [write_image(tmp_path / word / "x" / "1.png", n) for n, word in enumerate("ab")]
    assert len({each[0].label for each in videos_from_images(files)[1]}) == 2
    files[1] = write_image(tmp_path / "b" / "x" / "2.png", 3)
    assert [each[0].label for each in videos_from_images(files)[1]] == ["x/1.png", "x/2.png"]


@pytest.fixture
def ordered():
    """Six videos of three prototypes; the voice is nearest to 2, then 0, then 1."""
    memory = memory_of([0, 1, 2, 2, 0, 2])
    bank = FaceBank(memory, rows(*"abcdef"), [[]] * 6)
    return bank, torch.tensor([0.5, 0.1, 0.8, 0, 0, 0, 0, 0])


def test_prototypes_are_ordered_by_distance(ordered):
    bank, voice = ordered
    near = find_nearest_prototypes(voice, bank, retrieval_config(num_prototypes=3))
    unit = voice / voice.norm()
    assert [each.cluster for each in near] == [2, 0, 1]
    assert [each.distance for each in near] == pytest.approx([2 - 2 * float(unit[k]) for k in (2, 0, 1)])
    longer = find_nearest_prototypes(5 * voice[None], bank, retrieval_config(num_prototypes=2))
    assert [each.cluster for each in longer] == [2, 0]
    assert longer[0].distance == pytest.approx(near[0].distance, abs=1e-5)


@pytest.mark.parametrize(
    ("order", "wanted"),
    [("round_robin", [2, 0, 1, 3, 4, 5]), ("nearest", [2, 3, 5, 0, 4, 1]), ("table", [0, 1, 2, 3, 4, 5])],
)
def test_orders_of_videos(ordered, order, wanted):
    bank, voice = ordered
    config = retrieval_config(num_prototypes=3, order=order)
    near = find_nearest_prototypes(voice, bank, config)
    assert select_videos(near, bank, config) == wanted
    left = [row for row in wanted if row not in (2, 4)]
    found = select_videos(near, bank, config, exclude=("c", "id4"))
    assert sorted(found) == sorted(left) and (order == "round_robin" or found == left)


def test_excluding_all_videos_raises(ordered):
    bank, voice = ordered
    near = find_nearest_prototypes(voice, bank, retrieval_config(num_prototypes=1))
    with pytest.raises(
        FaceBankError, match=r"no video in bank once 3 names are excluded.*retrieval.num_prototypes"
    ):
        select_videos(near, bank, retrieval_config(num_prototypes=1), exclude=("c", "d", "f"))


def test_faces_of_own_bank_images_are_cut_out_and_those_of_videos_are_not(tmp_path):
    picture = np.full((100, 220, 3), 90, np.uint8)
    picture[::2] = 110
    FrameFinder.frame(picture, 10, 4, 88)
    (tmp_path / "Ada" / "1.6" / "clip").mkdir(parents=True)
    for name in ("Ada/1.6/clip/1.png", "own.png"):
        Image.fromarray(picture).save(tmp_path / name)
    pictures = PictureReader(convention="vggface_frontal", finder=FrameFinder())
    frames = find_videos(tmp_path, pictures)[1]
    ((video,), (own,)) = frames
    assert video.read().shape == picture.shape and own.read().shape == (128, 128, 3)
    plain = find_videos(tmp_path)[1][1][0]
    assert plain.stamp == str((tmp_path / "own.png").stat().st_size) and own.stamp != plain.stamp
    assert own.stamp != videos_from_images([own.path], PictureReader("never"))[1][0][0].stamp
