"""Shadow mode on a running node: switched by SIGHUP, released by the command line, with `kill -9` in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.peers import free_port, wait_until
from tests.integration.small_node import MORTAL, START_S, Archive, Node

pytestmark = [*MORTAL]


PORT = free_port()


@pytest.fixture
def archive() -> Iterator[Archive]:
    made = Archive(PORT)
    yield made
    made.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path, PORT)
    yield made
    made.close()


def switch(node: Node, *, shadow: bool) -> None:
    """Edit the configuration, have it read again, and wait until the worker begins anew."""
    content = {**yaml.safe_load(node.config.read_text()), "shadow": shadow}
    node.config.write_text(yaml.safe_dump(content))
    begun = node.log().count('"working"')
    node.hang_up()
    wait_until(lambda: node.log().count('"working"') > begun, START_S, "the worker begins anew")


def test_nothing_leaves_a_node_in_shadow_mode_until_it_is_released(node: Node, archive: Archive) -> None:
    node.start()
    wait_until(lambda: '"working"' in node.log(), START_S, "the worker works")
    switch(node, shadow=True)
    node.send("1.2.3")
    wait_until(
        lambda: sum(item.state == "held back" for item in node.items()) == 2, START_S, "both objects are held back"
    )
    assert '"delivery_held"' in node.log()
    listed = node.command("jobs", "list", "--held").stdout
    assert listed.count("held back") == 2

    # Switching it off sends nothing of what was held back, and new results at once.
    switch(node, shadow=False)
    node.send("1.2.4")
    wait_until(lambda: len(archive.received) == 2, START_S, "the second study is delivered")
    node.kill()
    node.start()
    assert len(archive.received) == 2

    released = node.command("jobs", "release", "--all")
    assert released.returncode == 0, released.stderr
    wait_until(lambda: len(archive.received) == 4, START_S, "what was held back is delivered")
    assert set(archive.received.values()) == {1}
    again = node.command("jobs", "release", "--all")
    assert again.returncode == 4
    assert "nothing is held back" in again.stderr


def test_a_release_survives_a_crash_and_sends_the_same_objects(node: Node, archive: Archive) -> None:
    content = {**yaml.safe_load(node.config.read_text()), "shadow": True}
    node.config.write_text(yaml.safe_dump(content))
    node.start()
    node.send()
    wait_until(
        lambda: sum(item.state == "held back" for item in node.items()) == 2, START_S, "both objects are held back"
    )
    node.kill()
    job = next(item.job for item in node.items() if item.job)
    assert node.command("jobs", "release", job[:8]).returncode == 0
    assert node.command("jobs", "send", job, "--to", "archive").stdout.count("on its way already") == 2
    node.start()
    wait_until(lambda: len(archive.received) == 2, START_S, "what was released is delivered")
    assert node.runs == 1
    assert set(archive.received.values()) == {1}
