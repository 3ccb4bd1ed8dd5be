//! What a reader may not see: columns that are not there for it, and rows that are hidden before anything of its own is looked at.
//!
//! A rule about rows is bound to columns by their field ids, under the names that they had when the rule was made: a renamed column
//! is still meant, and a new one of the old name is not. A rule that cannot be followed any more hides every row.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::{Schema, SchemaRef};
use weir_predicate::{Clock, ContainerStatistics, EvaluateError, Matches, PlanError, Predicate};
use weir_table::TableSchema;
use weir_table::schema::{Field, FieldId};

use crate::plan::batch_of;
use crate::records::RecordParts;
use crate::system::{HEADERS, KEY, OFFSET, PARTITION, TIMESTAMP, VALUE, system_schema, topic_schema};

/// What of a topic somebody may read. The default is everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Restriction {
    /// `None`: every column.
    pub columns: Option<Readable>,
    /// `None`: every row.
    pub rows: Option<RowRule>,
}

/// Columns that may be read. `_partition`, `_offset` and `_timestamp` always may.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Readable {
    /// Columns of the table.
    pub fields: BTreeSet<FieldId>,
    /// Of `_key`, `_value` and `_headers`.
    pub parts: RecordParts,
}

/// Rows that may be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowRule {
    /// None of them: the reason is for whoever runs the broker.
    Nothing(String),
    /// Those for which this is true.
    Where {
        /// A predicate without a clock.
        text: String,
        /// The table's columns in it: the names that it uses, and which columns these are.
        columns: BTreeMap<String, FieldId>,
    },
}

impl RowRule {
    /// The rule that `text` is over the columns of a topic as they are now.
    pub fn new(text: &str, table: Option<&TableSchema>) -> Result<RowRule, PlanError> {
        let schema = table.map_or_else(system_schema, topic_schema);
        let predicate = Predicate::plan(text.as_bytes(), &schema, Clock::Refused)?;
        let fields = table.map_or(&[][..], |table| table.fields.as_slice());
        let used = |field: &&Field| predicate.columns().fields().iter().any(|used| *used.name() == field.name);
        let columns = fields.iter().filter(used).map(|field| (field.name.clone(), field.id)).collect();
        Ok(RowRule::Where { text: text.to_owned(), columns })
    }
}

impl Restriction {
    /// The places in `schema` of what may be named. `table`: whose columns come first in it.
    pub(crate) fn visible(&self, schema: &Schema, table: Option<&TableSchema>) -> Vec<usize> {
        let user = table.map_or(&[][..], |table| table.fields.as_slice());
        let may = |at: &usize| {
            let Some(readable) = &self.columns else { return true };
            match user.get(*at) {
                Some(field) => readable.fields.contains(&field.id),
                None => match schema.field(*at).name().as_str() {
                    PARTITION | OFFSET | TIMESTAMP => true,
                    KEY => readable.parts.key,
                    VALUE => readable.parts.value,
                    HEADERS => readable.parts.headers,
                    _ => false,
                },
            }
        };
        (0..schema.fields().len()).filter(may).collect()
    }

    /// What of a record may be shown as it was produced.
    pub(crate) fn parts(&self) -> RecordParts {
        self.columns.as_ref().map_or(RecordParts::ALL, |readable| readable.parts)
    }

    pub(crate) fn guard(&self, schema: &SchemaRef, table: Option<&TableSchema>) -> Option<Guard> {
        self.rows.as_ref().map(|rule| Guard::plan(rule, schema, table))
    }
}

/// Which rows a reader may know of.
#[derive(Debug)]
pub(crate) struct Guard {
    /// With the name, in what is read, of each of its columns. The error is why no row may be seen.
    bound: Result<(Predicate, Vec<String>), String>,
}

impl Guard {
    /// `schema`: the topic's, in which the columns of `table` come first.
    fn plan(rule: &RowRule, schema: &SchemaRef, table: Option<&TableSchema>) -> Guard {
        Guard { bound: bind(rule, schema, table) }
    }

    /// Why every row is hidden, if every row is.
    pub(crate) fn hides_all(&self) -> Option<&str> {
        self.bound.as_ref().err().map(String::as_str)
    }

    /// Names of the columns that it reads.
    pub(crate) fn columns(&self) -> &[String] {
        self.bound.as_ref().map_or(&[], |(_, columns)| columns)
    }

    /// Rows of a batch that may be seen: an error hides its row.
    pub(crate) fn evaluate(
        &self,
        batch: &RecordBatch,
        proceed: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<Matches, EvaluateError> {
        let rows = batch.num_rows();
        let Ok((predicate, names)) = &self.bound else {
            return Ok(Matches { rows: BooleanBuffer::new_unset(rows), matched: 0, errored: Vec::new() });
        };
        let column = |name: &String| {
            batch.column_by_name(name).cloned().ok_or_else(|| EvaluateError::MissingColumn { column: name.clone() })
        };
        let columns = names.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let input = batch_of(predicate.columns(), columns, rows);
        let input = input.map_err(|error| EvaluateError::Stopped { reason: error.to_string() })?;
        predicate.evaluate(&input, proceed)
    }

    /// One flag per container: false where no row may be seen.
    pub(crate) fn prune(&self, statistics: &dyn ContainerStatistics) -> Vec<bool> {
        match &self.bound {
            Err(_) => vec![false; statistics.containers()],
            Ok((predicate, names)) => {
                let aliases = predicate.columns().fields().iter().zip(names);
                let names = aliases.map(|(alias, name)| (alias.name().as_str(), name.as_str())).collect();
                predicate.prune(&Renamed { names, statistics })
            }
        }
    }
}

fn bind(rule: &RowRule, schema: &SchemaRef, table: Option<&TableSchema>) -> Result<(Predicate, Vec<String>), String> {
    let (text, columns) = match rule {
        RowRule::Nothing(reason) => return Err(reason.clone()),
        RowRule::Where { text, columns } => (text, columns),
    };
    let user = table.map_or(&[][..], |table| table.fields.as_slice());
    // Under the names of the rule: what is called so now may be another column.
    let mut fields = Vec::with_capacity(columns.len());
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, id) in columns {
        let place = user.iter().position(|field| field.id == *id);
        let at = place.ok_or_else(|| format!("column {name}, which its row filter uses, is gone"))?;
        fields.push(Arc::new(schema.field(at).clone().with_name(name)));
        names.insert(name, &user[at].name);
    }
    fields.extend(schema.fields().iter().skip(user.len()).cloned());
    let predicate = Predicate::plan(text.as_bytes(), &Arc::new(Schema::new(fields)), Clock::Refused);
    let predicate = predicate.map_err(|error| format!("its row filter does not fit the table any more: {error}"))?;
    let source = |field: &Arc<arrow_schema::Field>| {
        let alias = field.name().as_str();
        names.get(alias).copied().unwrap_or(alias).to_owned()
    };
    let sources = predicate.columns().fields().iter().map(source).collect();
    Ok((predicate, sources))
}

/// Whether the rule's columns are the same in two versions of a table, names aside: a row must not be judged otherwise for a reader
/// who asks for an old version.
pub(crate) fn judges_alike(rule: &RowRule, one: &TableSchema, other: &TableSchema) -> bool {
    let RowRule::Where { columns, .. } = rule else { return true };
    let of = |table: &TableSchema, id: FieldId| {
        let field = table.fields.iter().find(|field| field.id == id)?;
        Some(Field { name: String::new(), ..field.clone() })
    };
    columns.values().all(|id| of(one, *id) == of(other, *id))
}

/// Statistics under the names of a rule.
struct Renamed<'a> {
    names: BTreeMap<&'a str, &'a str>,
    statistics: &'a dyn ContainerStatistics,
}

impl Renamed<'_> {
    fn name<'n>(&'n self, alias: &'n str) -> &'n str {
        self.names.get(alias).copied().unwrap_or(alias)
    }
}

impl ContainerStatistics for Renamed<'_> {
    fn containers(&self) -> usize {
        self.statistics.containers()
    }

    fn min(&self, column: &str) -> Option<arrow_array::ArrayRef> {
        self.statistics.min(self.name(column))
    }

    fn max(&self, column: &str) -> Option<arrow_array::ArrayRef> {
        self.statistics.max(self.name(column))
    }

    fn null_counts(&self, column: &str) -> Option<arrow_array::ArrayRef> {
        self.statistics.null_counts(self.name(column))
    }

    fn row_counts(&self) -> Option<arrow_array::ArrayRef> {
        self.statistics.row_counts()
    }

    fn may_hold(&self, column: &str, values: &arrow_array::ArrayRef) -> Option<Vec<bool>> {
        self.statistics.may_hold(self.name(column), values)
    }
}

/// What became of the rows of a batch.
pub(crate) struct Judged {
    /// Rows that are returned; errors are those of the reader's own predicate.
    pub(crate) matches: Matches,
    /// Rows that the reader may know of; `None`: all of them.
    visible: Option<BooleanBuffer>,
}

impl Judged {
    /// By a predicate alone.
    pub(crate) fn open(matches: Matches) -> Judged {
        Judged { matches, visible: None }
    }

    /// By a guard, and by a predicate over the rows that it leaves: `matches` counts these.
    pub(crate) fn guarded(seen: Matches, matches: Option<Matches>) -> Judged {
        let Some(inner) = matches else {
            let visible = Some(seen.rows.clone());
            return Judged { matches: Matches { errored: Vec::new(), ..seen }, visible };
        };
        let mut rows = BooleanBufferBuilder::new(seen.rows.len());
        rows.append_n(seen.rows.len(), false);
        let places: Vec<usize> = seen.rows.set_indices().collect();
        inner.rows.set_indices().filter_map(|nth| places.get(nth)).for_each(|row| rows.set_bit(*row, true));
        let errored = inner.errored.iter().filter_map(|nth| places.get(*nth).copied()).collect();
        let matches = Matches { rows: rows.finish(), matched: inner.matched, errored };
        Judged { matches, visible: Some(seen.rows) }
    }

    /// The offsets that the reader may know of, of one for each row.
    pub(crate) fn visible_of(&self, offsets: Vec<i64>) -> Vec<i64> {
        match &self.visible {
            None => offsets,
            Some(visible) => visible.set_indices().filter_map(|row| offsets.get(row).copied()).collect(),
        }
    }
}

/// The rows of a batch that a guard leaves.
pub(crate) fn guarded_batch(batch: &RecordBatch, seen: &Matches) -> Result<RecordBatch, arrow_schema::ArrowError> {
    let mask = BooleanArray::new(seen.rows.clone(), None);
    let filter = arrow_select::filter::FilterBuilder::new(&mask).build();
    let columns = batch.columns().iter().map(|column| filter.filter(column)).collect::<Result<Vec<_>, _>>()?;
    batch_of(&batch.schema(), columns, seen.matched)
}
