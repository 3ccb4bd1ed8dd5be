//! From settings and source to the plan of a view. No IO.
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use weir_registry::Registry;
use weir_scan::{RecordParts, ScanPlan, ScanRequest};
use weir_table::schema::FieldId;
use weir_table::table::{FormatKind, RowFormat, WriterSchema};
use weir_table::{RowEncoder, Table, TableSchema};

use super::{View, ViewError, ViewSettings, ViewState, avro, protobuf};
use crate::tables::{DerivedSchema, Schemas, Typing};
use crate::topics::Topic;

/// The view `name` that `settings` make of `source`. `before`: what its expressions meant until now.
pub fn bind(
    name: &str,
    settings: &ViewSettings,
    source: &Topic,
    before: Option<&View>,
    schemas: &Schemas,
) -> Result<View, ViewError> {
    let source_name = || source.name.clone();
    if source.is_internal() {
        return Err(ViewError::BadSource { source_name: source_name(), kind: "an internal topic" });
    }
    if source.view.is_some() {
        return Err(ViewError::BadSource { source_name: source_name(), kind: "a view itself" });
    }
    let (state, columns) = match &source.table.typing {
        Typing::Waiting { reason } => {
            return Err(ViewError::Waiting { source_name: source_name(), reason: reason.clone() });
        }
        Typing::Untyped => (ViewState::Ready(Arc::new(of_records(settings, source)?)), BTreeMap::new()),
        Typing::Typed(table) => {
            let encoder = Encoder { view: name, table, schemas, unregistered: Cell::new(None) };
            let plan = of_table(settings, table, &encoder)?;
            let columns = used(settings, &plan, table.current());
            let state = match encoder.unregistered.take() {
                None => ViewState::Ready(Arc::new(plan)),
                Some((subject, schema)) => ViewState::Unregistered { subject, schema },
            };
            (state, columns)
        }
    };
    for (name, id) in before.iter().flat_map(|view| &view.columns) {
        if columns.get(name).is_some_and(|now| now != id) {
            return Err(ViewError::OtherColumn { column: name.clone() });
        }
    }
    Ok(View { source: source.id, source_name: source_name(), columns, state })
}

fn of_records(settings: &ViewSettings, source: &Topic) -> Result<ScanPlan, ViewError> {
    let parts = match &settings.select {
        None => RecordParts::ALL,
        Some(names) => RecordParts::named(names)
            .map_err(|column| ViewError::NoPart { source_name: source.name.clone(), column })?,
    };
    Ok(ScanPlan::view_of_records(parts, predicate(settings))?)
}

fn of_table(settings: &ViewSettings, table: &Arc<Table>, encoder: &Encoder<'_>) -> Result<ScanPlan, ViewError> {
    let request = ScanRequest { projection: settings.select.clone(), predicate: predicate(settings) };
    Ok(ScanPlan::view_of_table(table, &request, &|columns| encoder.of(columns))?)
}

/// Makes what writes the rows of a view.
struct Encoder<'a> {
    view: &'a str,
    table: &'a Arc<Table>,
    schemas: &'a Schemas,
    /// Subject and schema, if it has no id yet.
    unregistered: Cell<Option<(String, DerivedSchema)>>,
}

impl Encoder<'_> {
    fn of(&self, columns: &Arc<TableSchema>) -> Result<RowEncoder, String> {
        let format = self.table.value_format();
        let encoder = match format.kind {
            FormatKind::Json => self.table.encoder(columns),
            FormatKind::Protobuf => {
                let derived = protobuf::derive(format, columns, &self.table.former_names(columns));
                match derived.and_then(|derived| self.framed(columns, derived)) {
                    Ok(table) => table.encoder(columns),
                    // A message may leave fields out, so the source's schema says rows of the view as well.
                    Err(reason) => {
                        tracing::debug!(view = self.view, reason, "rows of the view have the schema of its source");
                        self.table.encoder(columns)
                    }
                }
            }
            FormatKind::Avro => {
                let writer = format.schema.as_ref().ok_or("the source has no schema that is newest")?;
                let text = avro::derive(writer, columns)?;
                let (written, message) = (text.clone(), vec![0]);
                let schema = DerivedSchema { format: FormatKind::Avro, text, written, message };
                self.framed(columns, schema)?.encoder(columns)
            }
        };
        encoder.map_err(|error| error.to_string())
    }

    /// The view's rows as a table of their own, with its own schema.
    fn framed(&self, columns: &Arc<TableSchema>, derived: DerivedSchema) -> Result<Arc<Table>, String> {
        let subject = Registry::value_subject(self.view);
        let id = self.schemas.id_of(&subject, &derived);
        let (text, message) = (derived.written.clone(), derived.message.clone());
        let schema = WriterSchema { id: id.or(Some(0)), text, references: Vec::new() };
        let value = RowFormat { schema: Some(Arc::new(schema)), message, ..self.table.value_format().clone() };
        let shown = |id: &FieldId| columns.fields.iter().any(|field| field.id == *id);
        let keys = columns.key_columns.iter().copied().filter(shown).collect::<Vec<_>>();
        let key = self.table.key_format().filter(|_| !keys.is_empty()).cloned();
        let schema = Arc::new(TableSchema { key_columns: keys, ..TableSchema::clone(columns) });
        let names = self.table.former_names(columns);
        let table = Table::with_names(vec![schema], value, key, *self.table.options(), names);
        let table = table.map_err(|error| error.to_string())?;
        if id.is_none() {
            self.unregistered.set(Some((subject, derived)));
        }
        Ok(Arc::new(table))
    }
}

fn predicate(settings: &ViewSettings) -> Option<Vec<u8>> {
    settings.predicate.as_ref().map(|text| text.as_bytes().to_vec())
}

/// The top-level columns that the view's expressions name.
fn used(settings: &ViewSettings, plan: &ScanPlan, schema: &TableSchema) -> BTreeMap<String, i32> {
    let selected = plan.output().fields().iter().filter(|_| settings.select.is_some());
    let filtered = plan.predicate().into_iter().flat_map(|predicate| predicate.columns().fields().iter());
    let id = |name: &str| schema.fields.iter().find(|field| field.name == name).map(|field| field.id.0);
    selected.chain(filtered).filter_map(|field| Some((field.name().clone(), id(field.name())?))).collect()
}
