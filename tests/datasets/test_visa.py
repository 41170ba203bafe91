import pytest

from aseg_bench.datasets import DATASETS
from aseg_bench.errors import InputError

find = DATASETS["visa"].find
HEADER = "object,split,label,image,mask\n"


@pytest.fixture
def published(tmp_path, write_image):
    root = tmp_path / "VisA"
    rows = []
    for category in ("pcb1", "candle"):
        data = f"{category}/Data"
        for split, stem in (("train", "0001"), ("train", "0000"), ("test", "0002")):
            write_image(root / data / "Images" / "Normal" / f"{stem}.JPG")
            rows.append(f"{category},{split},normal,{data}/Images/Normal/{stem}.JPG,")
        write_image(root / data / "Images" / "Anomaly" / "000.JPG")
        write_image(root / data / "Masks" / "Anomaly" / "000.png", value=3)
        rows.append(f"{category},test,anomaly,{data}/Images/Anomaly/000.JPG,{data}/Masks/Anomaly/000.png")
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return root


def test_the_published_counts_add_up():
    counts = DATASETS["visa"].counts.values()
    assert len(counts) == 12
    assert [sum(column) for column in zip(*counts, strict=True)] == [8659, 962, 1200]


def test_the_published_layout_follows_the_split_file(published):
    samples = find(published, None)
    names = ["test/bad/000", "test/good/0002", "train/good/0000", "train/good/0001"]
    assert [sample.name for sample in samples] == [f"{c}/{name}" for c in ("candle", "pcb1") for name in names]
    assert samples[0].mask_path == published / "candle/Data/Masks/Anomaly/000.png"
    assert all(sample.mask_path is None for sample in samples if not sample.is_anomalous)


def test_both_layouts_give_the_same_names(published, tmp_path, write_image):
    root = tmp_path / "VisA_pytorch" / "1cls"
    for sample in find(published, None):
        write_image(root / f"{sample.name}.JPG")
        if sample.is_anomalous:
            write_image(root / sample.category / "ground_truth" / "bad" / f"{sample.stem}.png", value=255)
    assert [sample.name for sample in find(root, None)] == [sample.name for sample in find(published, None)]


def test_an_unknown_category_lists_near_matches(published):
    assert {sample.category for sample in find(published, ["pcb1"])} == {"pcb1"}
    with pytest.raises(InputError, match="did you mean pcb1"):
        find(published, ["pcb9"])


def test_a_missing_split_file_is_named(published):
    (published / "split_csv" / "1cls.csv").unlink()
    with pytest.raises(InputError, match=r"VisA as published but .*1cls\.csv is missing"):
        find(published, None)


def test_listed_files_that_are_missing_are_all_named(published):
    (published / "pcb1/Data/Masks/Anomaly/000.png").unlink()
    (published / "candle/Data/Images/Normal/0002.JPG").unlink()
    with pytest.raises(InputError, match=r"(?s)2 problems.*000\.png is listed but missing.*0002\.JPG"):
        find(published, None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("pcb1,test,anomaly,pcb1/Data/Images/Anomaly/000.JPG,", "names no mask"),
        (
            "pcb1,train,anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png",
            "anomalous but in train",
        ),
        ("pcb1,valid,normal,pcb1/Data/Images/Normal/0000.JPG,", "split valid"),
        ("pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,", "listed twice"),
        (
            "../../pwned,test,normal,pcb1/Data/Images/Normal/0000.JPG,",
            r"object '\.\./\.\./pwned' is not a folder name; corr",
        ),
        ("pcb1,test,normal", "is listed but missing"),
    ],
)
def test_a_row_that_cannot_be_is_an_error(published, row, message):
    with (published / "split_csv" / "1cls.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(InputError, match=message):
        find(published, None)


def test_a_split_file_of_other_columns_is_an_error(published):
    (published / "split_csv" / "1cls.csv").write_text("image,label\n")
    with pytest.raises(InputError, match="must have the columns object, split, label, image, mask"):
        find(published, None)
