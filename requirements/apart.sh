# Read by the scripts that install something into an environment of its own, as `. apart.sh NAME [FOLDER]`: makes FOLDER, or .NAME at
# the top without one, and says how packages and torch for a CPU get into it. torch is the one package without a hash.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here") venv=${2:-$(dirname "$here")/.$1}
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
uv=$root/.venv/bin/uv python=$venv/bin/python
"$uv" venv --quiet --allow-existing --python "${PYTHON:-python3.11}" "$venv"

locked() { "$uv" pip install --quiet --python "$python" --no-deps --require-hashes "$@"; }

torch_for_cpu() {
  # shellcheck disable=SC2046  # one option, or none
  "$uv" pip install --quiet --python "$python" --no-deps $([ -n "$UV_FIND_LINKS" ] || echo --torch-backend=cpu) \
    "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' "$here/torch.txt")"
}
