"""Log lines say which job and which expert they are about."""

import logging
import re

import pytest

from anerf import logs


@pytest.fixture
def root():
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    before, level = list(logger.handlers), logger.level
    yield logger
    logs.bind()
    logger.handlers, logger.level = before, level


def test_a_line_names_time_level_job_and_expert(tmp_path, root):
    handler = logs.add_file(tmp_path)
    root.setLevel(logging.INFO)
    logs.bind(job_id="demo", expert=2)
    logging.getLogger("actors.expert").info("ready")
    with logs.bound(job_id="other"):
        logging.getLogger("actors.expert").info("inside")
    logs.bind()
    logging.getLogger("plain").info("nobody's")
    handler.close()
    lines = (tmp_path / logs.LOG_FILE).read_text().splitlines()
    assert re.match(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO job=demo expert=2 actors\.expert: ready$", lines[0]
    )
    assert "job=other" in lines[1]
    assert lines[2].endswith("INFO plain: nobody's")
