#!/bin/sh
# A venv for each trainer that runs beside this project, for they need other versions than it, and than each
# other. Usage: sh benchmarks/peers/setup.sh FOLDER [PYTHON]     (a CPU build of torch will do)
set -eu
folder=${1:?usage: sh benchmarks/peers/setup.sh FOLDER [PYTHON]}
python=${2:-python3}
here=$(dirname "$0")
for name in trl_classic trl_last; do
  "$python" -m venv "$folder/$name"
  "$folder/$name/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/$name.txt"
done
