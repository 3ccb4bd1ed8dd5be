//! Log compaction (`cleanup.policy=compact`).
use std::sync::Arc;

use super::engine::Storage;

pub(super) async fn run(_storage: &Arc<Storage>) {}
