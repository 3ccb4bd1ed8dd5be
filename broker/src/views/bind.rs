//! From settings and source to the plan of a view. No IO.
use std::collections::BTreeMap;
use std::sync::Arc;

use weir_scan::{RecordParts, ScanPlan, ScanRequest};
use weir_table::table::FormatKind;
use weir_table::{RowEncoder, Table, TableSchema};

use super::{View, ViewError, ViewSettings, ViewState};
use crate::tables::Typing;
use crate::topics::Topic;

/// The view that `settings` make of `source`. `before`: what its expressions meant until now.
pub fn bind(settings: &ViewSettings, source: &Topic, before: Option<&View>) -> Result<View, ViewError> {
    let source_name = || source.name.clone();
    if source.is_internal() {
        return Err(ViewError::BadSource { source_name: source_name(), kind: "an internal topic" });
    }
    if source.view.is_some() {
        return Err(ViewError::BadSource { source_name: source_name(), kind: "a view itself" });
    }
    let (plan, columns) = match &source.table.typing {
        Typing::Waiting { reason } => {
            return Err(ViewError::Waiting { source_name: source_name(), reason: reason.clone() });
        }
        Typing::Untyped => (of_records(settings, source)?, BTreeMap::new()),
        Typing::Typed(table) => {
            let plan = of_table(settings, table)?;
            let columns = used(settings, &plan, table.current());
            (plan, columns)
        }
    };
    for (name, id) in before.iter().flat_map(|view| &view.columns) {
        if columns.get(name).is_some_and(|now| now != id) {
            return Err(ViewError::OtherColumn { column: name.clone() });
        }
    }
    Ok(View { source: source.id, source_name: source_name(), columns, state: ViewState::Ready(Arc::new(plan)) })
}

fn of_records(settings: &ViewSettings, source: &Topic) -> Result<ScanPlan, ViewError> {
    let parts = match &settings.select {
        None => RecordParts::ALL,
        Some(names) => RecordParts::named(names)
            .map_err(|column| ViewError::NoPart { source_name: source.name.clone(), column })?,
    };
    Ok(ScanPlan::view_of_records(parts, predicate(settings))?)
}

fn of_table(settings: &ViewSettings, table: &Arc<Table>) -> Result<ScanPlan, ViewError> {
    let request = ScanRequest { projection: settings.select.clone(), predicate: predicate(settings) };
    let encoder = |columns: &Arc<TableSchema>| encoder(table, columns);
    Ok(ScanPlan::view_of_table(table, &request, &encoder)?)
}

fn encoder(table: &Arc<Table>, columns: &Arc<TableSchema>) -> Result<RowEncoder, String> {
    match table.value_format().kind {
        FormatKind::Json => table.encoder(columns).map_err(|error| error.to_string()),
        kind => Err(format!("{kind:?} rows need every field of their schema")),
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
