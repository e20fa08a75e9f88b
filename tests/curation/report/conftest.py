"""All tests of the report share one made-up catalog, and what is collected from it."""

import pytest

from curation.report.data import ReportData, collect
from curation.report.page import page
from tests.support.made_catalog import World, make


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="package")
def report(world: World) -> ReportData:
    return collect(world.catalog, world.funnel)


@pytest.fixture(scope="package")
def html(report: ReportData) -> str:
    return page(report)
