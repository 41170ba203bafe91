"""What stands in the files of the page: everything that was scored, and nothing that a stranger may not see."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from aseg_bench.analysis.scored_maps import ScoredMaps, codes
from aseg_bench.records import Case, Sample, Score
from aseg_bench.reporting.cells import Note
from aseg_bench.reporting.page import write_page
from aseg_bench.runs.publishing import without_places
from aseg_bench.runs.scores import merge_runs
from tests.categories import WICKED
from tests.reporting.conftest import EVIL


def test_nothing_moves_when_a_figure_is_loaded_late(page):
    figures = re.findall(r"<img[^>]+>", page.read_text(encoding="utf-8"))
    assert figures
    for figure in figures:
        source, width, height = re.search(r'src="([^"]+)".* width="(\d+)" height="(\d+)"', figure).groups()
        drawn = Image.open((page.parent / source).with_suffix(".png")).size
        assert int(width) / int(height) == pytest.approx(drawn[0] / drawn[1], rel=0.01)


def test_nothing_user_given_reaches_the_page_unescaped(page):
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            assert not any(name.startswith("on") or name == "style" for name, _ in attrs)

    text = page.read_text(encoding="utf-8")
    Reader().feed(text)
    assert tags.count("script") == 1
    assert EVIL not in text
    assert WICKED not in text


def test_the_page_needs_no_network_and_only_files_that_are_there(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert len(links) > 10
    assert all((page.parent / link).is_file() for link in links)
    assert not re.search(r"url\(['\"]?http|@import|fetch\(|XMLHttpRequest", text)


def test_pictures_hold_codes_and_truth_without_loss(page, category):
    for number, maps in enumerate(category):
        for position in range(len(maps.samples)):
            picture = np.asarray(Image.open(page.parent / "gallery" / "0" / f"{position}-{number}.webp"))
            assert np.array_equal(picture[..., 0], codes(maps.scores[position], maps.counts.levels))
            assert np.array_equal(picture[..., 1] == 255, maps.masks[position])


def test_large_maps_are_shown_small_but_counted_whole(tmp_path):
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / "0.png"
    Image.new("RGB", (600, 300)).save(image)
    mask = np.zeros((300, 600), bool)
    mask[10:30, 10:30] = True
    maps = ScoredMaps(Case("m", "toys", "c"), [Sample("toys", "c", "test", "hole", "0", image)], [mask * 1.0], [mask])
    out = write_page(tmp_path / "report", {}, [[maps]]).parent
    assert Image.open(out / "gallery" / "0" / "0-0.webp").size == (256, 128)
    text = (out / "gallery" / "0" / "data.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("asegGallery(0,").removesuffix(");\n"))
    assert np.sum(data["methods"][0]["anomalous"]) == 400
    assert np.sum(data["methods"][0]["normal"]) == 300 * 600 - 400


def test_gaps_of_a_half_written_run_are_marked(tmp_path):
    text = write_page(
        tmp_path, merge_runs([[Score(Case("m", "toys", "c"), "pixel_ap", None, 3, "exact", "why")]])
    ).read_text()
    assert "There is no run.json" in text
    assert "No maps were kept" in text
    assert '<td title="why">–</td>' in text


def test_values_are_printed_in_their_unit(tmp_path):
    case = Case("m", "toys", "c")
    values = (("pixel_ap", 0.25), ("pixel_ap_lift", 15.0), ("fp_pixels", 12.5), ("of my own", 0.5))
    scores = [Score(case, key, value, 3, "exact") for key, value in values]
    text = write_page(tmp_path, merge_runs([scores])).read_text()
    of_the_category_and_the_mean = 2 * ["25.00", "15.00", "12.50", "50.00"]
    assert re.findall(r"<td>([\d.]+)</td>", text) == of_the_category_and_the_mean
    assert "AP lift (%)" not in text


def test_a_new_page_replaces_the_old_gallery(tmp_path, category):
    write_page(tmp_path / "report", {}, [category, category])
    write_page(tmp_path / "report", {}, [category])
    assert [path.name for path in (tmp_path / "report" / "gallery").iterdir()] == ["0"]


def test_only_the_pages_own_script_and_style_may_run(page):
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.S)
        assert f"sha256-{b64encode(sha256(inside.encode()).digest()).decode()}" in policy


@pytest.mark.parametrize(
    ("text", "published"),
    [
        ("/mnt/me/runs/a lacks 3 maps, see ~/data/x or C:\\people\\me\\y", "…/a lacks 3 maps, see …/x or …/y"),
        ("--root=/data/mvtec", "--root=…/mvtec"),
        ("https://arxiv.org/abs/1 and MVTec-AD / bottle, uni_as/demo, 3/4 and and/or", None),
    ],
)
def test_of_a_path_only_the_last_part_is_published(text, published):
    assert without_places(text) == (published or text)


def test_neither_folders_nor_commands_of_this_machine_stand_on_the_page(tmp_path):
    conditions = {
        "command": "aseg-bench run --out /mnt/jane/out",
        "datasets": {"x": {"root": "/mnt/jane/My Data/set"}},
        "cases": {"m/x": {"settings": {"destseg.textures": "C:\\people\\jane\\dtd"}, "maps": "/mnt/jane/maps"}},
    }
    text = write_page(tmp_path, {}, conditions=conditions, notes=[Note("/mnt/jane/run lacks maps")]).read_text()
    assert "jane" not in text
    assert "aseg-bench run" not in text
    assert all(f"…/{name}" in text for name in ("set", "dtd", "maps", "run"))


def test_title_date_and_machine_stand_at_the_top_and_the_data_sets_are_the_title_by_default(tmp_path, scores):
    text = write_page(tmp_path, {}, title="Ours & theirs", about=["1 May 2026", "Linux"]).read_text()
    assert text.count("Ours &amp; theirs") == 2
    assert "1 May 2026 · Linux" in text
    text = write_page(tmp_path, merge_runs([scores]), datasets={"toys": "Toys"}).read_text()
    assert "Anomaly segmentation on Toys" in text
