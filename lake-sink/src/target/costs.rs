//! What a commit costs: about the same for ever, however many were before it.
//!
//! A merged manifest is written again until it is large enough to be left alone, so bytes grow a little before they stay.
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_storage::cpu::CpuPool;

use crate::plan::RoundLimits;
use crate::round::TableRounds;
use crate::settings::{Format, LakeSettings};
use crate::testing::lake::{FaultyStore, TestFormat};
use crate::testing::log::TestLog;

/// One of them has all that happens now and then: merged manifests, expired snapshots.
const WINDOW: usize = 100;
/// Commits a minute apart, so that snapshots expire.
const APART_MS: i64 = 60_000;

#[derive(Debug, Clone, Copy)]
struct Cost {
    operations: f64,
    bytes: f64,
    time: Duration,
}

/// Of each commit, from the first one on.
async fn costs(format: TestFormat, commits: usize) -> Vec<Cost> {
    let (log, store) = (TestLog::new(1), FaultyStore::default());
    let table = log.table().unwrap();
    let settings = LakeSettings {
        format: Format::Parquet,
        path: "/never-opened".to_owned(),
        namespace: "weir".to_owned(),
        freshness: Duration::from_secs(1),
        partition_by: "".parse().unwrap(),
        key: None,
        compaction: false,
        rest_catalog: false,
        paused: false,
    };
    let (source, target) = (Arc::new(log.clone()), format.target(&store, &table, ""));
    let rounds = TableRounds::new(source, settings, RoundLimits::default(), CpuPool::new(1));
    let mut rounds = rounds.with_target(table, target);
    let mut costs = Vec::with_capacity(commits);
    for commit in 0..commits as i64 {
        log.append(0, 10);
        let (operations, bytes, begun) = (store.steps(), store.bytes_moved(), Instant::now());
        rounds.run(1_700_000_000_000 + commit * APART_MS).await.unwrap().unwrap();
        let bytes = (store.bytes_moved() - bytes) as f64;
        costs.push(Cost { operations: (store.steps() - operations) as f64, bytes, time: begun.elapsed() });
    }
    costs
}

fn mean(costs: &[Cost], of: impl Fn(&Cost) -> f64) -> f64 {
    costs.iter().map(of).sum::<f64>() / costs.len() as f64
}

/// Most bytes that a commit reads and writes on average, with its own files. In Iceberg a share of the merged manifest, which is
/// bounded, is among them; manifests of Paimon are merged by their size, so an entry is written again a few times in all.
fn bytes_max(format: TestFormat) -> f64 {
    match format {
        TestFormat::Paimon => 40_000.0,
        TestFormat::Parquet | TestFormat::Iceberg | TestFormat::IcebergRest => 200_000.0,
    }
}

async fn expect_flat(format: TestFormat, commits: usize) {
    let costs = costs(format, commits).await;
    // What grows up to its bound at first is as large as it gets after the first window.
    let (early, late) = (&costs[WINDOW..2 * WINDOW], &costs[commits - WINDOW..]);
    let figures = |of: fn(&Cost) -> f64| (mean(&costs[..10], of), mean(early, of), mean(late, of));
    let (operations, bytes) = (figures(|cost| cost.operations), figures(|cost| cost.bytes));
    let millis = figures(|cost| cost.time.as_secs_f64() * 1e3);
    println!(
        "{format:?}, mean of the first 10, the second 100, and the last 100 of {commits} commits: operations {operations:.1?}, \
         bytes {bytes:.0?}, ms {millis:.2?}"
    );
    assert!(operations.2 <= operations.1 * 1.2, "{format:?}: operations {operations:?}");
    assert!(bytes.2 <= bytes_max(format), "{format:?}: bytes {bytes:?}");
}

#[tokio::test]
async fn a_commit_costs_about_the_same_however_many_were_before_it() {
    for format in TestFormat::ALL {
        expect_flat(format, 400).await;
    }
}

/// As above, for figures: `cargo test -p weir-lake-sink costs -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes minutes"]
async fn a_commit_costs_about_the_same_after_two_thousand_others() {
    for format in TestFormat::ALL {
        expect_flat(format, 2_000).await;
    }
}
