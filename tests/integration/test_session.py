"""`secure_init` and `secure-ray run` in real programs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from support.clusters import JOBS_WORK

if TYPE_CHECKING:
    from pathlib import Path

    from support.clusters import Machine

pytestmark = pytest.mark.ray
needs_jobs = pytest.mark.skipif(not JOBS_WORK, reason="this Ray's job agent is kept closed")

TASK = """
import ray
@ray.remote
def add(x, y):
    return x + y
"""


def program(
    machine: Machine, script: str, *, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=machine.environment(variables),
        cwd=cwd or machine.home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def leftovers(machine: Machine) -> list[str]:
    """Files and processes of clusters that lived as long as a program."""
    directory = machine.state / "ephemeral"
    files = [str(path) for path in directory.iterdir()] if directory.is_dir() else []
    marks = [
        f"pid {process.pid}"
        for process in psutil.process_iter()
        if _home(process) == str(machine.home)
    ]
    return files + marks


def _home(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("HOME")
    except (psutil.Error, OSError):
        return None


def test_init_starts_a_hardened_ray_and_takes_it_along(machine: Machine) -> None:
    result = program(
        machine,
        "from secure_ray import secure_init\n"
        "context = secure_init(num_cpus=1, log_to_driver=False)\n"
        + TASK
        + "print(ray.get(add.remote(1, 2)), context.address_info['gcs_address'])\n"
        "import psutil, os\n"
        "print({c.laddr.ip for c in psutil.net_connections('tcp') if c.status == 'LISTEN'"
        " and c.pid in {os.getpid(), *(p.pid for p in psutil.Process().children(True))}})\n",
    )

    answer, listening = result.stdout.splitlines()[-2:]
    assert answer.startswith("3 127.0.0.1:"), result.stderr
    assert set(eval(listening)) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert leftovers(machine) == []


def test_init_works_when_ray_was_imported_before(machine: Machine) -> None:
    result = program(
        machine,
        TASK + "from secure_ray import secure_init\n"
        "secure_init(num_cpus=1)\n"
        "print(ray.get(add.remote(1, 2)))",
    )

    assert result.stdout.splitlines()[-1] == "3", result.stderr
    # Also at the end: the driver has let go of its cluster before that was stopped.
    assert result.returncode == 0
    for word in ("Error", "Traceback", "failed", "died"):
        assert word not in result.stderr
    assert leftovers(machine) == []


def test_shutdown_ends_it_and_init_starts_another(machine: Machine) -> None:
    result = program(
        machine,
        "import os; before = dict(os.environ)\n"
        # What `import ray` itself sets.
        "RAYS_OWN = ['RAY_CLIENT_MODE', 'PYTHONBREAKPOINT']\n"
        "from secure_ray import secure_init\n"
        "secure_init(num_cpus=1)\n" + TASK + "first = ray.get(add.remote(1, 2))\n"
        "ray.shutdown()\n"
        "changed = {k for k in os.environ if os.environ[k] != before.get(k)} - set(RAYS_OWN)\n"
        "secure_init(num_cpus=1)\n"
        "print(first, ray.get(add.remote(3, 4)), sorted(changed))",
    )

    assert result.stdout.splitlines()[-1] == "3 7 []", result.stderr
    assert leftovers(machine) == []


def test_killed_program_leaves_nothing(machine: Machine) -> None:
    result = program(
        machine,
        "from secure_ray import secure_init; import os\n"
        "secure_init(num_cpus=1)\n"
        "os.kill(os.getpid(), 9)",
    )
    assert result.returncode == -9
    processes = [p for p in psutil.process_iter() if _home(p) == str(machine.home)]
    psutil.wait_procs(processes, timeout=60)

    # Its files stay until the next one starts.
    program(machine, "from secure_ray import secure_init; secure_init(num_cpus=1)")

    assert leftovers(machine) == []


def test_second_init_behaves_as_rays_does(machine: Machine) -> None:
    result = program(
        machine,
        "from secure_ray import secure_init\n"
        "first = secure_init(num_cpus=1)\n"
        "again = secure_init(ignore_reinit_error=True)\n"
        "print(first.address_info['gcs_address'] == again.address_info['gcs_address'])\n"
        "secure_init()",
    )

    assert result.stdout.splitlines()[-1] == "True"
    assert "RuntimeError: Maybe you called ray.init twice by accident?" in result.stderr


def test_two_programs_at_once(machine: Machine) -> None:
    script = (
        "from secure_ray import secure_init\n"
        "secure_init(num_cpus=1)\n" + TASK + "print(ray.get(add.remote(1, 2)))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=machine.environment(),
            cwd=machine.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]

    outputs = [process.communicate(timeout=120) for process in both]

    assert [output.splitlines()[-1] for output, _ in outputs] == ["3", "3"], outputs


def test_tasks_see_the_programs_directory(machine: Machine) -> None:
    directory = machine.home / "a b ü"
    directory.mkdir()
    (directory / "data.txt").write_text("found")
    (directory / "mine.py").write_text("def read():\n    return open('data.txt').read()\n")

    result = program(
        machine,
        "from secure_ray import secure_init; secure_init(num_cpus=1)\n"
        "import ray, mine\n"
        "print(ray.get(ray.remote(mine.read).remote()))",
        cwd=directory,
    )

    assert result.stdout.splitlines()[-1] == "found", result.stderr


def test_credentials_of_the_caller_do_not_reach_tasks(machine: Machine) -> None:
    result = program(
        machine,
        "from secure_ray import secure_init; secure_init(num_cpus=1)\n"
        "import ray, os\n"
        "@ray.remote\n"
        "def read():\n"
        "    return os.environ.get('AWS_SECRET_ACCESS_KEY')\n"
        "print(ray.get(read.remote()))",
        AWS_SECRET_ACCESS_KEY="marker",
    )

    assert result.stdout.splitlines()[-1] == "None", result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "dashboard_host='0.0.0.0'",
        "_system_config={'AUTH_MODE': 'disabled'}",
        "_node_ip_address='192.0.2.1'",
        "_redis_password='x'",
        "runtime_env={'env_vars': {'RAY_AUTH_MODE': 'disabled'}}",
        "runtime_env={'py_executable': 'sh -c true'}",
        "no_such_argument=1",
    ],
)
def test_unsafe_arguments_are_refused(machine: Machine, arguments: str) -> None:
    result = program(
        machine,
        "from secure_ray import secure_init, RefusedError\n"
        "try:\n"
        f"    secure_init({arguments})\n"
        "except RefusedError as error:\n"
        "    print(error.refusals[0].rule)",
    )

    assert result.stdout.startswith("SR-"), result.stderr


def test_auto_joins_the_running_cluster(running: Machine) -> None:
    result = program(
        running,
        "from secure_ray import secure_init\n"
        "secure_init('auto')\n"
        "import ray, psutil, os\n"
        "print([c.laddr.ip for c in psutil.Process().net_connections('tcp')"
        " if c.status == 'LISTEN'])\n"
        "print(ray.cluster_resources()['node:127.0.0.1'])",
    )

    listening, resource = result.stdout.splitlines()[-2:]
    assert resource == "1.0", result.stderr
    assert set(eval(listening)) <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_shutdown_that_was_imported_by_name_is_finished_by_the_next_init(running: Machine) -> None:
    result = program(
        running,
        "import os; from ray import shutdown\n"
        "from secure_ray import secure_init\n"
        "secure_init('auto')\n"
        "shutdown()\n"
        "print('RAY_ADDRESS' in os.environ)\n"
        "secure_init('auto')\n"
        "import ray; ray.shutdown()\n"
        "print('RAY_ADDRESS' in os.environ, ray.shutdown is shutdown)",
    )

    assert result.stdout.splitlines()[-2:] == ["True", "False True"], result.stderr


def test_token_of_the_callers_environment_is_not_ours(running: Machine) -> None:
    """Ray would take it instead of the file that the cluster's token is in."""
    script = (
        "from secure_ray import secure_init\n"
        "secure_init('auto')\n" + TASK + "print(ray.get(add.remote(1, 2)))"
    )

    result = program(running, script, RAY_AUTH_TOKEN="f" * 64)

    assert result.stdout.splitlines()[-1:] == ["3"], result.stderr


def test_auto_without_a_cluster_says_how_to_start_one(machine: Machine) -> None:
    result = program(
        machine,
        "from secure_ray import secure_init, FailedError\n"
        "try:\n"
        "    secure_init('auto')\n"
        "except FailedError as error:\n"
        "    print(error.code, error.fix)",
    )

    assert result.stdout.strip() == "SR-STATE-004 secure-ray up --head"


def test_run_makes_an_unmodified_program_a_driver(running: Machine) -> None:
    result = running.driver(TASK + "ray.init(); print(ray.get(add.remote(1, 2)))")

    assert result.stdout.splitlines()[-1] == "3", result.stderr


def test_run_makes_secure_init_join(running: Machine) -> None:
    result = running.driver(
        "from secure_ray import secure_init\nprint(secure_init().address_info['gcs_address'])"
    )

    port = next(e["port"] for e in running.status()["ports"] if e["component"] == "gcs")
    assert result.stdout.splitlines()[-1] == f"127.0.0.1:{port}", result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["ray", "status"],
        ["ray", "list", "nodes"],
        ["ray", "job", "list"],
        pytest.param(["ray", "job", "submit", "--", "echo", "from the job"], marks=needs_jobs),
    ],
    ids=" ".join,
)
def test_ray_commands_work(running: Machine, command: list[str]) -> None:
    result = running.run("run", "--", *command)

    assert result.returncode == 0, result.stderr


@needs_jobs
def test_job_that_calls_secure_init_joins_its_own_cluster(running: Machine) -> None:
    script = running.home / "job.py"
    script.write_text(
        "from secure_ray import secure_init\n"
        "print('joined', secure_init().address_info['gcs_address'])\n"
    )

    result = running.run("run", "--", "ray", "job", "submit", "--", "python", str(script))

    port = next(e["port"] for e in running.status()["ports"] if e["component"] == "gcs")
    assert f"joined 127.0.0.1:{port}" in result.stdout, result.stdout + result.stderr


def test_run_keeps_the_programs_exit_code(running: Machine) -> None:
    assert running.driver("raise SystemExit(41)").returncode == 41


def test_run_refuses_what_would_switch_authentication_off(running: Machine) -> None:
    result = running.run("run", "--", "true", environment={"RAY_AUTH_MODE": "disabled"})

    assert result.returncode == 3
