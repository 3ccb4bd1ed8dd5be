//! `weir.layout` and what goes with it: in which form a topic's records are stored.
use std::sync::Arc;

use weir_column::Codec;
use weir_layout::TopicLayout;
use weir_storage::log::Layout;
use weir_table::Table;

use super::{TopicConfigs, items};

/// Which forms, and how columns are compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutSettings {
    kind: Kind,
    codec: Codec,
    row_retention_ms: u64,
    cluster_by: Vec<String>,
    bloom_filters: Vec<String>,
    uncompressed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Row,
    Column,
    Both,
}

impl LayoutSettings {
    /// Out of configs that were admitted. Compaction works on rows: a compacted topic has no columns.
    pub fn of(configs: &TopicConfigs, compacted: bool, is_typed: bool) -> LayoutSettings {
        let number = |name: &str, default: i64| configs.get(name).parse().unwrap_or(default); // admitted values parse
        let names = |name: &str| items(configs.get(name)).map(str::to_owned).collect();
        LayoutSettings {
            kind: match configs.get("weir.layout") {
                _ if compacted => Kind::Row,
                "column" => Kind::Column,
                "both" => Kind::Both,
                "auto" if is_typed => Kind::Column,
                _ => Kind::Row,
            },
            codec: match configs.get("weir.column.compression") {
                "none" => Codec::None,
                "lz4" => Codec::Lz4,
                _ => Codec::Zstd(number("weir.column.zstd.level", 3) as i32),
            },
            row_retention_ms: number("weir.row.retention.ms", 0).max(0) as u64,
            cluster_by: names("weir.cluster.by"),
            bloom_filters: names("weir.column.bloom.filters"),
            uncompressed: names("weir.column.uncompressed"),
        }
    }

    /// Whether merges make columns of rows.
    pub fn has_columns(&self) -> bool {
        self.kind != Kind::Row
    }

    /// Whether rows are stored in windows, grouped by the values of columns.
    pub fn is_clustered(&self) -> bool {
        self.kind != Kind::Row && !self.cluster_by.is_empty()
    }

    /// For a topic that is this table.
    pub fn of_table(&self, table: Option<&Arc<Table>>) -> Layout {
        if self.kind == Kind::Row {
            return Layout::Row;
        }
        let layout = TopicLayout::new(table.cloned(), self.codec)
            .clustered_by(&self.cluster_by)
            .with_bloom_filters(&self.bloom_filters)
            .with_uncompressed(&self.uncompressed);
        let layout = Arc::new(layout);
        match self.kind {
            Kind::Both => Layout::Both { layout },
            _ => Layout::Column { layout, row_retention_ms: self.row_retention_ms },
        }
    }
}
