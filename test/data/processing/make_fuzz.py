"""Random calls of the image processors and post-processors of transformers 5.18 (and the old post-processors of 4.57), and
what they return: fuzz.json and fuzz.safetensors.

usage: python make_fuzz.py OUT COUNT SEED [OLD], OLD being the image_processing_detr.py of transformers 4.57"""
import ast, base64, io, json, os, sys, tempfile, warnings
import reference_env  # noqa: F401  declares the operators that the CPU build of torchvision lacks
import numpy as np, torch
from PIL import Image
from safetensors.numpy import save_file
from types import SimpleNamespace
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.conditional_detr.image_processing_pil_conditional_detr import ConditionalDetrImageProcessorPil
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import DeformableDetrImageProcessorPil
from transformers.models.detr.image_processing_detr import DetrImageProcessor
from transformers.models.conditional_detr.image_processing_conditional_detr import ConditionalDetrImageProcessor
from transformers.models.deformable_detr.image_processing_deformable_detr import DeformableDetrImageProcessor

warnings.filterwarnings("ignore")
out, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(seed)
PIL = dict(DetrImageProcessor=DetrImageProcessorPil, ConditionalDetrImageProcessor=ConditionalDetrImageProcessorPil, DeformableDetrImageProcessor=DeformableDetrImageProcessorPil)
TV = dict(DetrImageProcessor=DetrImageProcessor, ConditionalDetrImageProcessor=ConditionalDetrImageProcessor, DeformableDetrImageProcessor=DeformableDetrImageProcessor)
for processor in TV.values():  # the CPU build of torchvision cannot read files
    sys.modules[processor.__module__].read_image = lambda path: torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
chance = lambda p: bool(rng.random() < p)
pick = lambda *options: options[int(rng.integers(len(options)))]
integer = lambda low, high: int(rng.integers(low, high + 1))
cases, tensors = [], {}


def arrays(x, prefix=""):
    if isinstance(x, torch.Tensor): return {prefix: x.detach().numpy()}
    if isinstance(x, np.ndarray): return {prefix: x}
    if hasattr(x, "items"): return {k2: v2 for k, v in x.items() for k2, v2 in arrays(v, f"{prefix}.{k}" if prefix else k).items()}
    if isinstance(x, (list, tuple)): return {k2: v2 for i, v in enumerate(x) for k2, v2 in arrays(v, f"{prefix}.{i}").items()}
    return {}


def plain(x):
    if isinstance(x, (torch.Tensor, np.ndarray)): return {"tensor": list(x.shape)}
    if hasattr(x, "items"): return {k: plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)): return [plain(v) for v in x]
    return x.item() if isinstance(x, np.generic) else x


def small(v):  # as few bytes as hold the values
    v = np.asarray(v)
    if v.dtype in (np.int64, np.int32) and v.size and v.min() >= -128 and v.max() < 128: return v.astype(np.int8)
    if v.dtype == np.int64: return v.astype(np.int32)
    return v.astype(np.uint8) if v.dtype == bool else v


def write(cls, method, config, options, args, inputs, expected):
    n = len(cases)
    cases.append({"class": cls, "method": method, "config": config, "options": options, "args": args, "expected": plain(expected)})
    for k, v in inputs.items(): tensors[f"{n}/inputs/{k}"] = np.ascontiguousarray(v)
    for k, v in arrays(expected).items(): tensors[f"{n}/expected/{k}"] = np.ascontiguousarray(small(v))


# --- preprocess ----------------------------------------------------------------------------------------------------
def polygon(w, h, n):
    c = rng.uniform(-0.1, 1.1, 2) * (w, h); r = rng.uniform(0.05, 0.6) * min(w, h)
    t = np.sort(rng.uniform(0, 2 * np.pi, n))
    return [round(float(v), pick(0, 1, 2)) for v in np.stack([c[0] + r * np.cos(t), c[1] + r * np.sin(t)], 1).ravel()]


def detection(w, h, keypoints, crowds):
    objects = []
    for k in range(integer(0, 5)):
        x, y = rng.uniform(-0.2, 1, 2) * (w, h)
        o = dict(category_id=integer(0, 90), bbox=[round(float(v), 2) for v in (x, y, rng.uniform(-3, w), rng.uniform(-3, h))], area=round(float(rng.uniform(1, 9999)), 3))
        if chance(0.8): o["iscrowd"] = int(crowds and chance(0.3))
        runs = np.sort(rng.integers(0, w * h + 1, 6)).tolist()
        o["segmentation"] = (
            dict(size=[h, w], counts=np.diff([0, *runs, w * h]).tolist()) if chance(0.15)
            else [polygon(w, h, integer(3, 9)) for _ in range(integer(1, 3))])
        if keypoints: o["keypoints"] = rng.integers(0, 60, 51).tolist()
        objects.append(o)
    return objects


def preprocess():
    cls, backend = pick(*PIL), pick("pil", "torchvision")
    size = pick(
        dict(shortest_edge=integer(5, 60), longest_edge=integer(20, 90)), dict(height=integer(1, 50), width=integer(1, 50)),
        dict(max_height=integer(9, 60), max_width=integer(9, 60)), integer(5, 50), [integer(4, 40), integer(4, 40)])
    config = dict(size=size)
    if isinstance(size, int) and chance(0.5): config["max_size"] = integer(20, 90)
    if chance(0.3): config["resample"] = integer(0, 5) if backend == "pil" else integer(0, 3)
    for flag in ("do_resize", "do_rescale", "do_normalize"):
        if chance(0.15): config[flag] = False
    if chance(0.2): config["do_convert_annotations"] = chance(0.5)
    if chance(0.1): config["rescale_factor"] = 1 / 127.5
    if chance(0.2): config["image_mean"], config["image_std"] = [0.5, 0.4, 0.3], [0.5, 0.25, 1.0]
    if chance(0.2): config["pad_size"] = dict(height=integer(60, 100), width=integer(60, 100))
    shapes = [(integer(9, 50), integer(9, 50)) for _ in range(integer(1, 3))]
    if chance(0.1): config["do_pad"] = False; shapes = shapes[:1]
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) if chance(0.5) else np.asarray(Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((w, h), 3)) for h, w in shapes]
    args, extra = {}, {}
    inputs = {f"images.{i}": im for i, im in enumerate(images)}
    with tempfile.TemporaryDirectory() as folder:
        if chance(0.6):
            if chance(0.4):
                config["format"] = "coco_panoptic"
                args["annotations"] = []
                for i, (h, w) in enumerate(shapes):
                    ids = np.kron(rng.integers(1, 5, (h // 8 + 1, w // 8 + 1)), np.ones((8, 8), int))[:h, :w] * 90001
                    picture = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
                    Image.fromarray(picture).save(f"{folder}/{i}.png"); inputs[f"masks.{i}"] = picture
                    present = [int(v) for v in np.unique(ids)] + ([7] if chance(0.2) else [])
                    args["annotations"].append(dict(image_id=integer(0, 10**6), file_name=f"{i}.png", segments_info=[dict(id=v, category_id=integer(1, 200), iscrowd=integer(0, 1), area=int((ids == v).sum())) for v in present]))
                args["return_segmentation_masks"] = chance(0.6)
                extra["masks_path"] = folder
            else:
                masks, keypoints = chance(0.4), chance(0.2)
                args["annotations"] = [dict(image_id=integer(0, 10**6), annotations=detection(w, h, keypoints, backend == "pil" or not masks)) for h, w in shapes]
                args["return_segmentation_masks"] = masks
        p = (PIL if backend == "pil" else TV)[cls](**config)
        given = [Image.fromarray(i) for i in images] if backend == "pil" else [torch.from_numpy(i.copy()).permute(2, 0, 1).contiguous() for i in images]
        try: r = p.preprocess(given, return_tensors="pt", **args, **extra)
        except (IndexError, ValueError, RuntimeError): return False  # no objects left for masks (a bug of theirs), or a side that vanishes
    # Without objects their keypoints keep the wrong shape.
    if any("keypoints" in l and not len(l["keypoints"]) for l in r.get("labels", [])): return False
    write(cls, "preprocess", config, dict(backend=backend), args, inputs, dict(r.items()))
    return True


# --- post-processing -----------------------------------------------------------------------------------------------
def outputs(masks):
    B, Q, C = integer(1, 2), pick(1, 2, 5, 9, 14), integer(2, 9)
    logits = rng.standard_normal((B, Q, C)) * pick(0.5, 3, 9, 40)
    if chance(0.25): logits = np.round(logits)  # ties
    if chance(0.2): logits[..., -1] = -30  # every query an object
    o = dict(logits=logits.astype(np.float32), pred_boxes=rng.uniform(0, 1, (B, Q, 4)).astype(np.float32))
    if masks:
        h, w = pick((1, 1), (3, 17), (9, 8), (13, 21), (25, 19))
        low = torch.from_numpy(rng.standard_normal((B, Q, integer(1, 6), integer(1, 6))) * pick(1, 4, 30, 200))
        m = torch.nn.functional.interpolate(low, size=(h, w), mode="bilinear").numpy()
        if chance(0.3): m = m + rng.standard_normal(m.shape)
        if chance(0.2): m = np.round(m)
        if chance(0.2) and Q > 1: m[:, 1] = m[:, 0]; o["logits"][:, 1] = o["logits"][:, 0]
        o["pred_masks"] = m.astype(np.float32)
    return o


def target_sizes(B): return [(integer(1, 40), integer(1, 40)) for _ in range(B)]
threshold = lambda: pick(0.0, 0.2, 0.5, 0.9, 0.9999)


def post():
    kind = pick("detection", "semantic", "instance", "panoptic")
    cls = pick(*PIL) if kind == "detection" else pick("DetrImageProcessor", "ConditionalDetrImageProcessor")
    o = outputs(kind != "detection"); B, Q, C = o["logits"].shape
    args = dict(target_sizes=target_sizes(B)) if chance(0.75) else {}
    if kind == "detection":
        args["threshold"] = threshold()
        # Which of equal scores make the cut is not specified, so all of them do.
        distinct = len(np.unique(torch.sigmoid(torch.from_numpy(o["logits"])).numpy())) == o["logits"].size
        if cls != "DetrImageProcessor": args["top_k"] = integer(1, 40) if distinct else Q * C
        method = "post_process_object_detection"
    elif kind == "semantic":
        method = "post_process_semantic_segmentation"
        if chance(0.4): args["return_segmentation_scores"] = True
    else:
        method = f"post_process_{kind}_segmentation"
        args.update(threshold=threshold(), mask_threshold=pick(0.5, 0.5, 0.1, 0.8), overlap_mask_area_threshold=pick(0.8, 0.5, 0.2, 0.0))
        if kind == "instance" and chance(0.3): args["return_coco_annotation"] = True
        if kind == "panoptic": args["label_ids_to_fuse"] = set(rng.integers(0, C, integer(0, C)).tolist())
    run = lambda dtype: getattr(PIL[cls](), method)(SimpleNamespace(**{k: torch.from_numpy(v).to(dtype) for k, v in o.items()}), **args)
    r = run(torch.float32)
    if kind != "detection" and not same_maps(r, run(torch.float64)): return False  # depends on the last bit of float32
    write(cls, method, {}, {}, {k: (sorted(v) if isinstance(v, set) else v) for k, v in args.items()}, o, r)
    return True


def same_maps(a, b):
    maps = lambda r: [x["segmentation"] if hasattr(x, "keys") else x for x in r]
    return all(x == y if isinstance(x, list) else torch.equal(x, y) for x, y in zip(maps(a), maps(b)))


# --- the old post-processors ---------------------------------------------------------------------------------------
def old_methods(path):
    """The four methods alone: the rest of the old package needs libraries of its time."""
    from collections import defaultdict
    import pathlib, PIL.Image
    from torch import nn
    from transformers.image_transforms import center_to_corners_format, id_to_rgb, rgb_to_id
    from transformers.image_utils import PILImageResampling
    names = ("post_process", "post_process_segmentation", "post_process_instance", "post_process_panoptic")
    methods = [f for c in ast.parse(open(path).read()).body if isinstance(c, ast.ClassDef) and c.name == "DetrImageProcessor" for f in c.body if getattr(f, "name", "") in names]
    scope = dict(defaultdict=defaultdict, PIL=PIL, io=io, np=np, torch=torch, nn=nn, pathlib=pathlib, PILImageResampling=PILImageResampling, center_to_corners_format=center_to_corners_format, id_to_rgb=id_to_rgb, rgb_to_id=rgb_to_id, logger=SimpleNamespace(warning_once=lambda *a: None))
    exec(compile(ast.Module(methods, []), path, "exec"), scope)
    return {name: scope[name] for name in names}


def legacy(methods):
    o = outputs(True); B, Q, C = o["logits"].shape
    t = SimpleNamespace(**{k: torch.from_numpy(v.copy()) for k, v in o.items()})
    sizes = torch.tensor(target_sizes(B))
    method = pick(*methods)
    args = {}
    if method == "post_process": r = methods[method](None, t, sizes); args["target_sizes"] = sizes.tolist()
    elif method == "post_process_segmentation":
        args = dict(threshold=threshold(), mask_threshold=pick(0.5, 0.2))
        r = methods[method](None, t, sizes, **args); args["target_sizes"] = sizes.tolist()
    elif method == "post_process_instance":
        largest = torch.tensor(target_sizes(B))
        r = methods[method](None, methods["post_process"](None, t, sizes), SimpleNamespace(pred_masks=t.pred_masks[:, :, None]), sizes, largest, 0.4)
        args = dict(orig_target_sizes=sizes.tolist(), max_target_sizes=largest.tolist(), threshold=0.4)
    else:
        processed = torch.tensor(target_sizes(B))
        args = dict(threshold=threshold(), is_thing_map={i: i % 2 == 0 for i in range(C)})
        if chance(0.7): args["target_sizes"] = sizes
        r = methods[method](None, t, processed, **args)
        args = {**args, "processed_sizes": processed.tolist(), **({"target_sizes": sizes.tolist()} if "target_sizes" in args else {})}
        r = [dict(segments_info=x["segments_info"], png_string=np.asarray(Image.open(io.BytesIO(x["png_string"])))) for x in r]
    write("DetrImageProcessor", method, {}, {}, args, o, r)
    return True


kinds = [preprocess, post, post]
if len(sys.argv) > 4:
    methods = old_methods(sys.argv[4]); kinds.append(lambda: legacy(methods))
while len(cases) < count: kinds[len(cases) % len(kinds)]()
os.makedirs(out, exist_ok=True)
save_file(tensors, out + "/fuzz.safetensors")
json.dump(cases, open(out + "/fuzz.json", "w"), separators=(",", ":"))
print(len(cases), "cases")
