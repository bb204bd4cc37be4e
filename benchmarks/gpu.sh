#!/bin/sh
# The gpu tests and the benchmark with a Python that has torch and transformers; `make gpu` calls it.
#   PYTHON  that Python                WHEELS  folder of wheels of what else is needed; nothing is downloaded
#   JSON    where results go           MODEL   folder of a real model to be measured as well
#   DTYPE   float16, bfloat16, auto    TESTS   other tests than all that need a GPU; "none"
set -eu
PYTHON=${PYTHON:-python3}
JSON=${JSON:-benchmarks/results/gpu.json}
cd "$(dirname "$0")/.."

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
if [ -n "${WHEELS:-}" ]; then
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target "$packages" "$WHEELS"/*.whl
  PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"
  export PYTHONPATH
fi

status=0
if [ "${TESTS:-}" != none ]; then
  # shellcheck disable=SC2086  # several tests are several words
  "$PYTHON" -m pytest -m gpu --durations=5 ${TESTS:-tests/*/test_*_gpu.py} || status=1
fi
"$PYTHON" benchmarks/gpu.py --cap-gib 16 --dtype "${DTYPE:-auto}" --json "$JSON" ${MODEL:+--model "$MODEL"} || status=1
exit $status
