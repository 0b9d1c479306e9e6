#!/usr/bin/env bash
# All that a machine with a GPU can show of revgn, within nine minutes, the most valuable first.
#
#     tests/gpu/run.sh [environment] [math] [tests] [trajectories] [resume] [bench] [scale]
#
# The parts are all taken unless some are named. Each has a time limit of its own and its output in
# $OUT/PART.log; a line on each is added to $OUT/summary.txt. Parts that are right or wrong run side by side,
# those that are timed run alone. The exit status is 1 if a part failed or was stopped, 3 without a GPU.
#
#   OUT      folder of the results, by default gpu-results
#   BUDGET   seconds for all parts together, by default 540
#   WHEELS   folder of wheels of the packages that Python lacks, by default .whl
#   PYTHON   interpreter, by default python3
#   COMMIT   commit of a checkout that has no history
#
# REVGN_DATA and CUPY_CACHE_DIR (data sets and CuPy's compiled kernels) work as always. Nothing is installed
# and no network is needed: packages and links to the checkout are put into a folder that is removed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
all="environment math tests trajectories resume bench scale"
parts="${*:-$all}"
for name in $parts; do
    [[ " $all " == *" $name "* ]] || { echo "$name: there is no such part; expected $all" >&2 && exit 2; }
done
out=${OUT:-gpu-results} budget=${BUDGET:-540} wheels=${WHEELS:-.whl} python=${PYTHON:-python3}
mkdir -p "$out" && out=$(cd "$out" && pwd) && : >"$out/summary.txt" || exit 2
site=$(mktemp -d) && trap 'rm -rf "$site"' EXIT
if compgen -G "$wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" \
        "$wheels"/*.whl || exit 2
fi
ln -s "$PWD/revgn" "$site/revgn" && ln -s "$PWD/cli" "$site/revgn_cli" || exit 2
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
revgn=("$python" -m revgn_cli.main)
pytest=("$python" -m pytest -q -m gpu -W default -p no:cacheprovider --tb=short)

part() { # NAME SECONDS COMMAND...
    local name=$1 limit=$2 begun=$SECONDS left=$((budget - SECONDS)) status verdict
    shift 2
    [[ " $parts " == *" $name "* ]] || return 0
    if ((left < limit)); then limit=$left; fi
    if ((limit < 5)); then
        echo "$name: left out, the time is over" | tee -a "$out/summary.txt"
        return
    fi
    timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
    status=$?
    case $status in
        0) verdict="ok" ;;
        124 | 137) verdict="stopped after its $limit s" ;;
        *) verdict="failed with status $status" ;;
    esac
    echo "$name: $verdict, $((SECONDS - begun)) s" >>"$out/summary.txt"
    echo "== $name: $verdict, $((SECONDS - begun)) s
$(tail -n 12 "$out/$name.log" | cut -c-160)"
}

if reason=$("$python" -c "
from revgn.arrays import cupy_absence
raise SystemExit(cupy_absence())" 2>&1); [[ -n $reason ]]; then
    echo "no GPU: $reason" | tee -a "$out/summary.txt"
    exit 3
fi

part environment 45 bash -e -c '
    echo "commit ${COMMIT:-$(git rev-parse --short HEAD)}, $(date -u +%FT%TZ)"
    nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || true
    "$0" -c "import cupy; cupy.show_config()" || true
    "$0" -m revgn_cli.main devices' "$python"

part math 120 "${revgn[@]}" check --math --backend cupy &
part tests 150 "${pytest[@]}" -n 8 tests --ignore=tests/gpu --ignore=tests/cli/test_signals.py &
part trajectories 120 "${pytest[@]}" -n 3 -rP tests/gpu/test_trajectories.py &
part resume 120 "${pytest[@]}" -n 3 tests/gpu/test_resume.py &
wait
if [[ -f $out/trajectories.log ]]; then # a line for each optimizer and precision
    grep -E '^float(32|64) ' "$out/trajectories.log" | sort >"$out/trajectories.txt"
fi

part bench 240 "$python" tests/bench/bench_gpu.py --backend cupy --limit 200 --json "$out/bench.json"

# The paper's network at its own scale: runs that the time does not suffice for are left out.
part scale 400 "${revgn[@]}" sweep examples/paper-scale.toml --quiet --out "$site/scale"
if [[ -d $site/scale ]]; then
    tar -C "$site" --exclude=checkpoints -czf "$out/scale.tgz" scale
    "${revgn[@]}" compare "$site/scale" --csv >"$out/scale.csv"
fi

cat "$out/summary.txt"
! grep -qv ": ok" "$out/summary.txt"
