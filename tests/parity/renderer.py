"""Parity of the renderer: coverage, colours, depths, visible triangles, normals, light."""

import numpy as np
from parity.case import Array, Case, ComparisonLog
from perceptionist import sim3dr

RULES = ("inclusive", "strict")


def raster(case: Case, log: ComparisonLog) -> None:
    """A coloured mesh with each coverage rule of the case, on one and on several threads."""
    arrays, limits = case.arrays, case.meta.get("tolerance") or {}
    for rule in [rule for rule in RULES if f"image_{rule}" in arrays]:
        expected = arrays[f"image_{rule}"]
        initial_depth, background = _initial_depth(case), arrays["background"]
        for threads in (1, 3):
            depth, image = initial_depth.copy(), background.copy()
            sim3dr.rasterize(
                arrays["vertices"],
                arrays["triangles"],
                arrays["colors"],
                image,
                depth=depth,
                alpha=case.config.get("alpha", 1.0),
                reverse=case.config.get("reverse", False),
                coverage=rule,
                threads=threads,
            )
            name = f"{rule}, {threads} threads"
            log.compare_close(f"{name}: image", image, expected, atol=limits.get("atol_image", 1))
            stored = arrays.get(f"depth_{rule}")
            if stored is not None:
                log.compare_close(f"{name}: depth", depth, stored, atol=limits.get("atol_depth", 1e-3))
                log.compare_equal(
                    f"{name}: pixels", int(((depth != initial_depth) != (stored != initial_depth)).sum()), 0
                )
            else:
                far = np.abs(image.astype(int) - expected).max(-1) > limits.get("atol_image", 1)
                log.compare_equal(f"{name}: pixels", int(far.sum()), 0)


def raster_ids(case: Case, log: ComparisonLog) -> None:
    """The visible triangle of every pixel and its barycentric weights."""
    rule = next((rule for rule in RULES if f"{rule} rule" in str(case.meta.get("outputs", ""))), RULES[0])
    depth = _initial_depth(case)
    fragments = sim3dr.rasterize_triangles(
        case.arrays["vertices"], case.arrays["triangles"], *depth.shape, depth=depth, coverage=rule
    )
    num_different = int((fragments.triangles != case.arrays["triangle_id"]).sum())
    log.compare_equal("triangle_id: pixels that differ", num_different, 0)
    log.compare_close("depth", fragments.depth, case.arrays["depth"], **case.tolerance("depth"))
    weights = case.arrays["barycentric"].reshape(fragments.weights.shape)
    log.compare_close("barycentric", fragments.weights, weights, **case.tolerance("barycentric"))


def normals(case: Case, log: ComparisonLog) -> None:
    """Normals of vertices and triangles, and the vertices without one."""
    arrays = case.arrays
    for name in [name for name in arrays if name.endswith("vertices") and f"{name[:-8]}triangles" in arrays]:
        prefix = name[: -len("vertices")]
        mesh = arrays[name], arrays[f"{prefix}triangles"]
        ours = {
            "normals": sim3dr.get_normals(*mesh),
            "normals_guarded": sim3dr.get_normals(*mesh),
            "triangle_normals": sim3dr.get_triangle_normals(*mesh),
            "triangle_normals_unit": sim3dr.get_triangle_normals(*mesh, unit=True),
        }
        for kind, values in ours.items():
            if prefix + kind in arrays:
                log.compare_close(
                    prefix + kind, values, arrays[prefix + kind], **case.tolerance(prefix + kind)
                )
        if f"{prefix}unused_vertices" in arrays:
            without = np.flatnonzero(~ours["normals"].any(1)).tolist()
            log.compare_equal(
                f"{prefix}unused_vertices", without, arrays[f"{prefix}unused_vertices"].tolist()
            )


def lighting(case: Case, log: ComparisonLog) -> None:
    """Light on the vertices and the rendered images, for every setting of the case."""
    arrays, limits = case.arrays, case.meta.get("tolerance") or {}
    mesh = arrays["vertices"], arrays["triangles"]
    rule = next((rule for rule in RULES if f"{rule} rule" in str(case.meta.get("outputs", ""))), RULES[0])
    near, pixel = case.tolerance("light"), limits.get("atol_image", 1)
    log.compare_close("vertices_unit", sim3dr.unit_positions(mesh[0]), arrays["vertices_unit"], **near)
    settings = {name: sim3dr.Lighting(**setting) for name, setting in case.config.items()}
    for name, light in settings.items():
        if f"light_{name}" in arrays:
            log.compare_close(f"light_{name}", light.light(*mesh), arrays[f"light_{name}"], **near)
        if f"image_{name}" in arrays:
            image = light(*mesh, arrays["background"].copy(), coverage=rule)
            log.compare_close(f"image_{name}", image, arrays[f"image_{name}"], atol=pixel)
    if "image_textured" in arrays:
        first = next(iter(settings.values()))
        image = first(*mesh, arrays["background"].copy(), arrays["texture"], coverage=rule)
        log.compare_close("image_textured", image, arrays["image_textured"], atol=pixel)


def _initial_depth(case: Case) -> Array:
    """The initial depth buffer."""
    if "depth_in" in case.arrays:
        return case.arrays["depth_in"].copy()
    like = case.arrays.get("background", case.arrays.get("triangle_id"))
    shape = (case.config["height"], case.config["width"]) if like is None else like.shape[:2]
    return np.full(shape, case.config.get("depth_init", sim3dr.FAR), np.float32)
