//! Columns, and rows beside them for twenty milliseconds.
use std::sync::Arc;
use weir_layout::{Format, TopicLayout};
use weir_storage::log::Layout;
use weir_storage::memory::MemoryBudget;
use weir_storage::segment::ColumnFormat;

pub fn layout() -> Layout {
    let layout = Arc::new(TopicLayout::new(None, weir_column::Codec::Lz4));
    Layout::Column { layout, row_retention_ms: 20 }
}

pub fn format() -> Option<Arc<dyn ColumnFormat>> {
    Some(Arc::new(Format::new(MemoryBudget::new(64 << 20))))
}
