"""Small valid data sets for ``fuzz_data.py``, one per reader."""

import io
import json
import zipfile
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from scipy.io import savemat

_NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
_SYNSETS = ("n01440764", "n01443537")


def _encode_image(pixels: Any, kind: str, mode: str | None = None, **save: Any) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **save)
    return file.getvalue()


def _make_images() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    gray16, floats = _NOISE[..., 0].astype(np.uint16) * 257, _NOISE[..., 0].astype(np.float32) / 255
    frames = [Image.fromarray(np.roll(_NOISE, i, 0)) for i in range(3)]
    return {
        "a.jpg": _encode_image(_NOISE, "JPEG", exif=exif),
        "b.jpg": _encode_image(_NOISE, "JPEG", progressive=True),
        "c.jpg": _encode_image(_NOISE, "JPEG", "CMYK"),
        "d.png": _encode_image(_NOISE, "PNG", exif=exif),
        "e.png": _encode_image(_NOISE, "PNG", "P", transparency=b"\0\1\2"),
        "f.png": _encode_image(gray16, "PNG"),
        "g.png": _encode_image(_NOISE, "PNG", save_all=True, append_images=frames),
        "h.gif": _encode_image(_NOISE, "GIF", save_all=True, append_images=frames),
        "i.tif": _encode_image(floats, "TIFF"),
        "j.tif": _encode_image(gray16, "TIFF", compression="tiff_lzw"),
        "k.tif": _encode_image(_NOISE, "TIFF", compression="tiff_adobe_deflate"),
        "l.tif": _encode_image(_NOISE, "TIFF", compression="jpeg"),
        "m.webp": _encode_image(_NOISE, "WEBP", save_all=True, append_images=frames),
        "n.bmp": _encode_image(_NOISE, "BMP"),
        "o.ppm": _encode_image(_NOISE, "PPM"),
        "p.pgm": _encode_image(gray16, "PPM"),
        "q.png": _encode_image(_NOISE, "PNG", "1"),
        "r.avif": _encode_image(_NOISE, "AVIF") if "AVIF" in Image.SAVE else b"",
        "s.tif": _encode_image(_NOISE[..., 0] > 127, "TIFF", compression="group4"),
        "t.bmp": _encode_image(_NOISE, "BMP", "P"),
    }


def _pack(files: dict[str, bytes]) -> bytes:
    """Return a zip archive with stored and deflated members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i, (name, content) in enumerate(files.items()):
            archive.writestr(name, content, zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED)
    return file.getvalue()


def _make_csv(names: list[str]) -> bytes:
    rows = [f"{name},{'cat' if i % 2 else 'dog'},1,2,30,20,60,40,test" for i, name in enumerate(names)]
    return "\n".join(["image_id,label,x0,y0,x1,y1,width,height,split", *rows, ""]).encode()


def _make_xml(name: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<annotation><filename>{name}</filename>'
        "<size><width>60</width><height>40</height><depth>3</depth></size>"
        f"<object><name>{_SYNSETS[0]}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox>"
        f"</object><object><name>{_SYNSETS[0]}</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>9</xmax><ymax>8</ymax>"
        "</bndbox></object></annotation>\n"
    ).encode()


def _make_voc_xml(*names: str) -> bytes:
    objects = "".join(
        f"<object><name>{name}</name><difficult>{i % 2}</difficult><bndbox><xmin>{1 + i}</xmin><ymin>2</ymin>"
        "<xmax>30</xmax><ymax>20</ymax></bndbox></object>"
        for i, name in enumerate(names)
    )
    return f"<annotation><size><width>60</width><height>40</height></size>{objects}</annotation>".encode()


def _make_mat(names: list[str]) -> bytes:
    file, cells = io.BytesIO(), np.array([[name] for name in names], object)
    labels = np.arange(1.0, 1 + len(names))[:, None]
    savemat(file, {"file_list": cells, "annotation_list": cells, "labels": labels}, do_compression=len(names) > 1)
    return file.getvalue()


def _make_set_seeds(images: dict[str, bytes], png: bytes) -> dict[str, tuple[str, dict[str, str], dict[str, bytes]]]:
    """Return the data sets with objects in VOC's XML or with masks of several classes, by reader."""
    palette = Image.fromarray(np.pad(np.full((10, 10), 12, np.uint8), ((10, 20), (10, 40)), constant_values=255))
    palette.putpalette([i // 3 for i in range(768)])
    file = io.BytesIO()
    palette.save(file, "PNG")
    voc, seeds = "VOCdevkit/VOC2007/", {}
    files = {
        voc + "ImageSets/Main/trainval.txt": b"000001\n000002\n",
        voc + "ImageSets/Segmentation/trainval.txt": b"000002\n",
        voc + "Annotations/000001.xml": _make_voc_xml("dog"),
        voc + "Annotations/000002.xml": _make_voc_xml("dog", "person", "dog"),
        voc + "JPEGImages/000001.jpg": images["b.jpg"],
        voc + "JPEGImages/000002.jpg": images["b.jpg"],
        voc + "SegmentationClass/000002.png": file.getvalue(),
    }
    seeds["voc"] = "voc", {}, files
    seeds["voc masks"] = "voc", {"masks": "true", "class_agnostic": "true"}, files
    dogs = ["n02085620-Chihuahua/n02085620_1", "n02085782-Japanese_spaniel/n02085782_2"]
    seeds["stanford-dogs"] = (
        "stanford-dogs",
        {},
        {
            "train_list.mat": _make_mat([f"{dogs[0]}.jpg"]),
            "test_list.mat": _make_mat([f"{dog}.jpg" for dog in dogs]),
            **{f"Images/{dog}.jpg": images["b.jpg"] for dog in dogs},
            **{f"Annotation/{dog}": _make_voc_xml("a", "b") for dog in dogs},
        },
    )
    synsets = [f"n{i:08d}" for i in range(50)]
    numbers = _encode_image(np.pad(np.full((10, 10, 3), (2, 0, 0), np.uint8), ((10, 20), (10, 40), (0, 0))), "PNG")
    seeds["imagenet-s"] = (
        "imagenet-s",
        {},
        {
            **{f"ImageNetS50/validation/{synset}/.keep": b"" for synset in synsets},
            f"ImageNetS50/validation/{synsets[1]}/a.JPEG": images["b.jpg"],
            f"ImageNetS50/validation-segmentation/{synsets[1]}/a.png": numbers,
        },
    )
    gray = _encode_image(np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None], 40, 0), "PNG")
    seeds["cub masks"] = (
        "cub",
        {"masks": "{}/segmentations", "mask_cut": "0.4"},
        {
            "classes.txt": b"1 001.Bird\n",
            "images.txt": b"1 001.Bird/a.png\n",
            "image_class_labels.txt": b"1 1\n",
            "train_test_split.txt": b"1 0\n",
            "bounding_boxes.txt": b"1 1.0 2.0 30.0 20.0\n",
            "images/001.Bird/a.png": png,
            "segmentations/001.Bird/a.png": gray,
        },
    )
    return seeds


def _make_coco() -> bytes:
    square = np.zeros((40, 60), np.uint8, order="F")
    square[5:15, 5:15] = 1
    compressed = rle.encode(square)["counts"].decode()
    shapes: list[Any] = [
        [[5, 5, 15, 5, 15, 15, 5, 15], [20.5, 20, 30, 20, 25, 30]],
        {"size": [40, 60], "counts": [400, 400, 1600]},
        {"size": [40, 60], "counts": compressed},
    ]
    annotations = [
        {"id": i, "image_id": 1 + i % 2, "category_id": 18, "bbox": [5, 5, 10.5, 10], "iscrowd": 0, "segmentation": s}
        for i, s in enumerate(shapes)
    ]
    return json.dumps(
        {
            "images": [{"id": i, "file_name": f"{i}.png", "width": 60, "height": 40} for i in (1, 2)],
            "categories": [{"id": 90, "name": "toothbrush"}, {"id": 18, "name": "dog"}],
            "annotations": annotations,
        }
    ).encode()


_Seed = tuple[str, dict[str, str], dict[str, bytes]]


def _make_masked_seeds(image: bytes, mask: bytes) -> dict[str, _Seed]:
    """Return data sets with a mask for each object, or for each image that shows one."""
    glands = _encode_image(np.pad(np.full((10, 10), 3, np.uint8), 10), "BMP")
    ids = ("test/0ph39/a", "test/01d40f/b")
    patches, normal = (
        "camelyon16/w-512xh-512/metastatic-patches/{}_a.png",
        "camelyon16/w-512xh-512/normal-patches/b.png",
    )
    lists, isic = "metadata/OpenImages/test/", "ISIC-2017_Test_v2_"
    return {
        "openimages30k": (
            "openimages30k",
            {},
            {
                lists + "image_ids.txt": f"{ids[0]}.jpg\n{ids[1]}.jpg\n".encode(),
                lists + "class_labels.txt": f"{ids[0]}.jpg,1\n{ids[1]}.jpg,0\n".encode(),
                lists + "localization.txt": (
                    f"{ids[0]}.jpg,{ids[0]}_m0ph39_1.png,{ids[0]}_ignore.png\n{ids[1]}.jpg,{ids[1]}_m01d40f_2.png,\n"
                ).encode(),
                **{f"OpenImages/{name}.jpg": image for name in ids},
                **{f"OpenImages/{ids[0]}_{kind}.png": mask for kind in ("m0ph39_1", "ignore")},
                f"OpenImages/{ids[1]}_m01d40f_2.png": mask,
            },
        ),
        "camelyon16-512": (
            "camelyon16-512",
            {},
            {
                "fold-0/test/image_ids.txt": f"{patches.format('Patch')}\n{normal}\n".encode(),
                "fold-0/test/class_labels.txt": f"{patches.format('Patch')},1\n{normal},0\n".encode(),
                "fold-0/test/image_sizes.txt": f"{patches.format('Patch')},60,40\n{normal},60,40\n".encode(),
                "fold-0/test/localization.txt": (
                    f"{patches.format('Patch')},{patches.format('mask')},\n{normal},,\n".encode()
                ),
                patches.format("Patch"): image,
                patches.format("mask"): mask,
                normal: image,
            },
        ),
        "glas": (
            "glas",
            {},
            {
                "Grade.csv": b"name,patient ID, grade (GlaS)\ntestA_1,1, benign\ntestB_1,2, malignant\n",
                **{f"{name}.bmp": image for name in ("testA_1", "testB_1")},
                **{f"{name}_anno.bmp": glands for name in ("testA_1", "testB_1")},
            },
        ),
        "isic2017": (
            "isic2017",
            {},
            {
                isic
                + "Part3_GroundTruth.csv": b"image_id,melanoma,seborrheic_keratosis\nISIC_1,0.0,1.0\nISIC_2,1.0,0.0\n",
                **{f"{isic}Data/{name}.jpg": image for name in ("ISIC_1", "ISIC_2")},
                **{f"{isic}Part1_GroundTruth/{name}_segmentation.png": mask for name in ("ISIC_1", "ISIC_2")},
            },
        ),
    }


def _make_boxed_seeds(image: bytes) -> dict[str, _Seed]:
    """Return data sets whose boxes are in a file of MATLAB, and in a list with images that have a margin."""
    cars = np.zeros((1, 2), [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")])
    for i in range(2):
        cars[0, i] = (*(np.array([[n]], np.uint8) for n in (2, 3, 40, 30 + i, 1 + i)), f"{i}.jpg")
    names = np.empty((1, 2), object)
    names[0, :] = "AM General Hummer SUV 2000", "Acura RL Sedan 2012"
    return {
        "stanford-cars": (
            "stanford-cars",
            {},
            {
                "devkit/cars_meta.mat": _encode_mat(class_names=names),
                "devkit/cars_test_annos_withlabels.mat": _encode_mat(annotations=cars),
                **{f"cars_test/{i}.jpg": image for i in range(2)},
            },
        ),
        "fgvc-aircraft": (
            "fgvc-aircraft",
            {},
            {
                "data/variants.txt": b"707-320\nF/A-18\n",
                "data/images_box.txt": b"001 1 1 60 20\n002 5 6 30 25\n",
                "data/images_variant_test.txt": b"001 F/A-18\n002 707-320\n",
                **{f"data/images/00{i}.jpg": image for i in (1, 2)},
            },
        ),
    }


def _encode_mat(**variables: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def _make_seeds() -> dict[str, tuple[str, dict[str, str], dict[str, bytes]]]:
    """Return data set, arguments and files by reader."""
    images, png = _make_images(), _encode_image(_NOISE, "PNG")
    mask = _encode_image(np.pad(np.full((10, 10), 255, np.uint8), 10), "PNG")
    trimap = _encode_image(np.pad(np.ones((10, 10), np.uint8), ((10, 20), (10, 40)), constant_values=2), "PNG")
    lists = {
        "test/image_ids.txt": b"a/1.png\nb.png\n",
        "test/class_labels.txt": b"a/1.png,0\nb.png,4\n",
        "test/image_sizes.txt": b"a/1.png,60,40\nb.png,60,40\n",
        "test/localization.txt": b"a/1.png,0,0,8,7\nb.png,1,2,3,4\nb.png,5,6,7,8\n",
    }
    masked = {**lists, "test/localization.txt": b"a/1.png,m/1.png,\nb.png,m/2.png,m/3.png\nb.png,m/1.png,m/3.png\n"}
    kaggle = "ILSVRC/{}/CLS-LOC/"
    ids = ("ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002")
    wnid = "n07768694"
    seeds: dict[str, tuple[str, dict[str, str], dict[str, bytes]]] = {
        f"image {name.rpartition('.')[2]} {name[0]}": ("csv", {}, {name: content, "boxes.csv": _make_csv([name])})
        for name, content in images.items()
        if content
    }
    seeds["csv"] = "csv", {}, {"boxes.csv": _make_csv(["a/1.png", "2.png"]), "a/1.png": png, "2.png": png}
    seeds["metadata"] = "metadata", {"images": "{}/i"}, {**lists, "i/a/1.png": png, "i/b.png": png}
    files = {"i/a/1.png": png, "i/b.png": png, "i/m/1.png": mask, "i/m/2.png": mask, "i/m/3.png": mask}
    seeds["metadata masks"] = "metadata", {"images": "{}/i"}, {**masked, **files}
    seeds["cub"] = (
        "cub",
        {},
        {
            "classes.txt": b"1 001.Bird\n2 002.Other_Bird\n",
            "images.txt": b"1 001.Bird/a.png\n2 002.Other_Bird/b.png\n",
            "image_class_labels.txt": b"1 1\n2 2\n",
            "train_test_split.txt": b"1 0\n2 0\n",
            "bounding_boxes.txt": b"1 1.0 2.0 30.0 20.0\n2 5.0 5.0 10.0 10.0\n",
            "images/001.Bird/a.png": png,
            "images/002.Other_Bird/b.png": png,
        },
    )
    seeds["tiny-imagenet"] = (
        "tiny-imagenet",
        {},
        {
            "wnids.txt": f"{wnid}\nn00000001\n".encode(),
            "words.txt": f"{wnid}\tpomegranate\nn00000001\tthing, other thing\n".encode(),
            "val/val_annotations.txt": f"val_0.png\t{wnid}\t0\t32\t44\t39\nval_1.png\tn00000001\t1\t2\t3\t4\n".encode(),
            "val/images/val_0.png": png,
            "val/images/val_1.png": png,
        },
    )
    seeds["tiny-imagenet-zip"] = ("tiny-imagenet", {}, {"tiny.zip": _pack(seeds["tiny-imagenet"][2])})
    seeds["oxford-pets"] = (
        "oxford-pets",
        {},
        {
            "annotations/test.txt": b"#Image CLASS-ID SPECIES BREED ID\nAbyssinian_1 1 1 1\nBengal_1 2 1 2\n",
            "annotations/trainval.txt": b"Abyssinian_2 1 1 1\n",
            "annotations/trimaps/Abyssinian_1.png": trimap,
            "annotations/trimaps/Bengal_1.png": trimap,
            "images/Abyssinian_1.jpg": images["a.jpg"],
            "images/Bengal_1.jpg": images["b.jpg"],
        },
    )
    seeds["ilsvrc"] = (
        "ilsvrc",
        {},
        {
            "LOC_synset_mapping.txt": b"n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
            kaggle.format("ImageSets") + "val.txt": f"{ids[0]} 1\n{ids[1]} 2\n".encode(),
            **{kaggle.format("Data") + f"val/{name}.JPEG": images["a.jpg"] for name in ids},
            **{kaggle.format("Annotations") + f"val/{name}.xml": _make_xml(name) for name in ids},
        },
    )
    seeds |= _make_masked_seeds(images["a.jpg"], mask) | _make_boxed_seeds(images["a.jpg"])
    seeds["coco"] = "coco", {"annotations": "notes.json"}, {"notes.json": _make_coco(), "1.png": png, "2.png": png}
    return seeds | _make_set_seeds(images, png)


SEEDS = _make_seeds()
"""Data set, arguments (``{}`` is its folder) and files by reader; an archive among the files is the data set."""
