from __future__ import annotations

import json

from sbnode.inference.bone import Finding, Foramen, NamedBone
from sbnode.inference.quality import Quality
from sbnode.results.report import LeftOut, Report
from tests.results.phantom import derivation


def test_the_report_is_json_with_everything_in_it() -> None:
    report = Report(
        job_key="k" * 32,
        series_instance_uid="1.2.3",
        why="thin, sharp",
        left_out=(LeftOut("1.2.4", "localizer"),),
        slices=295,
        region="skull_base",
        findings=(Finding("tilt", "18.5 degrees"),),
        quality=Quality(fwhm_mm=0.7123, slice_mm=0.6, noise_hu=None, thinnest_plate_mm=0.2),
        flags=(),
        model=derivation().model,
        provider="CPUExecutionProvider",
        bones=(NamedBone("temporal bone", "left", 12.3, 0.9),),
        foramina=(Foramen("foramen ovale", "left", "open", (1.0, 2.0, 3.0), 4.1, 0.96, 1.2),),
        volume_ml=123.456,
        inferred_share=0.01234567,
        seconds={"read": 1.23456},
        peak_memory_bytes=10**9,
    )
    content = json.loads(report.to_json())
    assert "Not a medical device" in content["notice"]
    assert content["left_out"] == [{"series_instance_uid": "1.2.4", "reason": "localizer"}]
    assert content["findings"] == [{"code": "tilt", "message": "18.5 degrees"}]
    assert content["model"]["sha256"] == "ab" * 32
    assert content["quality"] == {"fwhm_mm": 0.71, "slice_mm": 0.6, "noise_hu": None, "thinnest_plate_mm": 0.2}
    assert content["bones"] == [{"name": "temporal bone", "side": "left", "volume_ml": 12.3, "probability": 0.9}]
    assert content["volume_ml"] == 123.46
    assert content["inferred_share"] == 0.0123
    assert content["seconds"] == {"read": 1.235}
    assert report.to_json().endswith("}\n")
