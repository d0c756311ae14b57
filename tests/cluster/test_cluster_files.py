"""The files for clusters: what reads them accepts them, and the Slurm script trains."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from score_ray.config.config import Config
from score_ray.config.loading import load
from score_ray.reporting.run_folder import RunFolder
from tests.end_to_end.test_whole_runs import SMALL
from tests.support.tiny_model import make_model

FOLDER = Path("cluster")
PROJECT = tomllib.loads(Path("pyproject.toml").read_text())["project"]
IMAGE = f"registry.example.com/score-ray:{PROJECT['version']}"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
MANIFESTS = ["kuberay-cluster.yaml", "kuberay-job.yaml"]


def read(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text())


def cluster_of(name: str) -> dict:
    spec = read(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def groups(name: str) -> list[dict]:
    cluster = cluster_of(name)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods(name: str) -> list[dict]:
    return [group["template"]["spec"] for group in groups(name)]


def containers(name: str) -> list[dict]:
    return [container for pod in pods(name) for container in pod["containers"]]


def test_the_dockerfile_names_the_build_command_of_the_image_in_all_files():
    assert f"docker build -f cluster/Dockerfile -t {IMAGE} ." in DOCKERFILE
    assert read("ray-cluster.yaml")["docker"]["image"] == IMAGE
    assert {c["image"] for name in MANIFESTS for c in containers(name)} == {IMAGE}


def instructions(word: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(word)]


def test_the_dockerfile_copies_existing_files_and_exactly_those_of_its_ignore_file():
    sources = {source for line in instructions("COPY") for source in shlex.split(line)[:-1]}
    assert all(Path(source).exists() for source in sources)
    not_ignored = re.findall(
        r"^!(.+)$", (FOLDER / "Dockerfile.dockerignore").read_text(), re.MULTILINE
    )
    assert sources == set(not_ignored)


def test_the_dockerfile_has_a_base_and_an_extra_for_cpu_and_for_gpu():
    assert "EXTRA=gpu" in instructions("ARG")
    names = {line.split(" AS base-")[1] for line in instructions("FROM") if " AS " in line}
    assert names == {"cpu", "gpu"} <= PROJECT["optional-dependencies"].keys()
    assert instructions("FROM")[-1] == "base-${EXTRA}"


def test_the_image_runs_as_the_user_who_owns_the_pods_volumes():
    assert instructions("USER") == ["${UID}"]
    assert "UID=1000" in instructions("ARG")
    for pod in [pod for name in MANIFESTS for pod in pods(name)]:
        assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000}


def test_ray_accepts_the_launcher_file():
    prepared = prepare_config(read("ray-cluster.yaml"))
    validate_config(prepared)
    (group,) = prepared["available_node_types"].values()
    assert group["min_workers"] == len(read("ray-cluster.yaml")["provider"]["worker_ips"])


def test_launched_nodes_require_a_token_and_keep_the_dashboard_on_loopback():
    config = prepare_config(read("ray-cluster.yaml"))
    assert "--env=RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1].split()


def test_every_file_keeps_rays_workers_at_normal_priority():
    assert "--env=RAY_worker_niceness=0" in read("ray-cluster.yaml")["docker"]["run_options"]
    assert "export RAY_worker_niceness=0" in (FOLDER / "slurm.sh").read_text()
    niceness = {"name": "RAY_worker_niceness", "value": "0"}
    assert all(niceness in c["env"] for name in MANIFESTS for c in containers(name))


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_names_the_ray_version_that_the_project_pins(name):
    assert f"ray[default]=={cluster_of(name)['rayVersion']}" in PROJECT["dependencies"]
    assert read(name)["apiVersion"] == "ray.io/v1"
    assert cluster_of(name)["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_mount_has_a_volume_and_the_shared_volume_its_claim(name):
    claim = read("kuberay-volume.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(name):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {m["name"] for c in pod["containers"] for m in c["volumeMounts"]} == set(volumes)
        name_of_claim = volumes["shared"]["persistentVolumeClaim"]["claimName"]
        assert name_of_claim == claim["metadata"]["name"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_start_parameters_are_options_of_ray_start(name):
    from ray.scripts.scripts import start

    known = {option.lstrip("-") for parameter in start.params for option in parameter.opts}
    given = [parameter for group in groups(name) for parameter in group["rayStartParams"].items()]
    assert {key for key, _ in given} <= known
    assert all(isinstance(value, str) for _, value in given)


def test_the_jobs_cluster_is_that_of_the_cluster_file():
    assert cluster_of("kuberay-job.yaml") == cluster_of("kuberay-cluster.yaml")


def entrypoint() -> tuple[Config, list[str]]:
    """Return the config that the job's command trains, and the command's words."""
    words = shlex.split(read("kuberay-job.yaml")["spec"]["entrypoint"])
    assert words[:3] == ["python", "launch.py", "train"]
    return load(Path(words[3]), [word for word in words[4:] if "=" in word]), words


def test_the_jobs_command_trains_into_the_shared_folder():
    _, words = entrypoint()
    runs = Path(words[words.index("--runs") + 1])
    mounts = {m["mountPath"] for c in containers("kuberay-job.yaml") for m in c["volumeMounts"]}
    assert str(runs.parent) in mounts
    config, *rest = (word for word in words[3:] if word not in ("--runs", str(runs)))
    assert all("=" in word for word in rest)
    assert Path(config).parent.name in instructions("COPY")[2]


def test_the_jobs_cluster_has_a_gpu_for_every_process():
    config, _ = entrypoint()
    (group,) = cluster_of("kuberay-job.yaml")["workerGroupSpecs"]
    per_pod = int(
        group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    )
    assert group["replicas"] * per_pod == config.rollout.num_actors + config.learner.num_ranks


# A replacement of srun with both nodes on this machine. Like the real one, it passes its input to
# every task, and ends all tasks when one fails.
SRUN = f"""#!{sys.executable}
import itertools, os, subprocess, sys, threading

def close_inputs():
    sys.stdin.read()
    for task in tasks:
        task.stdin.close()

command = list(itertools.dropwhile(lambda word: word.startswith("--"), sys.argv[1:]))
tasks = [
    subprocess.Popen(command, env=os.environ | {{"SLURMD_NODENAME": name}}, stdin=subprocess.PIPE)
    for name in ("node-0", "node-1")
]
threading.Thread(target=close_inputs, daemon=True).start()
codes = [os.waitstatus_to_exitcode(os.wait()[1])]
if codes[0]:
    for task in tasks:
        task.terminate()
codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
os._exit(max(codes))
"""


@pytest.fixture
def slurm(tmp_path) -> Iterator[dict[str, str]]:
    """Yield the environment of a job's first node; afterwards remove the logs of failed nodes."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "srun").write_text(SRUN)
    (tools / "srun").chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "2"}
    node = {"SLURMD_NODENAME": "node-0", "SLURM_CPUS_PER_TASK": "2"}
    script = {"SCORE_RAY_INTERFACE": "lo", "SCORE_RAY_START_DEADLINE": "120"}
    # conftest.py sets this for private clusters; nodes of other clusters do not start with it.
    inherited = {k: v for k, v in os.environ.items() if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    yield inherited | {"PATH": path} | script | job | node
    for log in Path("/tmp").glob(f"ray-{os.getpid()}.*.log"):
        log.unlink()


def processes_of(job: str) -> Iterator[psutil.Process]:
    """Yield every process whose environment has the job's number."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURM_JOB_ID") == job:
                yield process
        except psutil.Error:
            continue


def run_script(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    command = ["bash", "cluster/slurm.sh", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.ray
def test_the_slurm_script_trains_on_two_ray_nodes_and_leaves_nothing(slurm, tmp_path):
    model = make_model(tmp_path / "model", False)
    recipe = ["configs/arithmetic.yaml", *SMALL, f"model.path={model}"]
    done = run_script(slurm, *recipe, "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr
    records = RunFolder(tmp_path / "arithmetic").metrics()
    assert [record["iteration"] for record in records] == [0, 1, 2, 3]
    job = slurm["SLURM_JOB_ID"]
    assert not list(processes_of(job))
    assert not list(Path("/tmp").glob(f"ray-{job}*"))


@pytest.mark.ray
def test_a_ray_node_that_cannot_start_prints_the_reason_and_ends_the_job(slurm):
    done = run_script(slurm | {"SLURM_CPUS_PER_TASK": "many"}, "configs/arithmetic.yaml")
    assert done.returncode == 1
    assert "'many' is not a valid integer" in done.stderr
    assert done.stderr.endswith("slurm.sh: a Ray node ended before all had joined\n")
    # The script's last `sleep 1` may outlive it.
    assert not psutil.wait_procs(list(processes_of(slurm["SLURM_JOB_ID"])), timeout=5)[1]


def test_the_slurm_script_is_refused_outside_a_job():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    done = run_script(environment, "configs/arithmetic.yaml")
    assert (done.returncode, done.stderr) == (1, "slurm.sh: submit it with sbatch\n")
