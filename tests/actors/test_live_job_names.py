"""Which jobs a viewer may be asked about: those of its output folder."""

from pathlib import Path

import pytest

from actors.live_jobs import RayJobs
from anerf.errors import JobError
from anerf.jobs.folder import accept_job, begin_diary
from anerf.jobs.spec import parse_job


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    begin_diary(accept_job(parse_job({"op": "train", "scene": "/s", "job_id": "secret"}), elsewhere, "run"))
    for name in (str(elsewhere / "secret"), "../elsewhere/secret", "", "a/b"):
        with pytest.raises(JobError, match="is no job's id: choose a job of the list"):
            RayJobs(tmp_path / "out").news(name)
