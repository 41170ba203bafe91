"""A miniature of each data set in the layout in which it is distributed."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

TEXTS = {".csv", ".json", ".txt"}


@dataclass(frozen=True)
class Tree:
    """The files of a data set and the samples that are in them.

    Attributes:
        samples: by name, the image and the mask that it is to have.
        others: files of no sample, with what they hold: a text, or the value of all pixels.
        root: what is given as data root, seen from the folder of the tree.
        more: by the name of a further split, the images that it has.
    """

    samples: dict[str, tuple[str, str | None]]
    others: dict[str, str | int] = field(default_factory=dict)
    root: str = "."
    more: dict[str, dict[str, str]] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        for image, mask in self.samples.values():
            write(folder / image, 90)
            if mask is not None:
                for file in (mask,) if Path(mask).suffix else (f"{mask}/000.png", f"{mask}/001.png"):
                    write(folder / file, None)
        for name in (image for images in self.more.values() for image in images.values()):
            write(folder / name, 90)
        for name, content in self.others.items():
            write(folder / name, content)
        return folder / self.root


def write(path: Path, content: str | int | None) -> None:
    """A text, or a picture of one value, or with None a mask of a defect."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8")
        return
    if content is None and path.suffix == ".json":
        shape = {"label": "Pitting", "points": [[2, 1], [3.4, 1.2], [3, 0.8]], "shape_type": "polygon"}
        path.write_text(json.dumps({"shapes": [shape], "imagePath": path.stem, "imageHeight": 4, "imageWidth": 6}))
        return
    values = np.full((4, 6), content or 0, np.uint8)
    if content is None:
        values[1, 2:4] = 255
    Image.fromarray(values).save(path)


def in_folders(
    category: str,
    train: str = "train/{}",
    test: str = "test/{}",
    truth: str = "ground_truth/{}",
    *,
    normal: str = "good",
    defect: str = "hole",
    ending: str = ".png",
    masks: str = "{}.png",
    stems: tuple[str, ...] = ("000", "001"),
) -> dict[str, tuple[str, str | None]]:
    """Samples of a category with folders that say the kind of defect."""
    samples: dict[str, tuple[str, str | None]] = {}
    for stem in stems:
        for split, place in (("train", train), ("test", test)):
            samples[f"{category}/{split}/good/{stem}"] = (f"{category}/{place.format(normal)}/{stem}{ending}", None)
        samples[f"{category}/test/{defect}/{stem}"] = (
            f"{category}/{test.format(defect)}/{stem}{ending}",
            f"{category}/{truth.format(defect)}/{masks.format(stem)}",
        )
    return samples


def _visa() -> Tree:
    samples, rows = {}, ["object,split,label,image,mask"]
    for split, stem in (("train", "0000"), ("train", "0001"), ("test", "0002")):
        image = f"candle/Data/Images/Normal/{stem}.JPG"
        samples[f"candle/{split}/good/{stem}"] = (image, None)
        rows.append(f"candle,{split},normal,{image},")
    image, mask = "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png"
    samples["candle/test/bad/000"] = (image, mask)
    rows.append(f"candle,test,anomaly,{image},{mask}")
    return Tree(samples, {"split_csv/1cls.csv": "\n".join(rows)})


def _real_iad(lists: str) -> Tree:
    samples, splits = {}, {"train": [], "test": []}
    for split, kind, number in (("train", "OK", 1), ("test", "OK", 2), ("test", "AK", 3)):
        sides = (1, 2) if lists == "realiad_jsons" else (1,)
        for side in sides:
            stem = f"usb_{number:04}_{'NG_AK' if kind == 'AK' else kind}_C{side}_20230922"
            folder = f"{'NG/AK' if kind == 'AK' else kind}/S{number:04}"
            mask = f"{folder}/{stem}_mask.png" if kind == "AK" else None
            splits[split].append(
                {"category": "usb", "anomaly_class": kind, "image_path": f"{folder}/{stem}.jpg", "mask_path": mask}
            )
            name = f"usb/{split}/{'good' if kind == 'OK' else kind}/{stem}"
            samples[name] = (f"realiad_512/usb/{folder}/{stem}.jpg", mask and f"realiad_512/usb/{mask}")
    content = json.dumps({"meta": {"normal_class": "OK", "prefix": "usb/"}} | splits)
    return Tree(samples, {f"realiad_jsons/{lists}/usb.json": content})


def _dagm() -> Tree:
    samples = {
        f"Class1/{split.lower()}/good/{stem}": (f"Class1/{split}/{stem}.PNG", None)
        for split in ("Train", "Test")
        for stem in ("0001", "0002")
    }
    samples["Class1/test/defect/0003"] = ("Class1/Test/0003.PNG", "Class1/Test/Label/0003_label.PNG")
    return Tree(
        samples,
        {
            "Class1/Train/0009.PNG": 90,
            "Class1/Train/Label/0009_label.PNG": 255,
            "Class1/Test/Label/Labels.txt": "1\n1\t0\t0001.PNG\t0\t0\n3\t1\t0003.PNG\t0\t0003_label.PNG\n",
        },
    )


def _kolektor_sdd() -> Tree:
    samples: dict[str, tuple[str, str | None]] = {}
    others: dict[str, str | int] = {}
    for item in ("kos01", "kos02"):
        for part in range(6):
            place = f"{item}/Part{part}"
            if part == 3:
                samples[f"kolektor_sdd/test/defect/{item}_Part{part}"] = (f"{place}.jpg", f"{place}_label.bmp")
                continue
            # the normal ones by name: kos01 0 1 2 4 5, kos02 0 1 2 4 5; every fifth is the last of each
            split = "test" if part == 5 else "train"
            samples[f"kolektor_sdd/{split}/good/{item}_Part{part}"] = (f"{place}.jpg", None)
            others[f"{place}_label.bmp"] = 0
    return Tree(samples, others)


def _kolektor_sdd2() -> Tree:
    samples: dict[str, tuple[str, str | None]] = {
        f"kolektor_sdd2/{split}/good/{stem}": (f"{split}/{stem}.png", None)
        for split, stem in (("train", "10000"), ("train", "10001"), ("test", "20000"))
    }
    others: dict[str, str | int] = {f"{image.removesuffix('.png')}_GT.png": 0 for image, _ in samples.values()}
    others |= {"train/10002.png": 90, "train/10002_GT.png": 255, "train/10002_GT(1).png": 255}
    samples["kolektor_sdd2/test/defect/20001"] = ("test/20001.png", "test/20001_GT.png")
    return Tree(samples, others)


def _magnetic_tile() -> Tree:
    samples: dict[str, tuple[str, str | None]] = {
        f"magnetic_tile/{'test' if n == 5 else 'train'}/good/exp1_num_{n}": (f"MT_Free/Imgs/exp1_num_{n}.jpg", None)
        for n in range(1, 7)
    }
    others: dict[str, str | int] = {f"MT_Free/Imgs/exp1_num_{n}.png": 0 for n in range(1, 7)}
    for defect in ("Blowhole", "Crack"):
        place = f"MT_{defect}/Imgs/exp2_num_9"
        samples[f"magnetic_tile/test/{defect.lower()}/exp2_num_9"] = (f"{place}.jpg", f"{place}.png")
    return Tree(samples, others)


def _bsdata() -> Tree:
    samples: dict[str, tuple[str, str | None]] = {
        f"bsdata/{'test' if n == 5 else 'train'}/good/01_{n}_crop_2": (f"data/01_{n}_crop_2.jpg", None)
        for n in range(1, 7)
    }
    samples["bsdata/test/pitting/01_0_crop_1"] = ("data/01_0_crop_1.jpg", "label/01_0_crop_1.json")
    images = [
        {"filename": Path(image).name, "train_test_split": None, "type": 2, "annotations": label and Path(label).name}
        for image, label in samples.values()
    ]
    return Tree(samples, {"image_data.json": json.dumps({"images": images}), "data/BSD": "", "split_dataset.py": ""})


def _folders() -> Tree:
    samples: dict[str, tuple[str, str | None]] = {
        f"nuts/{'test' if n == 5 else 'train'}/good/{n}": (f"nuts/normal/{n}.jpg", None) for n in range(1, 7)
    }
    samples["nuts/test/crack/1"] = ("nuts/crack/1.jpg", "nuts/mask/crack/1_mask.png")
    samples["nuts/test/hole/1"] = ("nuts/hole/1.jpg", "nuts/mask/hole/1.png")
    return Tree(samples, root="nuts")


def _manifest() -> Tree:
    rows = (
        "image,mask,category,split,defect",
        "a/1.png,,nut,train,",
        "a/2.png,,nut,test,OK",
        "a/3.png,truth/3.png,nut,test,hole",
    )
    samples = {
        "nut/train/good/1": ("a/1.png", None),
        "nut/test/good/2": ("a/2.png", None),
        "nut/test/hole/3": ("a/3.png", "truth/3.png"),
    }
    return Tree(samples, {"list.csv": "\n".join(rows)}, root="list.csv")


_LOCO_DEFECTS = [
    {"defect_name": "few", "pixel_value": 255, "saturation_threshold": 1, "relative_saturation": False},
    {"defect_name": "many", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True},
]

TREES = {
    "mvtec_ad": Tree(
        in_folders("nut", masks="{}_mask.png") | in_folders("bolt", masks="{}_mask.png"),
        {"license.txt": "", "readme.txt": "", "nut/license.txt": ""},
    ),
    "visa": _visa(),
    "mvtec_ad_2": Tree(
        in_folders(
            "can",
            test="test_public/{}",
            truth="test_public/ground_truth/{}",
            defect="bad",
            masks="{}_mask.png",
            stems=("000_regular", "001_overexposed"),
        ),
        {"license.txt": "", "readme.txt": ""},
        more={
            "validation": {"can/validation/good/000_regular": "can/validation/good/000_regular.png"},
            "test_private": {"can/test_private/unknown/000_regular": "can/test_private/000_regular.png"},
            "test_private_mixed": {"can/test_private_mixed/unknown/000_mixed": "can/test_private_mixed/000_mixed.png"},
        },
    ),
    "mvtec_loco": Tree(
        in_folders("pushpins", defect="logical_anomalies", masks="{}")
        | in_folders("pushpins", defect="structural_anomalies", masks="{}"),
        {"pushpins/defects_config.json": json.dumps(_LOCO_DEFECTS), "pushpins/readme.txt": ""},
        more={"validation": {"pushpins/validation/good/000": "pushpins/validation/good/000.png"}},
    ),
    "mvtec_3d": Tree(
        in_folders("bagel", "train/{}/rgb", "test/{}/rgb", "test/{}/gt"),
        {
            "bagel/calibration/camera_parameters.json": "{}",
            "bagel/train/good/xyz/000.tiff": 3,
            "bagel/test/good/xyz/000.tiff": 3,
            "bagel/test/good/gt/000.png": 0,
            "bagel/test/hole/xyz/000.tiff": 3,
        },
        more={"validation": {"bagel/validation/good/000": "bagel/validation/good/rgb/000.png"}},
    ),
    "real_iad": _real_iad("realiad_jsons"),
    "real_iad_sv": _real_iad("realiad_jsons_sv"),
    "btad": Tree(
        in_folders("01", normal="ok", defect="ko", ending=".bmp")
        | in_folders("02", normal="ok", defect="ko")
        | in_folders("03", normal="ok", defect="ko", ending=".bmp", masks="{}.bmp"),
        {"README.txt": ""},
    ),
    "mpdd": Tree(in_folders("bracket_black", defect="scratches", masks="{}_mask.png"), {"readme.txt": ""}),
    "bmad": Tree(
        in_folders("Brain", "train/{}", "test/{}/img", "test/{}/label", defect="Ungood"),
        {"Brain/test/good/label/000.png": 0, "Brain/valid/good/img/005.png": 90, "Brain/valid/Ungood/img/006.png": 90},
    ),
    "dagm": _dagm(),
    "kolektor_sdd": _kolektor_sdd(),
    "kolektor_sdd2": _kolektor_sdd2(),
    "magnetic_tile": _magnetic_tile(),
    "bsdata": _bsdata(),
    "folders": _folders(),
    "manifest": _manifest(),
}
