"""In which keys two configurations differ."""

from __future__ import annotations

from pathlib import Path

from sbnode.comparison.settings import Difference, differences
from sbnode.config import Config, Destination, Model, Rule, Spool, Threshold


def test_only_what_changes_results_is_named_key_by_key() -> None:
    rule = Rule(name="thin", when={"SliceThickness": {"max": 1.0}})  # type: ignore[dict-item]
    a = Config(rules=(rule,))
    b = Config(
        threshold=Threshold(seed=0.5),
        model=Model(occupancy=Path("/models/next")),
        rules=(rule.model_copy(update={"region": "all_bone"}),),
        destinations=(Destination(name="archive", ae_title="A", host="secret", port=104),),
        spool=Spool(path=Path("elsewhere")),
    )
    assert differences(a, a) == ()
    found = {one.key: one for one in differences(a, b)}
    assert set(found) == {"threshold.seed", "model.occupancy", "rules.thin.region"}
    assert found["threshold.seed"] == Difference("threshold.seed", "0.45", "0.5")
    assert (found["rules.thin.region"].a, found["rules.thin.region"].b) == ("null", '"all_bone"')


def test_a_rule_that_one_has_alone() -> None:
    found = differences(Config(), Config(rules=(Rule(name="all", take=False),)))
    assert Difference("rules.all.take", "-", "false") in found
