//! The histories of `storage/tests/power_cut` over topics that are stored as columns, with rows beside them for a while (LOG-1, LOG-2, WAL-1).
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, reason = "the model serves more tests there")]

#[path = "../../../tests/power_cut/histories.rs"]
mod histories;
#[path = "../../../tests/power_cut/model.rs"]
mod model;

mod layout;
