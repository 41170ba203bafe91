"""The page in Chromium, as its readers use it; skipped where there is none."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from aseg_bench.metrics import DEFAULT_METRICS
from aseg_bench.records import Case, Score
from aseg_bench.reporting import report_tables
from aseg_bench.reporting.page import write_page
from aseg_bench.runs.scores import merge_runs
from benchmarks.browser import chromium, why_not
from tests.categories import make_category
from tests.reporting.conftest import EVIL, dsc_of

COLOURS = {"tp": (0.94, 0.89, 0.26), "fp": (0.84, 0.37, 0.0), "fn": (0.0, 0.45, 0.7)}


@pytest.fixture(scope="module")
def browser():
    if why := why_not():
        pytest.skip(why)
    with chromium() as launched:
        yield launched


def new_tab(browser, **settings):
    tab = browser.new_context(**settings).new_page()
    tab.set_default_timeout(30_000)  # a busy machine draws late
    return tab


@pytest.fixture
def tab(browser, page):
    opened = new_tab(browser, viewport={"width": 1280, "height": 800})
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda request: None if request.url.startswith("file:") else troubles.append(request.url))
    opened.goto(page.as_uri())
    yield opened
    opened.context.close()
    assert troubles == []


def open_gallery(tab, index=0):
    tab.select_option("#category", str(index))
    tab.locator("#cards").scroll_into_view_if_needed()
    tab.wait_for_selector(".card h3")


def set_slider(tab, method, code):
    tab.locator(".slider").nth(method).evaluate("(e, k) => { e.value = k; e.dispatchEvent(new Event('input')) }", code)
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def shown(tab, method):
    row = tab.locator(".method").nth(method)
    return {
        name: row.locator(f".{name}").inner_text() for name in ("precision", "recall", "dsc", "tp", "fp", "fn", "tn")
    }


def expected(maps, threshold):
    found, truth = np.stack(maps.scores) >= threshold, np.stack(maps.masks)
    tp, fp, fn, tn = (
        int((a & b).sum()) for a, b in ((found, truth), (found, ~truth), (~found, truth), (~found, ~truth))
    )
    return {
        "precision": f"{100 * tp / (tp + fp):.2f} %" if tp + fp else "–",
        "recall": f"{100 * tp / (tp + fn):.2f} %",
        "dsc": f"{100 * dsc_of(maps, threshold):.2f} %",
        **{name: f"{count:,}" for name, count in (("tp", tp), ("fp", fp), ("fn", fn), ("tn", tn))},
    }


def test_gallery_starts_at_the_threshold_of_the_scores(tab, category, scores):
    open_gallery(tab)
    for number, maps in enumerate(category):
        assert shown(tab, number) == expected(maps, maps.threshold)
        dsc = next(score.value for score in scores if score.case == maps.case and score.metric == "dsc")
        assert shown(tab, number)["dsc"] == f"{100 * dsc:.2f} %"


def test_slider_is_exact_at_every_level(tab, category):
    open_gallery(tab)
    for number, maps in enumerate(category):
        levels = maps.counts.levels
        for code in (0, 1, 20, 100, len(levels) - 1, len(levels), len(levels) + 1):
            set_slider(tab, number, code)
            threshold = -np.inf if code == 0 else np.inf if code > len(levels) else levels[code - 1]
            assert shown(tab, number) == expected(maps, threshold)
    tab.locator(".reset").first.click()
    assert shown(tab, 0) == expected(category[0], category[0].threshold)


def test_overlay_paints_hits_and_errors_pixel_by_pixel_and_stripes_what_is_missed(browser, page, category, tmp_path):
    tab = new_tab(browser, bypass_csp=True)  # to hide the photo
    tab.goto(page.as_uri())
    open_gallery(tab)
    tab.add_style_tag(content=".photo { visibility: hidden } .card { content-visibility: visible }")
    tab.locator("#edge").evaluate("(e) => { e.value = 96; e.dispatchEvent(new Event('input')) }")
    position = 1
    view = tab.locator(".card").nth(position).locator(".view").first
    view.evaluate("(e) => { e.style = 'position: fixed; top: 0; left: 0; z-index: 9; background: #808080' }")
    view.locator(".map").evaluate("(image) => image.decode()")
    maps = category[0]
    mask = maps.masks[position]
    for code in (20, maps.counts.code(maps.threshold), 200):
        set_slider(tab, 0, code)
        tab.screenshot(path=tmp_path / "view.png", clip={"x": 0, "y": 0, "width": 96, "height": 96})
        pixels = np.asarray(Image.open(tmp_path / "view.png").convert("RGB"))[::2, ::2].astype(float)
        found = maps.scores[position] >= maps.counts.levels[code - 1]
        want = np.full((*mask.shape, 3), 128.0)
        for kind, where in (("tp", found & mask), ("fp", found & ~mask), ("fn", ~found & mask)):
            want[where] = 0.7 * 255 * np.array(COLOURS[kind]) + 0.3 * 128
        far = np.abs(pixels - want).max(axis=2) > 4
        missed = ~found & mask
        assert not far[~missed].any()
        assert (pixels[far] == 255).all()
        assert missed.sum() < 20 or 0.2 < far[missed].mean() < 0.6  # white stripes over the colour
    tab.context.close()


def test_tables_sort_and_filter(tab, category):
    means, categories = tab.locator("table.scores tbody").all()
    tab.locator("table.scores th button", has_text="pAP").click()
    assert categories.locator("td:nth-child(4)").all_inner_texts()[-1] == "–"
    assert set(means.locator("th:first-child").all_inner_texts()) == {"mean"}  # apart, whatever sorts
    dsc = tab.locator("table.scores th button", has_text="DSC")
    for key, falls in ((dsc.click, False), (lambda: dsc.press("Enter"), True)):
        key()
        for rows in (means, categories):
            values = [float(text) for text in rows.locator("td:nth-child(5)").all_inner_texts()[:-1]]
            assert values == sorted(values, reverse=falls)
    tab.locator("#filter").fill("good screw")
    visible = tab.locator("table.scores tbody tr:not([hidden])")
    assert visible.locator("th:first-child").inner_text() == "screw"
    assert visible.count() == 1
    assert "good" in visible.inner_text()


def test_wicked_names_are_shown_and_do_nothing(tab):
    open_gallery(tab)
    assert tab.evaluate("window.broken") is None
    assert EVIL in tab.locator(".method b").nth(1).inner_text()
    tab.select_option("#kind", "hole & <b>")
    tab.wait_for_selector(".card h3")
    assert tab.locator(".card").count() == 3
    assert "hole & <b>" in tab.locator(".card h3").first.inner_text()


def test_worst_first_orders_by_dice(tab):
    open_gallery(tab)
    tab.select_option("#order", "worst")
    tab.wait_for_selector(".card h3")
    texts = tab.locator(".card figcaption:first-of-type").all_inner_texts()[::2]
    dice = [float(re.search(r"Dice ([\d.]+)", text).group(1)) for text in texts]
    assert dice == sorted(dice)


def test_keyboard_moves_the_slider(tab):
    open_gallery(tab)
    slider = tab.locator(".slider").first
    before = int(slider.input_value())
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert int(slider.input_value()) == before + 1
    tab.keyboard.press("Home")
    tab.locator(".method .recall", has_text="100.00 %").first.wait_for()


def test_another_method_and_the_heat_map_can_be_shown(tab, category):
    open_gallery(tab)
    tab.locator(".method input[type=checkbox]").nth(1).uncheck()
    tab.wait_for_selector(".card h3")
    assert tab.locator(".card").first.locator(".view").count() == 1
    tab.select_option("#overlay", "heat")
    tab.wait_for_selector(".card h3")
    assert "heat" in tab.locator(".card .map").first.get_attribute("style")
    tab.select_option("#overlay", "none")
    tab.wait_for_selector(".card h3")
    assert not tab.locator(".card .map").first.is_visible()


def test_only_what_is_near_is_loaded(browser, tmp_path):
    many = make_category(tmp_path, n_images=300, size=24, methods=("good",))
    path = write_page(tmp_path / "report", {}, [many])
    tab = new_tab(browser)
    tab.goto(path.as_uri() + "#gallery-0")
    tab.wait_for_selector(".card h3")
    assert tab.locator(".card").count() == 300
    assert 0 < tab.locator(".card h3").count() < 150
    tab.keyboard.press("End")
    tab.locator(".card:last-child h3").wait_for()
    tab.context.close()


def test_a_number_leads_to_its_images_at_its_threshold_the_worst_first(tab, category):
    row = tab.locator("table.scores tbody:nth-child(3) tr").nth(1)
    row.locator("a").nth(1).click()  # pixel AP of the second method
    tab.wait_for_selector(".card h3")
    assert tab.url.endswith("#gallery-0-1")
    assert [box.is_checked() for box in tab.locator(".method input[type=checkbox]").all()] == [False, True]
    assert tab.locator("#order").input_value() == "worst"
    assert shown(tab, 1) == expected(category[1], category[1].threshold)
    texts = tab.locator(".card figcaption:first-of-type").all_inner_texts()
    dice = [float(found.group(1)) for text in texts if (found := re.search(r"Dice ([\d.]+)", text))]
    assert len(dice) == len(category[0].samples)
    assert dice == sorted(dice)
    set_slider(tab, 1, 1)
    row.locator("a").nth(1).click()  # the same address again
    assert shown(tab, 1) == expected(category[1], category[1].threshold)


def test_the_gallery_opens_by_itself_at_the_best_f1_where_the_dscs_threshold_calls_much_anomalous(browser, tmp_path):
    poor, good = (make_category(tmp_path, name, n_images=3, methods=("one",)) for name in ("pill", "screw"))
    threshold = float(np.quantile(np.stack(poor[0].scores), 0.3))
    vars(poor[0])["counts"] = replace(poor[0].counts, threshold=threshold)
    found = [
        Score(Case("one", "toys", name), "pixel_ap", value, 3, "exact")
        for name, value in (("screw", 0.9), ("pill", 0.1))
    ]
    tab = new_tab(browser)
    tab.goto(write_page(tmp_path / "report", merge_runs([found]), [good, poor]).as_uri())
    tab.locator("#gallery").scroll_into_view_if_needed()
    tab.wait_for_selector(".card h3")
    assert tab.locator("#category").input_value() == "1"
    truth, scores = np.stack(poor[0].masks), np.stack(poor[0].scores)
    f1 = [2 * (truth & (scores >= at)).sum() / (truth.sum() + (scores >= at).sum()) for at in poor[0].counts.levels]
    assert shown(tab, 0) == expected(poor[0], poor[0].counts.levels[int(np.argmax(f1))])
    assert "of all pixels anomalous" in tab.locator(".method .said").inner_text()
    tab.locator(".method .reset").click()
    called = int((scores >= poor[0].counts.levels[poor[0].counts.code(threshold) - 1]).sum())
    assert int(shown(tab, 0)["tp"].replace(",", "")) + int(shown(tab, 0)["fp"].replace(",", "")) == called
    tab.context.close()


def test_images_can_be_chosen_by_their_errors_and_their_dice(tab, category):
    open_gallery(tab)
    maps = category[0]
    hits, alarms, misses = maps.counts.confusion(maps.threshold)
    for choice, n_images in (("missed", int((misses > 0).sum())), ("false", int((alarms > 0).sum()))):
        tab.select_option("#errors", choice)
        assert tab.locator(".card").count() == n_images
    tab.select_option("#errors", "")
    tab.locator("#at-most").fill("50")
    tab.locator("#at-most").press("Enter")
    dice = [2 * h / (2 * h + a + m) if h + a + m else 1.0 for h, a, m in zip(hits, alarms, misses, strict=True)]
    assert tab.locator(".card").count() == sum(value <= 0.5 for value in dice)


def test_one_image_is_shown_large_with_its_map_and_the_histogram_of_its_scores(tab, category):
    open_gallery(tab)
    tab.locator(".card .open").nth(1).press("Enter")
    dialog = tab.locator("#large")
    assert dialog.is_visible()
    assert dialog.locator(".view img").count() == 4  # image; map; image and map
    maps, bars = category[0], {}
    for bar in dialog.locator("#histogram title").all():
        n, kind, _ = bar.text_content().split()
        bars[kind] = bars.get(kind, 0) + int(n.replace(",", ""))
    assert bars == {"normal": int((~maps.masks[1]).sum()), "anomalous": int(maps.masks[1].sum())}
    tab.locator("#large-slider").focus()
    before = tab.locator(".slider").first.input_value()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("(v) => document.querySelector('.slider').value !== v", arg=before)
    tab.locator("#next").press("Enter")
    assert "(3 of 9)" in tab.locator("#large-name").inner_text()
    tab.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_no_column_is_hidden_at_1280_pixels_whatever_is_scored_by_default(browser, tmp_path):
    values = [
        Score(Case(method, "toys", category), metric, 0.5, 9, "exact")
        for method in ("uni_as", "patchcore_wide")
        for category in ("hazelnut_toy", "magnetic_tile")
        for metric in DEFAULT_METRICS
    ]
    tab = new_tab(browser, viewport={"width": 1280, "height": 800})
    tab.goto(write_page(tmp_path, merge_runs([values]), tables=report_tables([values])).as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    assert tab.locator(".more").count() == 0  # nothing scrolls sideways
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.locator(".wide.more[tabindex='0']").wait_for()  # here it does: it says so, and keys scroll it
    tab.context.close()


def test_the_keyboard_reaches_everything_that_can_be_used(tab):
    open_gallery(tab)
    unreachable = tab.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, summary, [tabindex]")]
            .filter((each) => each.checkVisibility() && !each.disabled && each.tabIndex < 0)
            .filter((each) => each.id !== "gallery-heading") // which links give the focus to
            .map((each) => each.outerHTML)"""
    )
    assert unreachable == []
    nameless = tab.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, img")].filter((each) =>
            !(each.textContent.trim() || each.getAttribute("aria-label") || each.alt || each.labels?.length))
            .map((each) => each.outerHTML)"""
    )
    assert nameless == []


CONTRASTS = """() => {
    const parsed = (text) => { const [r, g, b, a] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a ?? 1]; };
    const over = ([r, g, b, a], under) => [r, g, b].map((part, i) => a * part + (1 - a) * under[i]);
    const light = (rgb) => {
        const [r, g, b] = rgb.map((p) => (p / 255 <= 0.04045 ? p / 255 / 12.92 : ((p / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        if (!node) return [255, 255, 255];
        return over(parsed(getComputedStyle(node).backgroundColor), behind(node.parentElement));
    };
    const poor = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !node.checkVisibility()) continue;
        if (node.closest("script, option, svg, :disabled")) continue;
        const style = getComputedStyle(node), under = behind(node);
        const [one, other] = [light(over(parsed(style.color), under)), light(under)].sort((a, b) => b - a);
        const ratio = (one + 0.05) / (other + 0.05) ;
        if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${node.outerHTML.slice(0, 120)}`);
    }
    return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_aa_asks_for(browser, page, scheme):
    tab = new_tab(browser, viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    tab.goto(page.as_uri())
    for details in tab.locator("details").all():
        details.evaluate("(e) => { e.open = true }")
    open_gallery(tab)
    assert tab.evaluate(CONTRASTS) == []
    tab.locator(".card .open").first.click()
    assert tab.evaluate(CONTRASTS) == []
    tab.locator("#close").click()
    tab.locator("#theme").click()
    assert tab.evaluate(CONTRASTS) == []
    tab.evaluate("document.body.style.color = '#888888'")
    assert tab.evaluate(CONTRASTS) != []  # the test tells
    tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_light_and_dark(browser, page, scheme):
    tab = new_tab(browser, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    tab.goto(page.as_uri())
    open_gallery(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    ink, paper = tab.evaluate(
        "(() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor] })()"
    )
    brightness = [sum(int(part) for part in re.findall(r"\d+", colour)[:3]) for colour in (ink, paper)]
    assert (brightness[0] < brightness[1]) == (scheme == "light")
    assert abs(brightness[0] - brightness[1]) > 450
    tab.locator("#theme").click()
    flipped = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert flipped != paper
    tab.context.close()
