"""Writes the scripts of jobs/ anew, from the templates that `mpidl submit` uses: python tools/job_scripts.py"""

from pathlib import Path

from mpidl.launch.jobs.script import ready

JOBS = Path(__file__).resolve().parents[1] / "jobs"

for name, text in ready():
    JOBS.joinpath(name).write_text(text, encoding="utf-8")
    JOBS.joinpath(name).chmod(0o644)
