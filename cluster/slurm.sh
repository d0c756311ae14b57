#!/bin/bash
# One run on Ray over all nodes of a Slurm allocation; submit it from the repository's root:
#   sbatch --nodes=2 --gpus-per-node=4 cluster/slurm.sh configs/arithmetic.yaml rollout.num_actors=7
# The arguments are those of `score-ray train`. The repository must lie on a shared file system,
# and its environment must be active (`source .venv/bin/activate`) where sbatch is called.
#SBATCH --job-name=score-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.out
# A job that is preempted, loses a node or runs out of time starts again under the same number:
# the same command then continues from the newest checkpoint of the run folder.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
# shellcheck disable=SC2329 # srun and traps call these functions
set -euo pipefail

die() { echo "slurm.sh: $*" >&2; exit 1; }

# Prints the address under which other nodes reach this one. SCORE_RAY_INTERFACE=ib0 names its
# network; without it Ray takes the network of the default route.
node_address() {
    python - "${SCORE_RAY_INTERFACE:-}" <<'PYTHON'
import socket, sys
import psutil, ray
if not (name := sys.argv[1]):
    sys.exit(print(ray.util.get_node_ip_address()))
if name not in (networks := psutil.net_if_addrs()):
    sys.exit(f"slurm.sh: no network {name!r} here, only {', '.join(networks)}")
print(next(a.address for a in networks[name] if a.family == socket.AF_INET))
PYTHON
}

# Runs once on every node, until it is ended. It must not call `ray stop`, which would also end the
# clusters of this user's other jobs on the node.
start_node() {
    local address options
    address=$(node_address)
    options=(--block --disable-usage-stats --temp-dir="$RAY_FOLDER" --node-ip-address="$address"
        --num-cpus="${SLURM_CPUS_PER_TASK:-$(nproc)}" --dashboard-agent-listen-port=0
        --min-worker-port=0 --max-worker-port=0)
    unset RAY_ADDRESS
    if [[ $SLURMD_NODENAME == "$HEAD_NODE" ]]; then
        options+=(--head --port="${HEAD##*:}" --ray-client-server-port=$((${HEAD##*:} + 1))
            --include-dashboard=false)
    else
        options+=(--address="$HEAD")
        until (: <"/dev/tcp/${HEAD%:*}/${HEAD##*:}") 2>/dev/null; do sleep 1; done
    fi
    log=$RAY_FOLDER.$SLURMD_NODENAME.log
    ray start "${options[@]}" &>"$log" &
    ray=$! status=0
    cat <&0 >/dev/null & # ends when the job closes its nodes' input
    closed=$!
    trap : TERM # Slurm sends TERM to Ray too: ignore it here, and wait for Ray to end
    wait -n "$ray" "$closed" || status=$?
    if kill "$ray" 2>/dev/null; then
        wait "$ray" || true
        rm -rf "$RAY_FOLDER" "$log"
        return
    fi
    # Ray ended by itself: keep its log.
    kill "$closed" || true
    tail -n 20 "$log" >&2
    return $((status ? status : 1))
}

nodes_alive() {
    (: <"/dev/tcp/${HEAD%:*}/${HEAD##*:}") && python -c '
import ray
ray.init(log_to_driver=False, logging_level="ERROR")
print(sum(node["Alive"] for node in ray.nodes()))'
}

wait_for_nodes() {
    local deadline=$((SECONDS + ${SCORE_RAY_START_DEADLINE:-300})) alive=0
    until [[ $alive == "$SLURM_JOB_NUM_NODES" ]]; do
        kill -0 "$nodes" 2>/dev/null || die "a Ray node ended before all had joined"
        ((SECONDS < deadline)) || {
            nodes_alive >&2 || true
            die "$alive of $SLURM_JOB_NUM_NODES nodes joined in time"
        }
        sleep 1
        alive=$(nodes_alive 2>/dev/null) || alive=0
    done
}

finish() {
    trap - EXIT
    # End the driver first: otherwise it reports that its cluster is lost.
    [[ -z ${driver:-} ]] || { kill "$driver" 2>/dev/null && wait "$driver"; } || true
    if [[ -n ${nodes:-} ]] && kill -0 "$nodes" 2>/dev/null; then
        exec {input}>&-
        timeout 60 tail --pid="$nodes" -f /dev/null || kill "$nodes" || true
    fi
}

requeue() {
    echo "slurm.sh: the time limit is near; the job is requeued and continues from its checkpoint"
    finish
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}

[[ -n ${SLURM_JOB_ID:-} ]] || die "submit it with sbatch"
[[ -f launch.py ]] || die "no launch.py in $PWD: submit from the repository's root"
python -c 'import score_ray, ray' || die "python has no score_ray: activate its environment"

# Jobs may share a node, so each derives its port and its folder from its job number.
export RAY_FOLDER=/tmp/ray-$SLURM_JOB_ID HEAD_NODE=$SLURMD_NODENAME
HEAD=$(node_address):$((20000 + SLURM_JOB_ID % 5000 * 2))
export HEAD
export RAY_ADDRESS=$HEAD
# Ray refuses whoever reaches the port without the token.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=${RAY_AUTH_TOKEN:-$(python -c 'import secrets; print(secrets.token_hex(32))')}
export RAY_AUTH_TOKEN
export RAY_worker_niceness=0 # with Ray's default, 15, every other process goes first
export -f node_address start_node

trap finish EXIT
trap 'exit 143' TERM INT
trap requeue USR1

# srun does not inherit --export and --cpus-per-task from the job.
coproc NODES {
    exec srun --export=ALL --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        bash -euo pipefail -c start_node >&2
}
nodes=$NODES_PID input=${NODES[1]}
wait_for_nodes
python launch.py train "$@" &
driver=$!
status=0
wait "$driver" || status=$?
exit "$status"
