"""The Slurm script against stand-ins for Slurm, Ray and the driver: what it starts, how it ends, who is warned."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.deploy_paths import DEPLOY

SCRIPT = DEPLOY / "slurm" / "funnel.sbatch"
#: Each notes its call in the file CALLS; those that last do so when they are ready to be ended.
STAND_INS = {
    "srun": """
echo "srun $*" >>"$CALLS"
while [[ $1 == --* ]]; do shift 2; done  # its options have one value each
exec "$@"
""",
    "scontrol": """
echo "scontrol $*" >>"$CALLS"
if [ "$1" = show ]; then printf "node1\\nnode2\\n"; fi
""",
    "ray": """
if [ "$1" = start ]; then
  trap 'kill $!; echo "ray ended" >>"$CALLS"; exit' TERM
  sleep 60 &
  echo "ray $*" >>"$CALLS"
  wait
fi
""",
    "python": """
if [ "$1" = -c ]; then echo secret; exit; fi
until [ "$(grep --count "^ray start" "$CALLS")" = 2 ]; do sleep 0.05; done
if [ "$DRIVER" != works ]; then echo "python $*" >>"$CALLS"; exit "$DRIVER"; fi
trap 'kill $!; echo committed >>"$CALLS"; exit 143' TERM
sleep 60 &
echo "python $*" >>"$CALLS"
wait
""",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables of a job on two nodes whose commands are stand-ins."""
    programs = tmp_path / "environment" / "bin"
    programs.mkdir(parents=True)
    calls = tmp_path / "calls"
    for name, body in STAND_INS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{body}")
        (programs / name).chmod(0o755)
    (programs / "activate").write_text("")
    return {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(calls),
        "ENVIRONMENT": str(programs.parent),
        "HOME": str(tmp_path),
        "CATALOG": "s3://bucket/catalog",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[1-2]",
    }


def start(environment: dict[str, str], driver: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SCRIPT), "person_count", "person_count,face_count"],
        env=environment | {"DRIVER": driver},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def calls(environment: dict[str, str]) -> list[str]:
    path = Path(environment["CALLS"])
    return path.read_text().splitlines() if path.exists() else []


def wait_for(environment: dict[str, str], text: str) -> None:
    deadline = time.monotonic() + 30
    while not any(text in call for call in calls(environment)):
        assert time.monotonic() < deadline, calls(environment)
        time.sleep(0.05)


@pytest.mark.parametrize("code", [0, 3])
def test_the_job_ends_as_its_driver_does_and_leaves_no_ray(environment: dict[str, str], code: int) -> None:
    job = start(environment, str(code))
    assert job.wait(timeout=30) == code, job.stdout
    wait_for(environment, "ray ended")
    found = calls(environment)
    assert "ray start --head --port 6379 --block --disable-usage-stats" in found
    assert (
        "srun --nodes 1 --ntasks 1 --exclude node1 ray start --address node1:6379 --block --disable-usage-stats"
        in found
    )
    assert (
        "python -m stages.person_count --catalog s3://bucket/catalog --policy lite "
        "--stages person_count,face_count --ray-address node1:6379"
    ) in found
    assert not any(call.startswith("scontrol requeue") for call in found)


def test_a_warning_reaches_the_driver_and_puts_the_job_back(environment: dict[str, str]) -> None:
    job = start(environment, "works")
    wait_for(environment, "python -m stages")
    job.send_signal(signal.SIGTERM)  # as --signal=B:TERM does: the batch shell alone
    assert job.wait(timeout=30) == 143
    found = calls(environment)
    assert found.index("committed") < found.index("scontrol requeue 7")


def test_a_missing_stage_is_said(environment: dict[str, str]) -> None:
    done = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr
