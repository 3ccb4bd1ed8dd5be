//! Seen failing: with places that slow rounds keep.
use super::*;
use crate::settings::Format;
use crate::testing::log::{Mood, TestLog};

const PATIENCE: Duration = Duration::from_secs(20);

fn limits() -> LakeLimits {
    LakeLimits {
        tables_at_once: 1,
        slow_after: Duration::from_millis(300),
        round_time_max: Duration::from_millis(600),
        ..LakeLimits::default()
    }
}

fn settings(path: &str, format: Format) -> LakeSettings {
    LakeSettings {
        format,
        path: path.to_owned(),
        namespace: "weir".to_owned(),
        freshness: Duration::from_millis(20),
        partition_by: "__partition".parse().unwrap(),
        key: None,
        compaction: false,
        rest_catalog: false,
        paused: false,
    }
}

fn log(rows: usize, mood: Mood) -> TestLog {
    let log = TestLog::new(2).with_mood(mood);
    log.append(0, rows);
    log
}

fn put(lake: &Lake, topic: &str, settings: &LakeSettings, log: &TestLog) {
    let log = log.clone();
    lake.put(topic, log.table().unwrap().topic_id, settings, || Arc::new(log));
}

async fn until(lake: &Lake, topic: &str, right: impl Fn(&TableStatus) -> bool) -> TableStatus {
    let begun = Instant::now();
    loop {
        let status = lake.status().into_iter().find(|table| table.topic == topic);
        if let Some(status) = status.as_ref().filter(|status| right(status)) {
            return status.clone();
        }
        assert!(begun.elapsed() < PATIENCE, "{status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn slow_and_broken_tables_hold_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good").display().to_string();
    // A file is where a folder should be.
    let broken = folder.path().join("file");
    std::fs::File::create(&broken).unwrap();
    let broken = broken.display().to_string();
    let stop = CancellationToken::new();
    let lake = Lake::new(limits(), LakeRoots::any(), CpuPool::new(1), stop.clone());
    for n in 0..3 {
        put(&lake, &format!("hung-{n}"), &settings(&good, Format::Parquet), &log(10, Mood::Hung));
        put(&lake, &format!("broken-{n}"), &settings(&broken, Format::Iceberg), &log(10, Mood::Well));
    }
    let well = log(100, Mood::Well);
    put(&lake, "well", &settings(&good, Format::Iceberg), &well);
    let rows = |rows: u64| move |status: &TableStatus| status.rows == rows && status.lag_records == 0;
    until(&lake, "well", rows(100)).await;
    for n in 0..3 {
        let slow = until(&lake, &format!("hung-{n}"), |status| status.state == TableState::Retrying).await;
        assert!(slow.error.unwrap().contains("not done after"));
        let broken = until(&lake, &format!("broken-{n}"), |status| status.state == TableState::Retrying).await;
        assert_eq!((broken.rows, broken.lag_records), (0, 10));
    }
    // While all of them are tried again and again.
    let begun = Instant::now();
    well.append(1, 50);
    let status = until(&lake, "well", rows(150)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((status.state, status.offsets), (TableState::Running, BTreeMap::from([(0, 100), (1, 50)])));
    stop.cancel();
    lake.stopped().await;
}

#[tokio::test]
async fn a_paused_table_tells_why_and_goes_on_once_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let (stop, table) = (CancellationToken::new(), folder.path().join("flights"));
    std::fs::create_dir(&table).unwrap();
    std::fs::File::create(table.join("foreign.parquet")).unwrap();
    let lake = Lake::new(limits(), LakeRoots::any(), CpuPool::new(1), stop.clone());
    put(&lake, "flights", &settings(&path, Format::Parquet), &log(10, Mood::Well));
    let status = until(&lake, "flights", |status| status.state == TableState::Paused).await;
    assert!(status.error.unwrap().contains("move it away"));
    std::fs::remove_file(table.join("foreign.parquet")).unwrap();
    assert!(lake.wake("flights") && !lake.wake("planes"));
    let status = until(&lake, "flights", |status| status.state == TableState::Running).await;
    assert_eq!((status.rows, status.error), (10, None));
    lake.retain(|topic| topic != "flights");
    assert_eq!(lake.status(), []);
    stop.cancel();
    lake.stopped().await;
}

#[tokio::test]
async fn other_settings_take_over_and_the_same_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let stop = CancellationToken::new();
    let lake = Lake::new(limits(), LakeRoots::any(), CpuPool::new(1), stop.clone());
    let log = log(10, Mood::Well);
    put(&lake, "flights", &settings(&path, Format::Parquet), &log);
    let first = until(&lake, "flights", |status| status.rows == 10).await;
    put(&lake, "flights", &settings(&path, Format::Parquet), &log);
    assert_eq!(lake.status()[0].epoch, first.epoch, "the same task goes on");
    put(&lake, "flights", &settings(&path, Format::Iceberg), &log);
    let second = until(&lake, "flights", |status| status.format == "iceberg" && status.rows == 10).await;
    assert_eq!(second.offsets, first.offsets);
    stop.cancel();
    lake.stopped().await;
}

#[tokio::test]
async fn a_paused_table_is_not_written_shows_how_far_it_is_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let stop = CancellationToken::new();
    let lake = Lake::new(limits(), LakeRoots::any(), CpuPool::new(1), stop.clone());
    for format in [Format::Parquet, Format::Iceberg, Format::Paimon] {
        let (topic, log) = (format.name(), log(10, Mood::Well));
        // Paused before it ever was a table.
        let paused = LakeSettings { paused: true, ..settings(&path, format) };
        put(&lake, topic, &paused, &log);
        let status = until(&lake, topic, |status| status.state == TableState::Paused).await;
        assert!(status.error.unwrap().contains("weir lake resume"));
        assert_eq!((status.epoch, status.lag_records, log.told()), (0, 10, BTreeMap::new()));
        put(&lake, topic, &settings(&path, format), &log);
        until(&lake, topic, |status| status.rows == 10).await;
        assert_eq!(log.told(), BTreeMap::from([(0, 10), (1, 0)]), "the log may let go of it");
        put(&lake, topic, &paused, &log);
        until(&lake, topic, |status| status.state == TableState::Paused && status.rows == 10).await;
        log.append(1, 5);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let status = until(&lake, topic, |_| true).await;
        assert_eq!((status.state, status.rows, status.lag_records), (TableState::Paused, 10, 5));
        assert_eq!(log.told(), BTreeMap::from([(0, 10), (1, 0)]));
        put(&lake, topic, &settings(&path, format), &log);
        let status = until(&lake, topic, |status| status.rows == 15).await;
        assert_eq!((status.state, status.error), (TableState::Running, None));
        assert_eq!(log.told(), BTreeMap::from([(0, 10), (1, 5)]));
    }
    stop.cancel();
    lake.stopped().await;
}

#[tokio::test]
async fn the_log_is_told_nothing_by_a_table_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("file");
    std::fs::File::create(&broken).unwrap();
    let stop = CancellationToken::new();
    let lake = Lake::new(limits(), LakeRoots::any(), CpuPool::new(1), stop.clone());
    let log = log(10, Mood::Well);
    put(&lake, "flights", &settings(&broken.display().to_string(), Format::Parquet), &log);
    until(&lake, "flights", |status| status.state == TableState::Retrying).await;
    assert_eq!(log.told(), BTreeMap::new());
    stop.cancel();
    lake.stopped().await;
}
