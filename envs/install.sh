#!/bin/sh
# Create a virtual environment from the lock: envs/install.sh FOLDER. PYTHON names the interpreter.
set -eu
here=$(dirname "$0")
folder=$1
${PYTHON:-python3} -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "detoxmerge needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..." >&2
    exit 1
}
${PYTHON:-python3} -m venv "$folder"
pip="$folder/bin/python -m pip --disable-pip-version-check --quiet"
torch=$(grep '^torch==' "$here/lock.txt")

# A machine without a GPU gets PyTorch's CPU build, if one can be had: it is far smaller.
if nvidia-smi -L >/dev/null 2>&1; then
    $pip install "$torch"
elif ! $pip install "$torch+cpu" 2>/dev/null &&
    ! $pip install "$torch+cpu" --extra-index-url https://download.pytorch.org/whl/cpu; then
    echo "No CPU build of $torch can be had here; installing the CUDA build instead." >&2
    $pip install "$torch"
fi
$pip install -r "$here/lock.txt"
