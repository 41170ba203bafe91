from collections.abc import Mapping

from aseg_bench.records import Case, Score
from aseg_bench.reporting.diagnosis import diagnose
from aseg_bench.runs.scores import merge_runs

VALUES = {  # method -> pixel AUROC, pixel AP, DSC
    "sharp": (0.97, 0.60, 0.50),
    "blurred": (0.98, 0.30, 0.20),
}


def scores(values: Mapping[str, tuple[float, ...]]) -> list[Score]:
    return [
        Score(Case(method, "toys", "screw"), metric, value, 9, "exact")
        for method, row in values.items()
        for metric, value in zip(("pixel_auroc", "pixel_ap", "dsc", "anomaly_rate"), (*row, 0.02), strict=True)
    ]


def test_the_table_holds_ranks_lift_and_false_alarms() -> None:
    alarms = {Case("blurred", "toys", "screw"): 900.0, Case("blurred", "toys", "pill"): 700.0}
    (diagnosis,) = diagnose(merge_runs([scores(VALUES)]), {}, {"toys": "Toys"}, alarms)
    (_, rows), *_ = diagnosis.table.blocks
    assert [[cell.text for cell in row] for row in rows] == [
        ["sharp", "2.00", "97.00", "60.00", "50.00", "30.0", "–"],
        ["blurred", "2.00", "98.00", "30.00", "20.00", "15.0", "800"],
    ]
    assert [[cell.aside for cell in row[2:5]] for row in rows] == [["2", "1", "1"], ["1", "2", "2"]]


def test_findings_say_what_auroc_hides_and_how_ranks_change() -> None:
    (diagnosis,) = diagnose(merge_runs([scores(VALUES)]), {}, {"toys": "Toys"})
    assert list(diagnosis.findings) == [
        "On Toys, 2 % of the pixels are anomalous.",
        "On Toys, blurred has the highest pixel AUROC, 98.00 %; its pixel AP is 30.00 %, 15 times that of a guess.",
        "In the ranks on Toys by pixel AP instead of pixel AUROC, "
        "sharp rises from 2 to 1 and blurred falls from 1 to 2.",
        "In the ranks on Toys by DSC instead of pixel AUROC, sharp rises from 2 to 1 and blurred falls from 1 to 2.",
    ]


def test_false_alarms_are_said_to_be_pixels_of_normal_images_at_the_threshold() -> None:
    (diagnosis,) = diagnose(merge_runs([scores(VALUES)]), {}, {}, {Case("blurred", "toys", "screw"): 2468.4})
    text = "At the threshold of the DSC, blurred calls 2,468 pixels of a normal image of toys anomalous, on average."
    assert text in diagnosis.findings


def test_a_lone_method_has_a_value_and_no_rank() -> None:
    (diagnosis,) = diagnose(merge_runs([scores({"sharp": VALUES["sharp"]})]), {}, {})
    assert diagnosis.findings[1:] == [
        "On toys, sharp has a pixel AUROC of 97.00 %; its pixel AP is 60.00 %, 30 times that of a guess."
    ]


def test_an_order_that_stays_is_said_to_stay() -> None:
    (diagnosis,) = diagnose(merge_runs([scores({**VALUES, "sharp": (0.99, 0.6, 0.5)})]), {}, {})
    assert diagnosis.findings[-1] == "On toys, pixel AUROC, pixel AP and DSC put the methods in the same order."


def test_the_lift_is_of_the_categories_where_ap_is_defined() -> None:
    values = {("screw", "pixel_ap"): 0.02, ("screw", "anomaly_rate"): 0.02, ("pure", "anomaly_rate"): 0.0}
    found = [
        Score(Case("chance", "toys", category), metric, value, 9, "exact")
        for (category, metric), value in values.items()
    ]
    (_, rows), *_ = diagnose(merge_runs([found]), {}, {})[0].table.blocks
    assert rows[0][-2].text == "1.0"


def test_an_order_by_auroc_alone_is_compared_with_nothing() -> None:
    only = [score for score in scores(VALUES) if score.metric == "pixel_auroc"]
    assert diagnose(merge_runs([only]), {}, {})[0].findings == []


def test_an_undefined_mean_is_a_dash_and_has_no_rank() -> None:
    undefined = [Score(Case("none", "toys", "screw"), "pixel_auroc", None, 9, "exact", "no anomalous pixel")]
    (diagnosis,) = diagnose(merge_runs([scores(VALUES) + undefined]), {}, {})
    (_, rows), *_ = diagnosis.table.blocks
    assert [cell.text for cell in rows[2]] == ["none", *["–"] * 6]
    assert "defined in 0 of 1 categories" in diagnosis.table.notes.values()
