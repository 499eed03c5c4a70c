"""Parity of the image losses: LPIPS with each backbone, IR-SE50, the ID loss."""

import ast
import operator
import re
from collections.abc import Callable, Mapping

import torch
from parity.case import Case, ComparisonLog
from parity.stylegan2_networks import summary_statistics
from parity.tolerance_rules import ToleranceRule
from parity.voicestyle_inputs import generate_array, load_weights
from torch import Tensor
from torch.nn.functional import normalize
from voiceface.association.pretrained_backbones import infer_face_config
from voiceface.checkpoints.native import load_into
from voiceface.checkpoints.published import apply_key_table
from voiceface.models.iresnet import IR
from voiceface.models.lpips import LPIPS
from voicestyle.identity_loss import CROP_COLUMNS, CROP_ROWS, IRIdentityEncoder, crop_face, identity_distance

LOOSE = ToleranceRule(atol=1e-4, rtol=1e-3)
LPIPS_KEY_TABLE = [(r"^net\.slice\d+\.", "features."), (r"^lins\.", "lin")]
OPERATORS: dict[type, Callable[[Tensor, Tensor], Tensor]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@torch.no_grad()
def lpips(case: Case, log: ComparisonLog) -> None:
    """Check distances, the part of every layer, and spatial distances."""
    config, given = case.config, load_inputs(case)
    network = LPIPS(config["net"], scaled=str(config.get("version", "0.1")) != "0.0")
    state = apply_key_table(load_weights(case), LPIPS_KEY_TABLE)
    stored_scale = any(key.startswith("scaling_layer.") for key in state)
    load_into(network, state, ignore=[] if stored_scale else ["scaling_layer.*"], source=case.name)
    if "channels" in config:
        log.compare_equal("channels", list(network.taps.channels), list(config["channels"]))
    a, b = given["a"], given["b"]
    ours = {
        "distance": network(a, b).flatten(),
        "per_layer": network.layer_distances(a, b),
        "distance_spatial": network.spatial_distance(a, b),
    }
    for name in case.arrays:
        whole, _, step = name.partition("_stride")
        if whole not in ours:
            log.compare_equal(f"{name} is compared", "not compared", "compared")
            continue
        found = ours[whole]
        if step:
            first = first_index(case, r"rows and columns (\d*)::")
            found = found[:, :, first :: int(step), first :: int(step)]
        case.compare(log, name, found.reshape(case.arrays[name].shape), default=LOOSE)


@torch.no_grad()
def irse50(case: Case, log: ComparisonLog) -> None:
    """Check unit features, batch norms fused and not, and outputs of some units."""
    network, x = build_recogniser(load_weights(case), case.name), load_inputs(case)["x"]
    if "parameters" in case.config:
        count = sum(value.numel() for value in network.parameters())
        log.compare_equal("parameters", count, int(case.config["parameters"]))
    if "input_size" in case.config:
        log.compare_equal("input_size", network.image_size, int(case.config["input_size"]))
    maps, after = network.input_layer(x), []
    for unit in network.body:
        maps = unit(maps)
        after.append(maps)
    for name in case.arrays:
        if name == "embedding":
            case.compare(log, name, normalize(network(x), dim=1), default=LOOSE)
            folded, rule = IRIdentityEncoder(network).network, case.rule(name, default=LOOSE)
            log.compare_by_rule("embedding, folded", normalize(folded(x), dim=1), case.arrays[name], rule)
        elif found := re.fullmatch(r"block(\d+)_(stats|sample)", name):
            maps = after[int(found[1])]
            if found[2] == "stats":
                case.compare(log, name, summary_statistics(maps), default=LOOSE)
            else:
                first = first_index(case, r"channels (\d*)::")
                step = case.stated_number(r"channels \d*::(\d+)", 1)
                case.compare(log, name, maps[:, first::step], default=LOOSE)
        else:
            log.compare_equal(f"{name} is compared", "not compared", "compared")


@torch.no_grad()
def id_loss(case: Case, log: ComparisonLog) -> None:
    """Check features of images of 256 pixels and of other sizes, and the loss of a pair of batches."""
    network, given = build_recogniser(load_weights(case), case.name), load_inputs(case)
    judge = IRIdentityEncoder(network)
    for name, ours in (("crop_rows", CROP_ROWS), ("crop_cols", CROP_COLUMNS)):
        if name in case.config:
            log.compare_equal(name, list(ours), list(case.config[name]))
    text = str(case.meta.get("outputs", ""))
    of = dict(re.findall(r"(\w+) = features of (\w+)", text))
    pair = re.search(r"<f\((\w+)\), f\((\w+)\)>", text)
    for name in case.arrays:
        if name in of:
            picture = given[of[name]]
            case.compare(log, name, judge.features(picture), default=LOOSE)
            plain = normalize(network(crop_face(picture, judge.side)), dim=1)
            log.compare_by_rule(
                f"{name}, not folded", plain, case.arrays[name], case.rule(name, default=LOOSE)
            )
        elif name == "loss" and pair:
            made, target = (judge.features(given[pair[number]]) for number in (1, 2))
            case.compare(log, name, identity_distance(made, target).mean(), default=LOOSE)
        else:
            log.compare_equal(f"{name} is compared", "not compared", "compared")


def build_recogniser(state: Mapping[str, Tensor], source: str) -> IR:
    """Build the IR network of the weights; sizes are inferred from their shapes."""
    sizes = infer_face_config(state, "")
    features = int(state["output_layer.3.weight"].shape[0])
    network = IR(
        sizes.units, sizes.widths, sizes.image_size, features, squeeze_excitation=sizes.squeeze_excitation
    )
    load_into(network, state, source=source)
    return network.eval().requires_grad_(False)


def load_inputs(case: Case) -> dict[str, Tensor]:
    """Load all inputs by name: stored ones, random ones, and formulas such as `clip(a + 0.25*n, -1, 1)`."""
    found = {name: case.tensor(name) for name in case.meta["inputs"] if name in case.arrays}
    for name, stated in case.meta["inputs"].items():
        if name not in found and isinstance(stated, Mapping):
            found[name] = generate_array(stated)
    for name, stated in case.meta["inputs"].items():
        if name not in found and isinstance(stated, str):
            found[name] = _evaluate_formula(ast.parse(stated, mode="eval").body, found)
    return found


def first_index(case: Case, pattern: str) -> int:
    """Return the first of the rows, columns or channels that are stored; 0 if the case does not state it."""
    found = re.search(pattern, str(case.meta.get("outputs", "")))
    return int(found[1] or 0) if found else 0


def _evaluate_formula(node: ast.expr, known: Mapping[str, Tensor]) -> Tensor:
    """Evaluate a formula of names, numbers, sums, products and `clip` in the precision of the arrays."""
    if isinstance(node, ast.Name):
        return known[node.id]
    if isinstance(node, ast.Constant):
        return torch.tensor(float(node.value))  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate_formula(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](
            _evaluate_formula(node.left, known), _evaluate_formula(node.right, known)
        )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "clip":
        value, low, high = (_evaluate_formula(part, known) for part in node.args)
        return value.clamp(float(low), float(high))
    raise ValueError(f"no such formula of an input is known: {ast.unparse(node)!r}")
