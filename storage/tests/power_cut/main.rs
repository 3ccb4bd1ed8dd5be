//! The storage engine and the metadata store on a disk that loses what was not synced (LOG-1, LOG-2, LOG-3, LOG-4, WAL-2).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damage;
mod faults;
mod histories;
mod metadata;
mod model;
