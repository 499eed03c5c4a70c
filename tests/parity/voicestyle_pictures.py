"""Parity of the networks that judge pictures: LPIPS with each trunk, the face recogniser, the ID loss."""

import ast
import operator
import re
from collections.abc import Callable, Mapping

import torch
from parity.case import Book, Case
from parity.rules import Rule
from parity.stylegan2_networks import statistics
from parity.voicestyle_weights import drawn, weights
from torch import Tensor
from torch.nn.functional import normalize
from voiceface.association.pretrained_backbones import face_architecture
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import apply_key_table
from voiceface.models.iresnet import IR
from voiceface.models.lpips import LPIPS
from voicestyle.identity import COLUMNS, ROWS, IdentityNetwork, face_crop, identity_distance

LOOSE = Rule(atol=1e-4, rtol=1e-3)
SLICES = [(r"^net\.slice\d+\.", "features."), (r"^lins\.", "lin")]
SUMS: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@torch.no_grad()
def lpips(case: Case, book: Book) -> None:
    """Distances, every tap's own part, and where the pictures differ."""
    config, given = case.config, inputs_of(case)
    network = LPIPS(config["net"], scaled=str(config.get("version", "0.1")) != "0.0")
    state = apply_key_table(weights(case), SLICES)
    stored_scale = any(key.startswith("scaling_layer.") for key in state)
    load_into(network, state, ignore=[] if stored_scale else ["scaling_layer.*"], source=case.name)
    if "channels" in config:
        book.equal("channels", list(network.taps.channels), list(config["channels"]))
    a, b = given["a"], given["b"]
    ours = {
        "distance": network(a, b).flatten(),
        "per_layer": network.per_layer(a, b),
        "distance_spatial": network.spatial(a, b),
    }
    for name in case.arrays:
        whole, _, step = name.partition("_stride")
        if whole not in ours:
            book.equal(f"{name} is compared", "not compared", "compared")
            continue
        found = ours[whole]
        if step:
            first = offset(case, r"rows and columns (\d*)::")
            found = found[:, :, first :: int(step), first :: int(step)]
        case.judge(book, name, found.reshape(case.arrays[name].shape), otherwise=LOOSE)


@torch.no_grad()
def irse50(case: Case, book: Book) -> None:
    """Features of unit length, folded and not, and what stands after some of the units."""
    network, x = recogniser(weights(case), case.name), inputs_of(case)["x"]
    if "parameters" in case.config:
        count = sum(value.numel() for value in network.parameters())
        book.equal("parameters", count, int(case.config["parameters"]))
    if "input_size" in case.config:
        book.equal("input_size", network.side, int(case.config["input_size"]))
    maps, after = network.input_layer(x), []
    for unit in network.body:
        maps = unit(maps)
        after.append(maps)
    for name in case.arrays:
        if name == "embedding":
            case.judge(book, name, normalize(network(x), dim=1), otherwise=LOOSE)
            folded, rule = IdentityNetwork(network).network, case.rule(name, otherwise=LOOSE)
            book.within("embedding, folded", normalize(folded(x), dim=1), case.arrays[name], rule)
        elif found := re.fullmatch(r"block(\d+)_(stats|sample)", name):
            maps = after[int(found[1])]
            if found[2] == "stats":
                case.judge(book, name, statistics(maps), otherwise=LOOSE)
            else:
                first = offset(case, r"channels (\d*)::")
                step = case.stride(r"channels \d*::(\d+)", 1)
                case.judge(book, name, maps[:, first::step], otherwise=LOOSE)
        else:
            book.equal(f"{name} is compared", "not compared", "compared")


@torch.no_grad()
def id_loss(case: Case, book: Book) -> None:
    """Features of whole pictures of 256 and other sizes; the loss of a pair of batches."""
    network, given = recogniser(weights(case), case.name), inputs_of(case)
    judge = IdentityNetwork(network)
    for name, ours in (("crop_rows", ROWS), ("crop_cols", COLUMNS)):
        if name in case.config:
            book.equal(name, list(ours), list(case.config[name]))
    text = str(case.meta.get("outputs", ""))
    of = dict(re.findall(r"(\w+) = features of (\w+)", text))
    pair = re.search(r"<f\((\w+)\), f\((\w+)\)>", text)
    for name in case.arrays:
        if name in of:
            picture = given[of[name]]
            case.judge(book, name, judge.features(picture), otherwise=LOOSE)
            plain = normalize(network(face_crop(picture, judge.side)), dim=1)
            book.within(f"{name}, not folded", plain, case.arrays[name], case.rule(name, otherwise=LOOSE))
        elif name == "loss" and pair:
            made, target = (judge.features(given[pair[number]]) for number in (1, 2))
            case.judge(book, name, identity_distance(made, target).mean(), otherwise=LOOSE)
        else:
            book.equal(f"{name} is compared", "not compared", "compared")


def recogniser(state: Mapping[str, Tensor], source: str) -> IR:
    """The IR network of weights, its sizes read off their shapes."""
    sizes = face_architecture(state, "")
    features = int(state["output_layer.3.weight"].shape[0])
    network = IR(sizes.units, sizes.widths, sizes.side, features, squeeze=sizes.squeeze)
    load_into(network, state, source=source)
    return network.eval().requires_grad_(False)


def inputs_of(case: Case) -> dict[str, Tensor]:
    """All inputs by name: stored ones, drawn ones, and sums of them such as `clip(a + 0.25*n, -1, 1)`."""
    found = {name: case.tensor(name) for name in case.meta["inputs"] if name in case.arrays}
    for name, stated in case.meta["inputs"].items():
        if name not in found and isinstance(stated, Mapping):
            found[name] = drawn(stated)
    for name, stated in case.meta["inputs"].items():
        if name not in found and isinstance(stated, str):
            found[name] = _value(ast.parse(stated, mode="eval").body, found)
    return found


def offset(case: Case, pattern: str) -> int:
    """The first of the rows, columns or channels that a part holds; 0 where the case does not say."""
    found = re.search(pattern, str(case.meta.get("outputs", "")))
    return int(found[1] or 0) if found else 0


def _value(node: ast.expr, known: Mapping[str, Tensor]) -> Tensor:
    """A formula of names, numbers, sums, products and `clip`, in the precision of the arrays."""
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.Constant):
        return torch.tensor(float(node.value))  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in SUMS:
        return SUMS[type(node.op)](_value(node.left, known), _value(node.right, known))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "clip":
        value, low, high = (_value(part, known) for part in node.args)
        return value.clamp(float(low), float(high))
    raise ValueError(f"no such formula of an input is known: {ast.unparse(node)!r}")
