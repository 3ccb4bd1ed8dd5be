//! What `/tables/<topic>` tells of a topic: the versions of its schema, the segments of its log, and what their columns hold.
//!
//! Reads footers of column files, never their data. Names and types are for whoever may describe the topic; what columns hold is
//! shown to those who may read them, and nothing of rows to whoever may not read all of them.
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_cast::display::array_value_to_string;
use arrow_ord::ord::make_comparator;
use arrow_schema::SortOptions;
use serde_json::{Value, json};
use weir_column::Projection;
use weir_layout::ColumnSegment;
use weir_protocol::ids::PartitionId;
use weir_storage::log::{Extent, Partition};
use weir_table::schema::FieldId;
use weir_table::{Field, ddl};

use super::Typing;
use crate::broker::Broker;
use crate::security::rules::Readable;
use crate::topics::Topic;

/// Bounds are shown up to so many characters.
const SHOWN_CHARS: usize = 40;

/// What somebody sees of a table.
struct Sight {
    /// Columns of the table; `None`: all of them.
    columns: Option<BTreeSet<FieldId>>,
    /// Whether what rows hold is shown: counts, the smallest and the largest value.
    statistics: bool,
}

impl Sight {
    fn of(topic: &Topic, readable: &Readable) -> Sight {
        match readable {
            Readable::Everything => Sight { columns: None, statistics: true },
            Readable::Nothing => Sight { columns: None, statistics: false },
            // A view's columns are not those of its source, of which some are hidden.
            Readable::Part(part) if part.log != topic.id => Sight { columns: Some(BTreeSet::new()), statistics: false },
            Readable::Part(part) => Sight {
                columns: part.restriction.columns.as_ref().map(|columns| columns.fields.clone()),
                statistics: part.restriction.rows.is_none(),
            },
        }
    }

    /// The columns that are seen.
    fn fields(&self, fields: &[Field]) -> Vec<Field> {
        let sees = |field: &&Field| self.columns.as_ref().is_none_or(|columns| columns.contains(&field.id));
        fields.iter().filter(sees).cloned().collect()
    }
}

/// What is told of a topic to somebody who may describe it, and may read this of it. Blocking IO.
pub fn report(broker: &Broker, topic: &Topic, readable: &Readable) -> Value {
    let sight = Sight::of(topic, readable);
    let (state, reason) = match &topic.table.typing {
        Typing::Untyped => ("untyped", None),
        Typing::Waiting { reason } => ("waiting", Some(reason.clone())),
        Typing::Typed(_) => ("typed", None),
    };
    let versions = &topic.table.versions;
    let history = versions.iter().enumerate().map(|(at, schema)| {
        let before = at.checked_sub(1).map(|before| sight.fields(&versions[before].fields));
        let fields = sight.fields(&schema.fields);
        json!({ "version": schema.version, "columns": ddl::print(&fields), "changes": changes(before.as_deref(), &fields) })
    });
    let mut segments = Vec::new();
    let mut statistics = Statistics::default();
    for index in 0..topic.partitions {
        let Some(partition) = broker.storage.partition(topic.id, PartitionId(index)) else { continue };
        for extent in partition.extents() {
            segments.push(segment(index, &partition, &extent, &mut statistics));
        }
    }
    if !sight.statistics {
        statistics = Statistics::default();
    }
    let fields = versions.last().map(|schema| sight.fields(&schema.fields)).unwrap_or_default();
    let columns: Vec<Value> = fields.iter().map(|field| statistics.of(field)).collect();
    // The reason may name columns.
    let reason = reason.filter(|_| sight.columns.is_none());
    json!({
        "topic": topic.name, "state": state, "reason": reason, "versions": history.collect::<Vec<_>>(),
        "segments": segments, "columns": columns,
    })
}

/// What a version changed, column by column.
fn changes(before: Option<&[Field]>, fields: &[Field]) -> Vec<String> {
    let Some(before) = before else { return vec!["created".to_owned()] };
    let mut changes = Vec::new();
    for field in fields {
        match before.iter().find(|known| known.id == field.id) {
            None => changes.push(format!("added {}", field.name)),
            Some(known) => changed(known, field, &mut changes),
        }
    }
    let gone = before.iter().filter(|known| fields.iter().all(|field| field.id != known.id));
    changes.extend(gone.map(|known| format!("dropped {}", known.name)));
    if changes.is_empty() && before != fields {
        changes.push("columns in another order".to_owned());
    }
    changes
}

fn changed(known: &Field, field: &Field, changes: &mut Vec<String>) {
    if known.name != field.name {
        changes.push(format!("renamed {} to {}", known.name, field.name));
    }
    if known.data_type != field.data_type {
        changes.push(format!("{}: {} became {}", field.name, known.data_type, field.data_type));
    }
    if !known.nullable && field.nullable {
        changes.push(format!("{}: NOT NULL was dropped", field.name));
    }
}

fn segment(index: i32, partition: &Partition, extent: &Extent, statistics: &mut Statistics) -> Value {
    let form = match (extent.rows, extent.columns) {
        (true, true) => "rows and columns",
        (_, true) => "columns",
        _ => "rows",
    };
    let mut segment = json!({
        "partition": index, "base": extent.base.0, "next": extent.next.0, "form": form, "bytes": extent.bytes,
    });
    // A file that is being replaced, or damaged, is shown without its inside.
    let open = extent.columns.then(|| partition.column_part(extent.base).ok().flatten()).flatten();
    if let Some(file) = open.and_then(|part| part.file.as_any().downcast::<ColumnSegment>().ok()) {
        segment["groups"] = json!(file.reader().group_count());
        segment["schema_version"] = json!(file.reader().schema_version());
        segment["codec"] = json!(format!("{:?}", file.reader().codec()).to_lowercase());
        statistics.add(&file);
    }
    segment
}

/// Of all column files, by field id.
#[derive(Default)]
struct Statistics {
    columns: HashMap<i32, Column>,
}

#[derive(Default)]
struct Column {
    rows: u64,
    nulls: u64,
    bytes: u64,
    bounds: Vec<(Option<ArrayRef>, Option<ArrayRef>)>,
}

impl Statistics {
    fn add(&mut self, file: &Arc<ColumnSegment>) {
        let (Some(table), reader) = (file.table(), file.reader()) else { return };
        for field in &table.schema.fields {
            let column = self.columns.entry(field.id.0).or_default();
            let nulls = reader.null_counts(&field.name);
            column.nulls += nulls.map_or(0, |nulls| nulls.values().iter().sum());
            column.rows += reader.groups().map(|group| u64::from(group.rows)).sum::<u64>();
            if let Ok(projection) = Projection::paths(reader.schema(), &[[field.name.as_str()]]) {
                let groups = 0..reader.group_count();
                column.bytes += groups.filter_map(|group| reader.stored_bytes(group, &projection).ok()).sum::<u64>();
            }
            let bound = |bounds: Result<Option<ArrayRef>, _>| bounds.ok().flatten();
            column.bounds.push((bound(reader.min_values(&field.name)), bound(reader.max_values(&field.name))));
        }
    }

    fn of(&self, field: &Field) -> Value {
        let mut shown = json!({ "column": field.name, "type": field.data_type.to_string() });
        let Some(column) = self.columns.get(&field.id.0) else { return shown };
        (shown["rows"], shown["nulls"], shown["bytes"]) =
            (json!(column.rows), json!(column.nulls), json!(column.bytes));
        let arrow = field.data_type.to_arrow();
        let bound = |arrays: Vec<&Option<ArrayRef>>, largest| {
            let arrays: Option<Vec<&ArrayRef>> = arrays.into_iter().map(Option::as_ref).collect();
            // Older files may have a narrower type.
            let wide =
                arrays?.into_iter().map(|array| arrow_cast::cast(array, &arrow).ok()).collect::<Option<Vec<_>>>()?;
            outermost(&wide, largest)
        };
        shown["min"] = json!(bound(column.bounds.iter().map(|(min, _)| min).collect(), false));
        shown["max"] = json!(bound(column.bounds.iter().map(|(_, max)| max).collect(), true));
        shown
    }
}

/// The smallest or largest of all values, as text. `None`: there is none, or a row group has no bounds.
fn outermost(arrays: &[ArrayRef], largest: bool) -> Option<String> {
    let mut best: Option<(usize, usize)> = None;
    for (at, array) in arrays.iter().enumerate() {
        for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
            let better = match best {
                None => true,
                Some((known, place)) => {
                    let compare = make_comparator(array, &arrays[known], SortOptions::default()).ok()?;
                    let order = compare(row, place);
                    if largest { order.is_gt() } else { order.is_lt() }
                }
            };
            if better {
                best = Some((at, row));
            }
        }
    }
    let (at, row) = best?;
    let text = array_value_to_string(&arrays[at], row).ok()?;
    Some(text.chars().take(SHOWN_CHARS).collect())
}
