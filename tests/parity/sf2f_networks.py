"""Parity of sf2f's encoders, fusers, decoders, whole generators, and of voice2face."""

import re
from typing import Any

import torch
from parity.case import Case, ComparisonLog, load_fill_rule
from parity.sf2f_faces import compare_all, summary_statistics
from sf2f import voice2face_baseline
from sf2f.fusers import Attention, build_fuser
from sf2f.generator import EncoderDecoder
from sf2f.network_config import FuserConfig, GeneratorConfig
from sf2f.published import KEY_TABLE
from sf2f.published_options import generator_config_from_options
from torch import Tensor, nn
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import apply_key_table

NOISE = 0.05


def load_weights(case: Case, prefix: str = "") -> dict[str, Tensor]:
    """Filled weights of the keys below a prefix (removed), times the gains of the case."""
    fill, seed = load_fill_rule(case.inputs.fill).fill, int(case.config.get("seed", 0))
    gains = case.meta.get("gain") or {}
    state = {}
    for key, shape in case.meta["layout"].items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            value = torch.as_tensor(fill(name, tuple(shape), seed))
            gain = gains.get(key, gains.get(name))
            state[name] = value if gain is None else value * float(gain)
    return state


def build_config(case: Case, **options: Any) -> GeneratorConfig:
    """Generator configuration from published options, else from the constructors' defaults."""
    return generator_config_from_options({"generator": {"options": options}}, case.name)


def subsample_to_shape(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Subsample an array by strides to a stored shape."""
    if values.ndim == len(shape) + 1:
        values = values[0]
    steps = (slice(None, None, max(1, size // stored)) for size, stored in zip(values.shape, shape))
    return values[tuple(steps)]


def compare_outputs(case: Case, log: ComparisonLog, ours: dict[str, Tensor]) -> None:
    """Compare all stored outputs; those of the package may be larger (slices are stored) or flattened."""
    fitted: dict[str, object] = {}
    for name, value in ours.items():
        if name in case.arrays:
            shape = case.arrays[name].shape
            alike = value.numel() == int(torch.tensor(shape).prod()) and value.ndim != len(shape) + 1
            fitted[name] = value.reshape(shape) if alike else subsample_to_shape(value, shape)
    compare_all(case, log, fitted)


def record_submodule_outputs(network: nn.Module, *names: str) -> dict[str, Any]:
    """A dictionary that collects the outputs of the named submodules."""
    found: dict[str, Any] = {}
    for name in names:

        def keep(module: nn.Module, args: object, output: Any, name: str = name) -> None:
            found[name] = output

        network.get_submodule(name).register_forward_hook(keep)
    return found


@torch.no_grad()
def voice_encoder_plain(case: Case, log: ComparisonLog) -> None:
    """Embeddings with and without normalisation and noise, and the sequence before the mean."""
    options = {key: value for key, value in case.config.items() if key != "seed"}
    plain = build_config(
        case, encoder_kwargs=options, decoder_kwargs={"input_channel": options["output_channel"]}
    )
    ours: dict[str, Tensor] = {}
    for name, changed in (
        ("", {}),
        ("_unnormalised", {"normalise": False}),
        ("_noise", {"noise_std": NOISE}),
    ):
        encoder = plain.encoder.model_copy(update=changed)
        network = EncoderDecoder(plain.model_copy(update={"encoder": encoder})).eval().encoder
        load_into(network, load_weights(case))
        for letter in ("a", "b"):
            noise = case.tensor("in_noise").flatten(1) if name == "_noise" else None
            if f"out_{letter}{name}" in case.arrays:
                sequence = network.forward_features(case.tensor(f"in_{letter}"))
                ours[f"out_{letter}{name}"] = network.forward_head(sequence, noise)
                ours[f"out_{letter}_sequence_first"] = sequence
                ours[f"out_{letter}_sequence_stats"] = summary_statistics(sequence)
    compare_outputs(case, log, ours)


@torch.no_grad()
def voice_encoder_inception(case: Case, log: ComparisonLog) -> None:
    """Embeddings of even and odd lengths, and the first block."""
    options = {key: value for key, value in case.config.items() if key != "seed"}
    config = build_config(
        case, encoder_kwargs=options, decoder_kwargs={"input_channel": options["output_channel"]}
    )
    network = EncoderDecoder(config).eval().encoder
    load_into(network, load_weights(case))
    seen = record_submodule_outputs(network, "model.0")
    ours: dict[str, Tensor] = {}
    for name in sorted(case.arrays):
        if given := re.fullmatch(r"in_(\w+)", name):
            place = f"out_{given[1]}"
            ours[place] = network(case.tensor(name))
            ours[f"{place}_block0"] = seen["model.0"]
            ours[f"{place}_block0_len"] = torch.tensor(seen["model.0"].shape)
    compare_outputs(case, log, ours)


@torch.no_grad()
def fuser_v1(case: Case, log: ComparisonLog) -> None:
    """Fused vectors, attention weights and outputs of the layer."""
    config = case.config
    fuser = build_fuser(_build_fuser_config(config, "v1"), int(config["dimensions"]), int(config["dim_out"]))
    load_into(fuser, load_weights(case))
    seen = record_submodule_outputs(fuser, "attention")
    ours: dict[str, Tensor] = {}
    for letter in ("a", "b"):
        given = case.tensor(f"in_{letter}")
        ours[f"out_{letter}"] = fuser(given)
        ours[f"out_{letter}_attended"], ours[f"out_{letter}_weights"] = seen["attention"]
        ours[f"out_{letter}_unitnorm_input"] = fuser(nn.functional.normalize(given, dim=2))
        everything = torch.ones(given.shape[:2], dtype=torch.bool)
        same = torch.equal(fuser(given), fuser(given, everything)) or torch.allclose(
            fuser(given), fuser(given, everything), atol=1e-6
        )
        log.compare_equal(f"in_{letter} with a mask of ones", same, True)
    compare_outputs(case, log, ours)


@torch.no_grad()
def attention_variants(case: Case, log: ComparisonLog) -> None:
    """The attention layer with every option."""
    ours: dict[str, Tensor] = {}
    for name, options in case.config["variants"].items():
        layer = Attention(
            int(case.config["dimensions"]),
            options["dim_out"],
            options["attention_type"],
            options["linear_out_layer"],
            options["ignore_tanh"],
        )
        load_into(layer, load_weights(case, f"{name}."))
        found = layer(case.tensor("in_query"), case.tensor("in_context"))
        ours[f"out_{name}"], ours[f"out_{name}_weights"] = found
    compare_outputs(case, log, ours)


@torch.no_grad()
def optional_fuser_v2_v3(case: Case, log: ComparisonLog) -> None:
    """The two fusers that no released model uses."""
    stated = re.search(r"multiplied by ([\d.]+\d)", str(case.meta.get("inputs", "")))
    given = case.tensor("in_x") * float(stated[1] if stated else 1.0)
    ours: dict[str, Tensor] = {}
    for kind in ("v2", "v3"):
        fuser = build_fuser(_build_fuser_config(case.config, kind), int(case.config["dimensions"]))
        load_into(fuser, load_weights(case, f"{kind}."))
        ours[f"out_{kind}"] = fuser(given)
    compare_outputs(case, log, ours)


def decoder_v2f(case: Case, log: ComparisonLog) -> None:
    """Images, and the first layer."""
    _compare_decoder(case, log, "V2FDecoder", {"out_first": "model.0"}, ["out_img"])


def decoder_facegan(case: Case, log: ComparisonLog) -> None:
    """Images, the linear layer, the first upsampling block."""
    places = {"out_fc": "fc", "out_up0": "up_layers.0"}
    _compare_decoder(case, log, "FaceGanDecoder", places, ["out_img"])


def decoder_facegan_v2(case: Case, log: ComparisonLog) -> None:
    """Images of both sizes."""
    _compare_decoder(case, log, "FaceGanDecoder_v2", {}, ["out_low", "out_mid"])


def optional_decoder_mr(case: Case, log: ComparisonLog) -> None:
    """Images of all sizes."""
    count = sum(bool(re.fullmatch(r"out_\d+", name)) for name in case.arrays)
    _compare_decoder(case, log, "MRDecoder", {}, [f"out_{size}" for size in range(count)])


def optional_decoder_attn(case: Case, log: ComparisonLog) -> None:
    """Images, and the weights of the first attention."""
    first = next(level for level, width in enumerate(case.config["attn_channels"]) if width)
    places = {"out_attn": f"AttnBlock{first}.attn_layer.attention"}
    _compare_decoder(case, log, "AttnV2FDecoder", places, ["out_img"])


@torch.no_grad()
def _compare_decoder(
    case: Case, log: ComparisonLog, arch: str, places: dict[str, str], names: list[str]
) -> None:
    options = {key: value for key, value in case.config.items() if key != "seed"}
    embedding = case.tensor("in_emb").flatten(1)
    config = build_config(
        case,
        encoder_kwargs={"output_channel": embedding.shape[1]},
        decoder_arch=arch,
        decoder_kwargs=options,
    )
    generator = EncoderDecoder(config).eval()
    load_into(generator.decoder, apply_key_table(load_weights(case), KEY_TABLE))
    seen = record_submodule_outputs(generator.decoder, *places.values())
    sequence = case.tensor("in_seq") if "in_seq" in case.arrays else None
    images = generator.decode(embedding, sequence)
    ours = dict(zip(names, images, strict=True))
    ours |= {f"{name}_stats": summary_statistics(image) for name, image in zip(names, images)}
    for name, place in places.items():
        ours[name] = seen[place][1] if isinstance(seen[place], tuple) else seen[place]
    compare_outputs(case, log, ours)


@torch.no_grad()
def encdec(case: Case, log: ComparisonLog) -> None:
    """The whole generator: single windows, mean embedding, fused windows, noise."""
    config = generator_config_from_options(
        {"generator": case.config["generator"], "data": {"image_size": case.config["image_size"]}}, case.name
    )
    generator = EncoderDecoder(config).eval()
    load_into(generator, load_weights(case))
    mel = case.tensor("in_mel")
    runs = {"out": generator(mel), "out_avg": generator(mel, average_batch=True)}
    if "in_segments" in case.arrays:
        runs["out_fused"] = generator(case.tensor("in_segments"))
    if "in_noise" in case.arrays:
        runs["out_noise"] = generator(mel, noise=case.tensor("in_noise").flatten(1))
    ours: dict[str, Tensor] = {}
    for prefix, found in runs.items():
        ours[f"{prefix}_emb"] = found.embedding
        ours[f"{prefix}_img"] = found.images[0]
        for at, image in enumerate(found.images):
            ours[f"{prefix}_img{at}"] = image
            ours[f"{prefix}_img{at}_stats"] = summary_statistics(image)
    compare_outputs(case, log, ours)


@torch.no_grad()
def wen_networks(case: Case, log: ComparisonLog) -> None:
    """The separately published baseline: embeddings, images, logits, losses."""
    parts: Any = {
        letter: voice2face_baseline.build_network(load_weights(case, f"{letter}:")) for letter in "egfdc"
    }
    networks = voice2face_baseline.Voice2FaceNetworks(**parts)
    mel, faces = case.tensor("in_mel"), case.tensor("in_face")
    faces = faces.repeat_interleave(64 // faces.shape[-2], 2).repeat_interleave(64 // faces.shape[-1], 3)
    made = networks.g(networks.embed(mel))
    noisy = networks.g(networks.embed(mel, case.tensor("in_noise").flatten(1)))
    real, fake = networks.f(faces), networks.f(noisy)  # type: ignore[misc]
    terms = voice2face_baseline.compute_discriminator_losses(
        networks, faces, noisy, case.tensor("in_face_label")
    )
    terms |= voice2face_baseline.compute_generator_losses(networks, noisy, case.tensor("in_voice_label"))
    compare_outputs(
        case,
        log,
        {
            "out_embedding": networks.e(mel),
            "out_img": made,
            "out_img_noise_stats": summary_statistics(noisy),
            "out_face_embedding": real,
            "out_real_score": parts["d"](real),
            "out_fake_score": parts["d"](fake),
            "out_real_logits": parts["c"](real),
            "out_fake_logits": parts["c"](fake),
            "out_losses": torch.stack(list(terms.values())),
        },
    )


def _build_fuser_config(config: dict[str, Any], kind: Any) -> FuserConfig:
    return FuserConfig(
        kind=kind,
        attention=config.get("attention_type", "general"),
        ignore_tanh=config.get("ignore_tanh", False),
        linear_out=config.get("linear_out_layer", True),
    )
