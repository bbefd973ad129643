"""Tell how many hostile bundles were tried, also where several processes shared the tests."""

import pytest

import releases


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["hostile"] = releases.HOSTILE["bundles"]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    releases.HOSTILE["bundles"] += getattr(node, "workeroutput", {}).get("hostile", 0)


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"hostile bundles tried: {releases.HOSTILE['bundles']}")
