# Sourced by what needs Python packages: a virtual environment of the shared cache, exactly as a file pins it.
#
#   venv NAME PINS [FILL]    Prints its folder. It is made when it is not there or of other pins, by pip or by the function FILL, which is
#                            called with the folder; two at once wait for each other.

venv() {
  local cache=${WEIR_CACHE:-$HOME/.cache/weir} pins=$2 fill=${3:-venv_of_pins} folder stamp
  folder=$cache/$1
  mkdir -p "$cache"
  (
    flock 9
    # The stamp is written last: an interrupted or outdated installation is made anew.
    stamp="$(python3 --version) $(cksum <"$pins")"
    if [[ $(cat "$folder/.complete" 2>/dev/null) != "$stamp" || ! -x $folder/bin/python ]]; then
      # In a command substitution bash goes on behind what fails, whatever `set -e` says.
      rm -rf "$folder" && python3 -m venv "$folder" && "$fill" "$folder" "$pins" >&2 && echo "$stamp" >"$folder/.complete" || exit 1
    fi
  ) 9>"$folder.lock" && echo "$folder"
}

venv_of_pins() {
  "$1/bin/python" -m pip install --quiet --no-deps -r "$2"
}
