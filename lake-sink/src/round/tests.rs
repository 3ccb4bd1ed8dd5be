//! Exactly once: a table is tiered while every single step of it fails, crashes or has an outcome that nobody knows, and
//! while a second writer believes that it is the only one. Then every row is in the table once.
//!
//! Seen failing: with `Exists` taken for success in `publish`, without the announcement (ranges chosen anew after a crash),
//! without the look for newer commits after one was created, and with the topic's id ignored.
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::settings::Format;
use crate::testing::lake::{Fault, FaultyStore, TestFormat, rows_in};
use crate::testing::log::TestLog;

const NOW: i64 = 1_700_000_000_000;
const PARTITIONS: i32 = 2;

fn settings(by: &str) -> LakeSettings {
    LakeSettings {
        format: Format::Parquet,
        path: "/never-opened".to_owned(),
        namespace: "weir".to_owned(),
        freshness: Duration::from_secs(1),
        partition_by: by.parse().unwrap(),
        key: None,
        compaction: false,
        rest_catalog: false,
        paused: false,
    }
}

fn writer(format: TestFormat, log: &TestLog, store: &FaultyStore, by: &str) -> TableRounds {
    let cpu = CpuPool::new(1);
    let limits = RoundLimits { round_bytes: 6_000, scan_bytes: 1_500 };
    let table = log.table().unwrap();
    let target = format.target(store, &table, by);
    TableRounds::new(std::sync::Arc::new(log.clone()), settings(by), limits, cpu).with_target(table, target)
}

/// Rounds until there is nothing more; the first error ends it.
async fn tier(rounds: &mut TableRounds) -> Result<usize, RoundError> {
    let mut done = 0;
    while rounds.run(NOW).await?.is_some() {
        done += 1;
    }
    Ok(done)
}

async fn expect_exact(format: TestFormat, log: &TestLog, store: &FaultyStore, what: &str) {
    let rows = rows_in(store, format).await;
    let mut found: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for (partition, offset, value) in &rows {
        assert_eq!(value, &log.value(*partition, *offset), "{what}: partition {partition} offset {offset}");
        *found.entry((*partition, *offset)).or_default() += 1;
    }
    let doubled: Vec<_> = found.iter().filter(|(_, n)| **n > 1).collect();
    assert!(doubled.is_empty(), "{what}: doubled {doubled:?}");
    let missing: Vec<_> = log.visible().into_iter().filter(|at| !found.contains_key(at)).collect();
    assert!(missing.is_empty(), "{what}: missing {missing:?}");
    assert_eq!(found.len(), log.visible().len(), "{what}: rows that the log does not have");
}

#[tokio::test]
async fn a_topic_becomes_a_table_and_its_commit_says_how_far() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
        let mut rounds = writer(format, &log, &store, "");
        assert_eq!(tier(&mut rounds).await.unwrap(), 1);
        assert_eq!(rounds.record().unwrap().partitions, BTreeMap::from([(0, 0), (1, 0)]), "an empty table");
        log.append(0, 300);
        log.append(1, 50);
        assert!(tier(&mut rounds).await.unwrap() > 1, "several rounds");
        let record = rounds.record().unwrap().clone();
        assert_eq!((record.partitions, record.rows, record.lost), (BTreeMap::from([(0, 300), (1, 50)]), 350, 0));
        expect_exact(format, &log, &store, "whole").await;
    }
}

#[tokio::test]
async fn offsets_without_rows_are_committed_too() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
        let mut rounds = writer(format, &log, &store, "");
        log.append(0, 10);
        log.append_invisible(0, 5);
        log.append_invisible(1, 3);
        tier(&mut rounds).await.unwrap();
        assert_eq!(rounds.record().unwrap().partitions, BTreeMap::from([(0, 15), (1, 3)]));
        log.append_invisible(1, 2);
        tier(&mut rounds).await.unwrap();
        assert_eq!(rounds.record().unwrap().partitions, BTreeMap::from([(0, 15), (1, 5)]));
        expect_exact(format, &log, &store, "invisible").await;
    }
}

/// Every operation on the store, one after the other, goes wrong in each way; the process dies or goes on.
async fn fail_and_crash_at_every_step(format: TestFormat) {
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::CrashBefore, Fault::CrashAfter] {
        for by in ["", "__partition"] {
            let mut step = 0;
            loop {
                let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
                log.append(0, 60);
                log.append(1, 20);
                store.arm(step, fault);
                let mut rounds = writer(format, &log, &store, by);
                let first = tier(&mut rounds).await;
                let what = format!("{format:?} {fault:?} at step {step} by `{by}`: {first:?}");
                if !store.has_struck() {
                    assert!(step > 10, "{what}: the steps were really walked through");
                    break;
                }
                if matches!(fault, Fault::CrashBefore | Fault::CrashAfter) {
                    store.restart();
                    rounds = writer(format, &log, &store, by);
                }
                // More arrived meanwhile, so that a round that is repeated would choose other ranges.
                log.append(0, 30);
                log.append(1, 1);
                tier(&mut rounds).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                expect_exact(format, &log, &store, &what).await;
                assert_eq!(rounds.record().unwrap().rows, 111, "{what}");
                step += 1;
            }
        }
    }
}

// A test for each, so that they share the cores.
#[tokio::test]
async fn whatever_step_fails_or_crashes_every_row_is_there_once_in_parquet() {
    fail_and_crash_at_every_step(TestFormat::Parquet).await;
}

#[tokio::test]
async fn whatever_step_fails_or_crashes_every_row_is_there_once_in_iceberg() {
    fail_and_crash_at_every_step(TestFormat::Iceberg).await;
}

#[tokio::test]
async fn whatever_step_fails_or_crashes_every_row_is_there_once_in_a_rest_catalog() {
    fail_and_crash_at_every_step(TestFormat::IcebergRest).await;
}

#[tokio::test]
async fn whatever_step_fails_or_crashes_every_row_is_there_once_in_paimon() {
    fail_and_crash_at_every_step(TestFormat::Paimon).await;
}

/// A writer stops at each step and sleeps while another one takes over and goes far ahead; then it wakes up.
#[tokio::test]
async fn a_writer_that_slept_harms_nothing_at_whatever_step_it_wakes_up() {
    for format in TestFormat::ALL {
        let mut step = 0;
        loop {
            let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
            log.append(0, 40);
            log.append(1, 10);
            let sleepy = store.sleeping_at(step);
            let mut zombie = writer(format, &log, &sleepy, "");
            let mut zombie = tokio::spawn(async move {
                // It goes on as a task would: whatever fails, the next round reads again.
                for _ in 0..20 {
                    let _ = zombie.run(NOW).await; // lost to the other writer, mostly
                }
            });
            tokio::select! {
                () = sleepy.asleep() => {}
                ended = &mut zombie => {
                    ended.unwrap();
                    assert!(step > 10, "{format:?}: the steps were really walked through");
                    break;
                }
            }
            let mut writer = writer(format, &log, &store, "");
            for _ in 0..25 {
                log.append(0, 7);
                log.append(1, 2);
                tier(&mut writer).await.unwrap();
            }
            sleepy.wake();
            zombie.await.unwrap();
            // Whoever lost reads again with its next round.
            while tier(&mut writer).await.is_err() {}
            expect_exact(format, &log, &store, &format!("{format:?} asleep at step {step}")).await;
            step += 1;
        }
    }
}

/// Two writers that know nothing of each other, step by step in an order that is drawn, while records arrive.
#[tokio::test]
async fn two_writers_at_once_leave_every_row_once() {
    for format in TestFormat::ALL {
        for seed in 0..60 {
            let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
            log.append(0, 5);
            let one = |seed| {
                let mut rounds = writer(format, &log, &store.jittery(seed), "");
                tokio::spawn(async move {
                    for _ in 0..10 {
                        let _ = rounds.run(NOW).await; // one of them loses
                    }
                })
            };
            let writers = [one(seed * 2), one(seed * 2 + 1)];
            for rows in 0..30 {
                log.append(rows % PARTITIONS, 1 + rows as usize % 4);
                tokio::task::yield_now().await;
            }
            for writer in writers {
                writer.await.unwrap();
            }
            tier(&mut writer(format, &log, &store, "")).await.unwrap();
            expect_exact(format, &log, &store, &format!("{format:?} two writers, seed {seed}")).await;
        }
    }
}

#[tokio::test]
async fn a_recreated_topic_stops_with_an_error_that_names_both_ids() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
        log.append(0, 10);
        tier(&mut writer(format, &log, &store, "")).await.unwrap();
        let again = TestLog::new(PARTITIONS);
        again.append(0, 50);
        let error = tier(&mut writer(format, &again, &store, "")).await.unwrap_err();
        let (found, ours) = (log.table().unwrap().topic_id, again.table().unwrap().topic_id);
        assert!(
            matches!(&error, RoundError::Pause(Pause::OtherTopic { found: f, ours: o, .. }) if *f == found && *o == ours)
        );
        expect_exact(format, &log, &store, "recreated").await;
    }
}

#[tokio::test]
async fn a_table_with_data_and_without_our_offsets_is_left_alone() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
        log.append(0, 10);
        format.make_foreign(&store).await;
        let before = store.names().await;
        let error = tier(&mut writer(format, &log, &store, "")).await.unwrap_err();
        assert!(matches!(&error, RoundError::Pause(Pause::Foreign { .. })), "{error}");
        assert_eq!(store.names().await, before);
    }
}

#[tokio::test]
async fn another_partitioning_than_the_tables_pauses() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
        log.append(0, 10);
        tier(&mut writer(format, &log, &store, "")).await.unwrap();
        let error = tier(&mut writer(format, &log, &store, "__partition")).await.unwrap_err();
        assert!(matches!(&error, RoundError::Pause(Pause::Partitioning { .. })), "{error}");
    }
}

#[tokio::test]
async fn records_deleted_before_they_were_tiered_are_a_gap_that_is_counted() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
        let mut rounds = writer(format, &log, &store, "");
        log.append(0, 10);
        tier(&mut rounds).await.unwrap();
        log.append(0, 20);
        log.delete_below(0, 25);
        tier(&mut rounds).await.unwrap();
        let record = rounds.record().unwrap();
        assert_eq!((record.partitions[&0], record.rows, record.lost), (30, 15, 15));
        assert_eq!(record.gaps, [crate::plan::Gap { partition: 0, start: 10, end: 25 }]);
    }
}

#[tokio::test]
async fn files_that_no_commit_names_are_swept_once_they_are_old_and_others_never() {
    for format in TestFormat::ALL {
        let (log, store) = (TestLog::new(PARTITIONS), FaultyStore::default());
        log.append(0, 100);
        tier(&mut writer(format, &log, &store, "")).await.unwrap();
        let whole = store.names().await;
        for orphan in format.orphans() {
            store.put(orphan).await;
        }
        let target = |store| format.target(store, &log.table().unwrap(), "");
        assert_eq!(target(&store).sweep(0).await.unwrap(), 0, "they are young");
        let swept = target(&store).sweep(i64::MAX).await.unwrap();
        assert_eq!(swept, format.orphans().len());
        assert_eq!(store.names().await, whole);
        expect_exact(format, &log, &store, "swept").await;
    }
}
