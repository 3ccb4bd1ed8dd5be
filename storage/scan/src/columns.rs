//! Which columns of a topic are read, and what makes them out of records.
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use parking_lot::Mutex;
#[cfg(feature = "log")]
use weir_storage::log::{PartitionKey, ReadLimit};
use weir_table::schema::{Field, MappingError, ReadMapping};
use weir_table::{RowDecoder, Table, TableSchema};

#[cfg(feature = "log")]
use crate::cache::SeriesKey;
use crate::system::SystemBuilder;

/// Decoders kept for the next scan: they know the shape of the rows they have seen.
const IDLE_MAX: usize = 4;

/// The columns that a plan reads: those of the table first, then system columns.
#[derive(Debug)]
pub struct Columns {
    schema: SchemaRef,
    user: Option<UserColumns>,
    /// Decoders that nobody uses now.
    idle: Mutex<Vec<RowDecoder>>,
}

#[derive(Debug)]
struct UserColumns {
    table: Arc<Table>,
    version: Arc<TableSchema>,
    /// Positions in the version.
    read: Vec<usize>,
    /// Positions of all columns that are read, system columns too.
    all: Arc<[usize]>,
}

impl Columns {
    /// The columns at `read` of a topic's `schema`.
    pub fn new(schema: &Schema, table: Option<(&Arc<Table>, &Arc<TableSchema>)>, read: &BTreeSet<usize>) -> Columns {
        let fields: Vec<_> = read.iter().map(|at| schema.fields()[*at].clone()).collect();
        let all: Arc<[usize]> = read.iter().copied().collect();
        let user = table.map(|(table, version)| {
            let read = read.iter().copied().filter(|at| *at < version.fields.len()).collect();
            UserColumns { table: table.clone(), version: version.clone(), read, all: all.clone() }
        });
        let user = user.filter(|user| !user.read.is_empty());
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        Columns { schema, user, idle: Mutex::default() }
    }

    /// What is read.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    #[cfg(feature = "log")]
    /// What decoded rows of these columns are kept under; `None`: nothing is decoded for them, so nothing is kept.
    pub fn series(&self, partition: PartitionKey, limit: ReadLimit) -> Option<SeriesKey> {
        let user = self.user.as_ref()?;
        let (table, version, columns) = (user.table.clone(), user.version.version, user.all.clone());
        Some(SeriesKey { partition, limit, table, version, columns })
    }

    /// Reads the user columns; give it back.
    pub fn decoder(&self) -> Option<RowDecoder> {
        let user = self.user.as_ref()?;
        let idle = self.idle.lock().pop();
        Some(idle.unwrap_or_else(|| user.table.scanner(&user.version, &user.read)))
    }

    /// Takes a decoder back.
    pub fn give_back(&self, mut decoder: RowDecoder) {
        decoder.clear();
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(decoder);
        }
    }

    /// How the user columns come out of stored columns of another version; `None` if no user column is read. Every one is
    /// nullable: what is stored may be older than the version.
    pub fn mapping(&self, stored: &TableSchema) -> Result<Option<ReadMapping>, MappingError> {
        let Some(user) = &self.user else { return Ok(None) };
        let fields = user.read.iter().map(|at| Field { nullable: true, ..user.version.fields[*at].clone() }).collect();
        let wanted = TableSchema { fields, ..TableSchema::clone(&user.version) };
        ReadMapping::new(stored, &wanted).map(Some)
    }

    /// How many of the columns are the user's; the others are system columns.
    pub fn user_count(&self) -> usize {
        self.user.as_ref().map_or(0, |user| user.read.len())
    }

    /// Build the system columns.
    pub fn system(&self) -> Vec<SystemBuilder> {
        self.schema
            .fields()
            .iter()
            .skip(self.user_count())
            .filter_map(|field| SystemBuilder::new(field.name()))
            .collect()
    }
}
