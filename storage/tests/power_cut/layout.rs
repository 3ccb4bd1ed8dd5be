//! Rows, as most topics have them. The same histories over column files are in `storage/layout/tests`.
use std::sync::Arc;
use weir_storage::log::Layout;
use weir_storage::segment::ColumnFormat;

pub fn layout() -> Layout {
    Layout::Row
}

pub fn format() -> Option<Arc<dyn ColumnFormat>> {
    None
}
