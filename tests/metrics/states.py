"""The states of a node as a test wants them."""

from __future__ import annotations

from sbnode.metrics import Disk, ModelFacts, NodeState, QueueGroup

NOW_S = 1_000_000.0
GROUPS = (
    QueueGroup(stage="study", state="waiting", count=2, first_at_s=NOW_S - 1.5),
    QueueGroup(stage="inference", priority="low", state="delayed", count=3, first_at_s=NOW_S - 9000),
    QueueGroup(stage="inference", priority="high", state="running", count=1, first_at_s=NOW_S - 60),
    QueueGroup(stage="inference", priority="high", state="waiting", count=4, first_at_s=NOW_S - 90),
    QueueGroup(stage="delivery", destination="pacs", priority="normal", state="waiting", count=0),
    QueueGroup(stage="delivery", destination="pacs", state="dead", count=0),
    QueueGroup(stage="delivery", destination="pacs", state="dead", count=2, last_at_s=NOW_S - 30),
)
STATE = NodeState(
    disk=lambda: Disk(123, 456, 78),
    queue=lambda: GROUPS,
    worker_alive=lambda: True,
    models=lambda: [ModelFacts("skullbase", "1.0", "ab" * 32)],
    destinations=lambda: {"pacs": True, "printer": False},
    certificates=lambda: {"node": NOW_S + 86400},
    open_series=lambda: 7,
    configuration=lambda: "cd" * 32,
    objective_s=lambda: 600.0,
    now_s=lambda: NOW_S,
)
