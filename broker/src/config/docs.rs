//! docs/generated/config.md, from the declarations.
use std::fmt::Write;

use super::{Config, variable};
use crate::topic_config::TABLE;

const HEAD: &str = "# Settings

<!-- Written by `weir config docs`; do not edit. -->

The broker reads a TOML file (`weir serve --config FILE`, or the variable `WEIR_CONFIG`), then environment variables, then
flags; the later wins. A setting is named with dots and may be written in tables: `wal.file.bytes = \"64MiB\"` is
`[wal] file.bytes = \"64MiB\"` too. Its variable is the name in capitals with `WEIR_` before it and `_` for dots:
`WEIR_WAL_FILE_BYTES`. Every setting can be given as `--set NAME=VALUE`.

Sizes take `KiB`, `MiB`, `GiB`, `kB`, `MB`, `GB`; durations take `ms`, `s`, `min`, `h`, `d`, and a plain number is milliseconds.
`weir config check` finds mistakes, `weir config show` prints what is in force and where it was set.
";

/// The whole document.
#[must_use]
pub fn render() -> String {
    let mut out = String::from(HEAD);
    let mut section = "";
    for info in Config::default().infos() {
        if info.section != section {
            section = info.section;
            let _ = write!(out, "\n## {section}\n\n| setting | type | default | meaning |\n|---|---|---|---|\n");
        }
        let default = if info.shown.is_empty() { String::new() } else { format!("`{}`", info.shown) };
        let _ = writeln!(out, "| `{}` | {} | {default} | {} |", info.key, info.kind, cell(&info.doc));
    }
    let _ = write!(
        out,
        "\n## Topic settings\n\nSet with `weir topic create -c NAME=VALUE`, `weir topic alter`, or any Kafka tool. The broker setting \
         changes the default of all topics; it can be set like those above (variable: `{}` and so on).\n\n\
         | topic setting | type | default | broker setting | values | meaning |\n|---|---|---|---|---|---|\n",
        variable("log.retention.ms")
    );
    for def in TABLE {
        let default = if def.default.is_empty() { String::new() } else { format!("`{}`", def.default) };
        let broker = def.broker_synonym.map(|name| format!("`{name}`")).unwrap_or_default();
        let kind = format!("{:?}", def.allowed.kind()).to_lowercase();
        let values = cell(&def.allowed.describe());
        let _ = writeln!(
            out,
            "| `{}` | {kind} | {default} | {broker} | {values} | {} |",
            def.name,
            cell(def.documentation)
        );
    }
    out
}

/// Text that does not break a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
