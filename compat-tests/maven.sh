# Sourced by the run.sh of each folder with a pom.xml, which sets `here` (that folder) and `cache` (where classes and jars go).

# Compiles and gathers the jars, once per change of pom.xml and src; who comes meanwhile waits.
build() {
  local stamp
  mkdir -p "$cache"
  stamp=$(cd "$here" && find pom.xml src -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  exec 9>"$cache/build.lock"
  flock 9
  if [[ $(cat "$cache/.complete" 2>/dev/null) != "$stamp" ]]; then
    rm -rf "$cache/lib" "$cache/classes"
    mvn -q -B -f "$here/pom.xml" compile dependency:copy-dependencies -DincludeScope=runtime \
      -DoutputDirectory="$cache/lib" >"$cache/build.log" 2>&1 || {
      cat "$cache/build.log" >&2
      exit 1
    }
    cp -r "$here/target/classes" "$cache/classes"
    echo "$stamp" >"$cache/.complete"
  fi
  exec 9>&-
}
