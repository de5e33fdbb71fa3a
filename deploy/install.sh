#!/bin/sh
# Install Alula on a Raspberry Pi (Raspberry Pi OS Bookworm or Trixie, 64-bit), or upgrade it, or remove it.
#
# Every version gets a virtual environment of its own under PREFIX/venvs; PREFIX/current points to the one in use and is
# switched in one step, when the new one has passed its tests. So a failure leaves what was there.
# The environments see the system's packages: picamera2 comes only from apt, and its modules were built for apt's NumPy,
# which pip must therefore never replace by another one.
set -eu

PREFIX=/opt/alula
PYTHON=${PYTHON:-/usr/bin/python3}
LINK=/usr/local/bin/alula
MARK=.alula-install
NEED_MB=200
NEED_VISION_MB=500

wheel='' wheels='' camera=0 vision=0 dry=0 uninstall=0 link=0 apt=1
new='' done=0

usage() {
    cat <<'END'
Usage: install.sh alula-VERSION-*.whl [options]
       install.sh --uninstall [--prefix DIR]

  --prefix DIR    where to install (/opt/alula)
  --with-camera   the ribbon-cable camera: picamera2, from apt
  --with-vision   OpenCV: videos, USB cameras, pictures
  --wheels DIR    take what pip needs from this folder, not from the network
  --link          make /usr/local/bin/alula
  --no-apt        install no system packages; what is missing comes by pip, or is said
  --dry-run       check everything, say what would be done, change nothing
  --uninstall     remove the prefix and the link
  --help          this text

Exit status: 0 installed (or up to date) and well, 1 installed and the doctor found something wrong, 2 refused: whatever
was installed before is untouched. PYTHON chooses the interpreter (/usr/bin/python3).
END
}

say() { printf '%s\n' "install.sh: $*"; }

refuse() {
    printf '%s\n' "install.sh: $*" >&2
    exit 2
}

run() {
    if [ "$dry" = 1 ]; then
        printf '  would run: %s\n' "$*"
    else
        "$@"
    fi
}

clean_up() {
    status=$?
    trap - EXIT
    if [ -n "$new" ] && [ "$done" = 0 ]; then
        rm -rf "$new"
        if [ ! -e "$PREFIX/current" ]; then
            rmdir "$PREFIX/venvs" 2>/dev/null && rm -f "$PREFIX/$MARK" && rmdir "$PREFIX" 2>/dev/null
        fi
        if [ -e "$PREFIX/current" ]; then
            printf '%s\n' "install.sh: failed; the version installed before is untouched" >&2
        else
            printf '%s\n' "install.sh: failed; nothing was installed" >&2
        fi
        status=2
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --prefix | --wheels)
            [ $# -ge 2 ] || refuse "$1: expected a folder after it, got nothing; see --help"
            if [ "$1" = --prefix ]; then PREFIX=$2; else wheels=$2; fi
            shift
            ;;
        --with-camera) camera=1 ;;
        --with-vision) vision=1 ;;
        --link) link=1 ;;
        --no-apt) apt=0 ;;
        --dry-run) dry=1 ;;
        --uninstall) uninstall=1 ;;
        --help | -h)
            usage
            exit 0
            ;;
        -*) refuse "$1: expected an option that is known, got another; see --help" ;;
        *)
            [ -z "$wheel" ] || refuse "$1: expected one wheel, got two; see --help"
            wheel=$1
            ;;
        esac
        shift
    done
    case $PREFIX in
    /) refuse "--prefix: expected a folder for Alula alone, got /; choose another" ;;
    /*) PREFIX=${PREFIX%/} ;;
    *) PREFIX=$PWD/${PREFIX%/} ;;
    esac
}

nearest() { # the folder itself, or the nearest above it that exists
    folder=$1
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    printf '%s\n' "$folder"
}

check_writable() {
    there=$(nearest "$PREFIX")
    [ -w "$there" ] || refuse "$there: expected a folder that this user may write to, got one that is not; use sudo, or --prefix"
    if [ -d "$PREFIX" ] && [ ! -e "$PREFIX/$MARK" ] && [ -n "$(ls -A "$PREFIX")" ]; then
        refuse "$PREFIX: expected a new folder, or one that this script made, got another; choose another --prefix"
    fi
}

check_link() {
    [ "$link" = 1 ] || return 0
    if [ -e "$LINK" ] && [ ! -L "$LINK" ]; then refuse "$LINK: expected no file or a link, got a file; remove it first"; fi
    [ -w "$(dirname "$LINK")" ] || refuse "--link: expected a folder $(dirname "$LINK") that this user may write to, got none; use sudo, or leave --link out"
}

check_machine() {
    machine=$(uname -m)
    bits=$(getconf LONG_BIT)
    case $machine in
    aarch64 | arm64 | x86_64) ;;
    *) refuse "system: expected a 64-bit one, got $machine; flash the 64-bit Raspberry Pi OS (Pi 3, Zero 2 W and later)" ;;
    esac
    [ "$bits" = 64 ] || refuse "system: expected a 64-bit one, got $bits-bit programs on a 64-bit kernel ($machine); flash the 64-bit Raspberry Pi OS"
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null | tr -d '"')
    case $codename in
    bookworm | trixie) ;;
    *) say "note: made for Raspberry Pi OS Bookworm and Trixie, this is ${codename:-unknown}; going on" ;;
    esac
}

check_python() {
    command -v "$PYTHON" >/dev/null 2>&1 || refuse "$PYTHON: expected Python 3.11 or later, got no such program; set PYTHON"
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || refuse "$PYTHON: expected Python, got something that fails"
    case $version in
    3.11 | 3.12 | 3.13 | 3.14) ;;
    *) refuse "$PYTHON: expected Python 3.11 to 3.14, got $version; Raspberry Pi OS has 3.11 from Bookworm on" ;;
    esac
    "$PYTHON" -c 'import sys; sys.exit(sys.maxsize < 2**32)' ||
        refuse "$PYTHON: expected a 64-bit Python, got a 32-bit one; flash the 64-bit Raspberry Pi OS"
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        [ "$apt" = 1 ] || refuse "$PYTHON: expected its modules venv and ensurepip, got none; sudo apt install python3-venv"
        wanted="$wanted python3-venv"
    fi
}

check_wheel() {
    [ -n "$wheel" ] || refuse "expected a wheel, alula-VERSION-*.whl, got none; see --help"
    [ -f "$wheel" ] || refuse "$wheel: expected a wheel, got no such file; copy it here first"
    file=$(basename "$wheel")
    case $file in
    alula-*.whl) ;;
    *) refuse "$wheel: expected a name like alula-VERSION-*.whl, got another; keep the name that the build gave it" ;;
    esac
    "$PYTHON" -m zipfile -t "$wheel" >/dev/null 2>&1 || refuse "$wheel: expected a whole wheel, got a damaged file; copy it again"
    digest=$("$PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:12])' "$wheel")
    release=$(printf '%s\n' "$file" | cut -d- -f2)
}

check_space() {
    need=$NEED_MB
    [ "$vision" = 0 ] || need=$NEED_VISION_MB
    free=$(df -Pk "$(nearest "$PREFIX")" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$need" ] || refuse "$PREFIX: expected $need MB free, got $free MB; make room on the card"
}

has() { "$PYTHON" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$1" 2>/dev/null; }

numpy_of() { "$1" -c 'import numpy; print(numpy.__version__)' 2>/dev/null; }

install_system_packages() {
    has numpy || wanted="$wanted python3-numpy"
    has psutil || wanted="$wanted python3-psutil"
    if [ "$camera" = 1 ] && ! has picamera2; then wanted="$wanted python3-picamera2"; fi
    [ -n "$wanted" ] || return 0
    if [ "$apt" = 1 ] && [ "$PYTHON" = /usr/bin/python3 ] && command -v apt-get >/dev/null 2>&1; then
        if [ "$(id -u)" != 0 ] && [ "$dry" = 0 ]; then
            refuse "system packages: expected root to install them, got $(id -un); use sudo, or first: sudo apt install$wanted"
        fi
        say "system packages:$wanted"
        # shellcheck disable=SC2086 # a list of words
        run apt-get install -y --no-install-recommends $wanted || say "note: apt could not install all of them; going on"
    fi
    if [ "$camera" = 1 ] && [ "$dry" = 0 ] && ! has picamera2; then
        refuse "--with-camera: expected picamera2 for $PYTHON, got none; on Raspberry Pi OS: sudo apt install -y python3-picamera2 --no-install-recommends"
    fi
}

pip_install() { # into the new environment, kept to the system's NumPy
    [ -z "$wheels" ] || set -- --no-index --find-links "$wheels" "$@"
    run "$new/bin/python" -m pip --disable-pip-version-check --quiet install --no-cache-dir \
        --constraint "$new/constraints.txt" "$@"
}

build() {
    run mkdir -p "$PREFIX/venvs"
    run touch "$PREFIX/$MARK"
    say "building $new"
    [ "$dry" = 1 ] || rm -rf "$new"
    run "$PYTHON" -m venv --system-site-packages "$new"
    if [ -n "$system_numpy" ]; then
        constraint="numpy==$system_numpy"
    elif [ "$codename" = bookworm ]; then
        constraint='numpy>=1.24,<2' # apt's picamera2, installed later, would meet it
    else
        constraint='numpy>=1.24'
    fi
    if [ "$dry" = 1 ]; then
        printf '  would keep pip to: %s\n' "$constraint"
    else
        printf '%s\n' "$constraint" >"$new/constraints.txt"
        mkdir "$new/tmp"
        export TMPDIR="$new/tmp" # /tmp is memory on some systems
    fi
    [ -n "$system_numpy" ] || pip_install --only-binary=:all: numpy
    has psutil || pip_install --only-binary=:all: 'psutil>=5.9'
    if [ "$vision" = 1 ]; then
        pip_install --only-binary=:all: 'opencv-python-headless>=4.8'
    fi
    pip_install --no-deps --ignore-installed "$wheel"
}

prove() { # the new environment, before it is used
    said=$("$new/bin/alula" --version 2>&1) ||
        refuse "$wheel: expected a working alula, got: $(printf '%s\n' "$said" | tail -n 1); take another wheel"
    got=$("$new/bin/alula" --version)
    [ "$got" = "alula $release" ] || refuse "$wheel: expected alula $release, got $got; is the wheel renamed?"
    if [ -n "$system_numpy" ]; then
        got=$(numpy_of "$new/bin/python" || true)
        [ "$got" = "$system_numpy" ] || refuse "$new: expected the system's NumPy $system_numpy, got ${got:-none that works}; see deploy/README.md, NumPy"
    fi
    "$new/bin/python" - <<'END' || refuse "$wheel: expected kernels that compute, got some that do not; see above"
import sys
from alula.device.doctor import Machine
from alula.device.doctor.kernels import kernels
pack, test, _ = kernels(Machine())
print(f"  pack: {pack.found}\n  self-test: {test.found}")
sys.exit(test.facts["self_test"] is False)
END
}

switch() {
    rm -rf "$new/tmp"
    unset TMPDIR
    touch "$new/complete"
    previous=$(readlink "$PREFIX/current" || true)
    ln -sfn "venvs/$name" "$PREFIX/.current.new"
    mv -T "$PREFIX/.current.new" "$PREFIX/current"
    done=1
    for old in "$PREFIX"/venvs/*; do # the one in use and the one before stay
        if [ "$old" != "$new" ] && [ "$old" != "$PREFIX/$previous" ]; then rm -rf "$old"; fi
    done
}

make_link() {
    [ "$link" = 1 ] || return 0
    run ln -sfn "$PREFIX/current/bin/alula" "$LINK"
}

remove() {
    if [ ! -d "$PREFIX" ]; then
        say "nothing to remove: there is no $PREFIX"
        return 0
    fi
    [ -e "$PREFIX/$MARK" ] || refuse "$PREFIX: expected what this script made, got another folder; remove it by hand"
    if [ "$(readlink "$LINK" 2>/dev/null || true)" = "$PREFIX/current/bin/alula" ]; then run rm -f "$LINK"; fi
    run rm -rf "$PREFIX/venvs" "$PREFIX/current" "$PREFIX/.current.new" "$PREFIX/$MARK"
    [ "$dry" = 1 ] || rmdir "$PREFIX" 2>/dev/null || say "note: $PREFIX holds files of yours, they stay"
    [ "$dry" = 1 ] || say "removed; packages from apt stay, and kernels in ~/.cache/alula"
}

examine() {
    [ "$dry" = 0 ] || return 0
    if [ -n "${SUDO_USER:-}" ]; then # the doctor sees root, who may do everything
        for group in video i2c; do
            if getent group "$group" >/dev/null && ! id -nG "$SUDO_USER" | tr ' ' '\n' | grep -qx "$group"; then
                say "note: $SUDO_USER is not in the group $group: sudo usermod -aG $group $SUDO_USER, then log in again"
            fi
        done
    fi
    if "$PREFIX/current/bin/alula" doctor; then
        say "done: $PREFIX/current/bin/alula"
    else
        say "installed, but the doctor found something wrong (above): $PREFIX/current/bin/alula doctor"
        exit 1
    fi
}

parse "$@"
if [ "$uninstall" = 1 ]; then
    remove
    exit 0
fi
wanted=''
check_machine
check_python
check_wheel
check_writable
check_link
check_space
install_system_packages
# Whatever the result depends on is in the name, so that the same install is not made twice
name=$release-py$version-$digest-c$camera-v$vision
new=$PREFIX/venvs/$name
system_numpy=$(numpy_of "$PYTHON" || true)
if [ -e "$new/complete" ] && "$new/bin/alula" --version >/dev/null 2>&1 &&
    { [ -z "$system_numpy" ] || [ "$(numpy_of "$new/bin/python")" = "$system_numpy" ]; }; then
    done=1
    if [ "$(readlink "$PREFIX/current" || true)" = "venvs/$name" ]; then
        say "up to date: alula $release in $new"
    else
        say "alula $release is here already: switching back to it"
        [ "$dry" = 1 ] || switch
    fi
else
    build
    if [ "$dry" = 1 ]; then
        done=1
        say "would test it, switch $PREFIX/current to it and run the doctor"
    else
        prove
        switch
    fi
fi
make_link
examine
