//! The data files that a table has now: compaction chooses among them, and sequence numbers go on behind theirs. Pure.
use std::collections::BTreeMap;

use apache_avro::types::Value as Avro;

use super::manifest::ManifestWriter;
use super::stats::Stats;
use crate::target::avro::{Damaged, field, none, number, record, some, text};

/// A data file and what manifests say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFile {
    /// As we write it, added.
    pub entry: Avro,
    pub name: String,
    pub level: i64,
    pub bytes: u64,
    pub rows: i64,
    /// Least and greatest sequence number.
    pub sequence: (i64, i64),
    pub schema_id: i64,
    /// Least and greatest key, as stored.
    pub keys: (Vec<u8>, Vec<u8>),
    /// Where it is in the table's folder; `None`: it cannot be told.
    pub path: Option<String>,
}

impl LiveFile {
    /// Readers find it by its full address.
    pub fn is_external(&self) -> bool {
        field(&self.entry, "_FILE").is_some_and(|file| text(file, "_EXTERNAL_PATH").is_some())
    }
}

/// A bucket of a partition: the partition's row as stored, and the bucket.
pub type Place = (Vec<u8>, i64);

/// Files of a table by place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    pub files: BTreeMap<Place, Vec<LiveFile>>,
}

impl Live {
    /// Follows what manifests say, in their order; `relative` finds a full address in the table's folder.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn apply(
        &mut self,
        writer: &ManifestWriter,
        entries: &[Avro],
        relative: impl Fn(&str) -> Option<String>,
    ) -> Result<(), Damaged> {
        for entry in entries {
            let named = writer.named(entry)?;
            let place = place_of(entry).ok_or(Damaged::Value { what: "the place of a file" })?;
            if named.deleted {
                if let Some(files) = self.files.get_mut(&place) {
                    files.retain(|file| file.name != named.name);
                }
                continue;
            }
            let path = named.path.or_else(|| relative(&named.external?));
            let file = live(entry, path).ok_or(Damaged::Value { what: "a file of an entry" })?;
            self.files.entry(place).or_default().push(file);
        }
        self.files.retain(|_, files| !files.is_empty());
        Ok(())
    }

    /// Forgets files that are so large: nothing becomes of them any more.
    pub fn forget_large(&mut self, bytes: u64) {
        self.files.values_mut().for_each(|files| files.retain(|file| file.bytes < bytes));
        self.files.retain(|_, files| !files.is_empty());
    }

    /// The greatest sequence number.
    pub fn last_sequence(&self) -> Option<i64> {
        self.files.values().flatten().map(|file| file.sequence.1).max()
    }
}

fn place_of(entry: &Avro) -> Option<Place> {
    let Some(Avro::Bytes(partition)) = field(entry, "_PARTITION") else { return None };
    Some((partition.clone(), number(entry, "_BUCKET")?))
}

fn bytes_of(file: &Avro, name: &str) -> Option<Vec<u8>> {
    match field(file, name)? {
        Avro::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    }
}

fn live(entry: &Avro, path: Option<String>) -> Option<LiveFile> {
    let file = field(entry, "_FILE")?;
    let bytes = |name: &str| bytes_of(file, name);
    Some(LiveFile {
        name: text(file, "_FILE_NAME")?.to_owned(),
        level: number(file, "_LEVEL")?,
        bytes: u64::try_from(number(file, "_FILE_SIZE")?).ok()?,
        rows: number(file, "_ROW_COUNT")?,
        sequence: (number(file, "_MIN_SEQUENCE_NUMBER")?, number(file, "_MAX_SEQUENCE_NUMBER")?),
        schema_id: number(file, "_SCHEMA_ID")?,
        keys: (bytes("_MIN_KEY")?, bytes("_MAX_KEY")?),
        entry: as_ours(entry, file)?,
        path,
    })
}

/// An entry that anybody wrote, as we write it.
fn as_ours(entry: &Avro, file: &Avro) -> Option<Avro> {
    let int = |of: &Avro, name: &str| Some(Avro::Int(i32::try_from(number(of, name)?).ok()?));
    let long = |name: &str| Some(Avro::Long(number(file, name)?));
    let optional = |value: Option<Avro>| value.map_or_else(none, some);
    let strings = |name: &str| match field(file, name) {
        Some(Avro::Array(items)) => {
            Some(items.iter().filter(|item| matches!(item, Avro::String(_))).cloned().collect())
        }
        _ => None,
    };
    let time = match field(file, "_CREATION_TIME") {
        Some(Avro::TimestampMillis(time) | Avro::Long(time)) => Some(Avro::TimestampMillis(*time)),
        _ => None,
    };
    let ours = record(vec![
        ("_FILE_NAME", Avro::String(text(file, "_FILE_NAME")?.to_owned())),
        ("_FILE_SIZE", long("_FILE_SIZE")?),
        ("_ROW_COUNT", long("_ROW_COUNT")?),
        ("_MIN_KEY", Avro::Bytes(bytes_of(file, "_MIN_KEY")?)),
        ("_MAX_KEY", Avro::Bytes(bytes_of(file, "_MAX_KEY")?)),
        ("_KEY_STATS", Stats::checked(field(file, "_KEY_STATS"))?),
        ("_VALUE_STATS", Stats::checked(field(file, "_VALUE_STATS"))?),
        ("_MIN_SEQUENCE_NUMBER", long("_MIN_SEQUENCE_NUMBER")?),
        ("_MAX_SEQUENCE_NUMBER", long("_MAX_SEQUENCE_NUMBER")?),
        ("_SCHEMA_ID", long("_SCHEMA_ID")?),
        ("_LEVEL", int(file, "_LEVEL")?),
        ("_EXTRA_FILES", Avro::Array(strings("_EXTRA_FILES").unwrap_or_default())),
        ("_CREATION_TIME", optional(time)),
        ("_DELETE_ROW_COUNT", optional(long("_DELETE_ROW_COUNT"))),
        ("_EMBEDDED_FILE_INDEX", optional(bytes_of(file, "_EMBEDDED_FILE_INDEX").map(Avro::Bytes))),
        ("_FILE_SOURCE", optional(int(file, "_FILE_SOURCE"))),
        ("_VALUE_STATS_COLS", optional(strings("_VALUE_STATS_COLS").map(Avro::Array))),
        ("_EXTERNAL_PATH", optional(text(file, "_EXTERNAL_PATH").map(|path| Avro::String(path.to_owned())))),
        ("_FIRST_ROW_ID", optional(long("_FIRST_ROW_ID"))),
        ("_WRITE_COLS", optional(strings("_WRITE_COLS").map(Avro::Array))),
    ]);
    Some(record(vec![
        ("_VERSION", int(entry, "_VERSION")?),
        ("_KIND", Avro::Int(0)),
        ("_PARTITION", Avro::Bytes(bytes_of(entry, "_PARTITION")?)),
        ("_BUCKET", int(entry, "_BUCKET")?),
        ("_TOTAL_BUCKETS", int(entry, "_TOTAL_BUCKETS")?),
        ("_FILE", ours),
    ]))
}

/// The entry that takes a file out of the table.
pub fn deleted(entry: &Avro) -> Avro {
    match entry {
        Avro::Record(fields) => {
            let kind = |(name, value): &(String, Avro)| match name.as_str() {
                "_KIND" => (name.clone(), Avro::Int(1)),
                _ => (name.clone(), value.clone()),
            };
            Avro::Record(fields.iter().map(kind).collect())
        }
        other => other.clone(),
    }
}

/// What is left of entries that follow each other: a file that was added and taken out again is not named any more. Files that
/// are taken out come first; they were added by manifests before these.
pub fn folded(entries: Vec<Avro>) -> Vec<Avro> {
    let name = |entry: &Avro| field(entry, "_FILE").and_then(|file| text(file, "_FILE_NAME")).map(str::to_owned);
    let mut order: Vec<Option<Avro>> = Vec::with_capacity(entries.len());
    let (mut added, mut removed) = (BTreeMap::new(), Vec::new());
    for entry in entries {
        match (number(&entry, "_KIND"), name(&entry)) {
            (Some(1), Some(name)) => match added.remove(&name) {
                Some(place) => order[place] = None,
                None => removed.push(entry),
            },
            (_, name) => {
                if let Some(name) = name {
                    added.insert(name, order.len());
                }
                order.push(Some(entry));
            }
        }
    }
    removed.into_iter().chain(order.into_iter().flatten()).collect()
}
