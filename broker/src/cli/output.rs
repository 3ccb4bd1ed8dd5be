//! Results as a table for people, or as JSON or YAML for programs: one list of objects, three renderings.

use std::io::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use super::CliError;

/// `-o` of the commands that print tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// JSON for programs
    Json,
    /// YAML
    Yaml,
}

/// The flag, for flattening.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OutputArgs {
    /// How to print the result
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// A column: key of the objects and title of the table.
pub(crate) type Column = (&'static str, &'static str);

/// Prints a list of objects. The table shows the given columns, the other formats show everything.
pub(crate) fn print_list(
    out: &mut dyn Write,
    format: Format,
    columns: &[Column],
    items: &[Value],
) -> Result<(), CliError> {
    match format {
        Format::Table => write_all(out, &table(columns, items)),
        Format::Json | Format::Yaml => print_value(out, format, &Value::Array(items.to_vec())),
    }
}

/// Prints one value as JSON or YAML (as YAML too if the format is a table).
pub(crate) fn print_value(out: &mut dyn Write, format: Format, value: &Value) -> Result<(), CliError> {
    match format {
        Format::Json => write_all(out, &format!("{value:#}\n")),
        Format::Table | Format::Yaml => write_all(out, &yaml(value)),
    }
}

/// Writes text to the output.
pub(crate) fn write_all(out: &mut dyn Write, text: &str) -> Result<(), CliError> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::io("writing the result"))
}

/// Columns without borders, so that `awk` and eyes both find them.
pub(crate) fn table(columns: &[Column], items: &[Value]) -> String {
    let mut table = Table::new();
    // Never wrapped to the terminal: half a group name is worse than a long line.
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(_, title)| *title));
    for item in items {
        table.add_row(columns.iter().map(|(key, _)| cell(item.get(key).unwrap_or(&Value::Null))));
    }
    for (position, (key, _)) in columns.iter().enumerate() {
        let numeric = !items.is_empty() && items.iter().all(|item| matches!(item.get(key), Some(Value::Number(_))));
        if let Some(column) = table.column_mut(position) {
            let last = position + 1 == columns.len();
            column.set_padding((0, if last { 0 } else { 2 }));
            column.set_cell_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left });
        }
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Block style, with strings quoted wherever YAML might read them as something else.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write_yaml(value, 0, &mut text);
    text
}

fn write_yaml(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&format!("{:indent$}- ", ""));
                // The first line of a nested item follows the dash, so it goes without its indentation.
                let mut nested = String::new();
                write_yaml(item, indent + 2, &mut nested);
                text.push_str(nested.trim_start_matches(' '));
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (key, field) in fields {
                text.push_str(&format!("{:indent$}{}:", "", yaml_string(key)));
                let scalar = is_scalar(field);
                text.push(if scalar { ' ' } else { '\n' });
                if scalar {
                    text.push_str(&yaml_scalar(field));
                    text.push('\n');
                } else {
                    write_yaml(field, indent + 2, text);
                }
            }
        }
        scalar => {
            text.push_str(&yaml_scalar(scalar));
            text.push('\n');
        }
    }
}

fn is_scalar(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => true,
    }
}

fn yaml_scalar(value: &Value) -> String {
    match value {
        Value::String(text) => yaml_string(text),
        // Empty lists and objects, numbers, booleans and null are written as in JSON.
        other => other.to_string(),
    }
}

fn yaml_string(text: &str) -> String {
    let plain_start =
        text.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_' || first == '/');
    let plain = |character: char| character.is_ascii_alphanumeric() || "_-./@".contains(character);
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    );
    if plain_start && !word && text.chars().all(plain) {
        text.to_owned()
    } else {
        // A JSON string is a YAML string.
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_align_numbers_right_and_show_missing_values_as_dashes() {
        let items = [
            json!({"name": "a", "partitions": 3, "rack": null, "replicas": [1, 2]}),
            json!({"name": "longer-name", "partitions": 12, "rack": "", "replicas": []}),
        ];
        let columns: [Column; 4] =
            [("name", "NAME"), ("partitions", "PARTITIONS"), ("rack", "RACK"), ("replicas", "REPLICAS")];
        assert_eq!(
            table(&columns, &items),
            "NAME         PARTITIONS  RACK  REPLICAS\n\
             a                     3  -     1,2\n\
             longer-name          12  -\n"
        );
    }

    #[test]
    fn json_and_yaml_hold_what_the_table_leaves_out() {
        let items = [json!({"name": "a", "hidden": 1})];
        let print = |format| {
            let mut out = Vec::new();
            print_list(&mut out, format, &[("name", "NAME")], &items).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print(Format::Table), "NAME\na\n");
        let parsed: Value = serde_json::from_str(&print(Format::Json)).unwrap();
        assert_eq!(parsed, json!([{"name": "a", "hidden": 1}]));
        assert_eq!(print(Format::Yaml), "- hidden: 1\n  name: a\n");
    }

    #[test]
    fn yaml_nests_and_quotes_what_would_be_read_as_something_else() {
        let value = json!({
            "list": [1, {"a": "x", "b": [true]}], "no": "no", "text": "a: b", "number": "12", "empty": [], "null": null
        });
        assert_eq!(
            yaml(&value),
            "empty: []\nlist:\n  - 1\n  - a: x\n    b:\n      - true\n\"no\": \"no\"\n\"null\": null\nnumber: \"12\"\ntext: \"a: b\"\n"
        );
    }
}
