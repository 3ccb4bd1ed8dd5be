//! What was tiered is read back, row for row; what cannot be is an error.
//!
//! Seen failing: with rows before the wanted offset not left out and checksums not compared, both at once.
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_select::concat::concat_batches;

use super::*;
use crate::plan::RoundLimits;
use crate::round::TableRounds;
use crate::settings::Format;
use crate::source::ScanSource;
use crate::testing::log::TestLog;

const FORMATS: [Format; 3] = [Format::Parquet, Format::Iceberg, Format::Paimon];

fn settings(folder: &Path, format: Format, by: &str) -> LakeSettings {
    let settings = LakeSettings::parse(format.name(), &folder.display().to_string(), "weir", "1s", by);
    LakeSettings { freshness: Duration::from_secs(1), ..settings.unwrap().unwrap() }
}

fn history(settings: &LakeSettings) -> History {
    let memory = MemoryBudget::new(64 << 20);
    History::new(settings.clone(), LakeRoots::any(), CpuPool::new(1), memory)
}

async fn tier(log: &TestLog, settings: &LakeSettings) {
    let limits = RoundLimits { round_bytes: 20_000, scan_bytes: 5_000 };
    let source: Arc<dyn ScanSource> = Arc::new(log.clone());
    let mut rounds = TableRounds::new(source, settings.clone(), limits, CpuPool::new(1));
    while rounds.run(1).await.unwrap().is_some_and(|done| done.more) {}
}

/// All rows of a partition, as a reader asks for them.
async fn read_all(
    history: &History,
    log: &TestLog,
    partition: i32,
    mut from: i64,
    until: i64,
) -> Result<(Vec<i64>, Option<RecordBatch>), HistoryError> {
    let table = log.table().unwrap();
    let (mut offsets, mut batches) = (Vec::new(), Vec::new());
    while from < until {
        let want = HistoryRead { partition, from, until, columns: table.schema.clone() };
        let rows = history.read(&table, &want).await?;
        if rows.end == from {
            assert!(offsets.is_empty() && history.bounds(&table, partition, &[]).await?.is_none(), "it goes on");
            break;
        }
        assert_eq!(rows.batch.num_rows(), rows.offsets.len());
        assert!(rows.offsets.iter().all(|offset| (from..rows.end).contains(offset)));
        offsets.extend(rows.offsets);
        batches.push(rows.batch);
        from = rows.end;
    }
    let schema = table.schema.clone();
    Ok((offsets, (!batches.is_empty()).then(|| concat_batches(&schema, &batches).unwrap())))
}

fn data_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(data_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn every_row_that_was_tiered_is_read_once_in_the_order_of_the_log() {
    for format in FORMATS {
        for by in ["", "__partition", "hour(__timestamp)"] {
            let folder = tempfile::tempdir().unwrap();
            let (log, settings) = (TestLog::new(3), settings(folder.path(), format, by));
            let history = history(&settings);
            for turn in 0..4 {
                log.append(0, 300);
                log.append_invisible(1, 7);
                log.append(1, 50 * turn);
                tier(&log, &settings).await;
                let table = log.table().unwrap();
                for partition in 0..3 {
                    let bounds = log.bounds().unwrap()[&partition];
                    let mut wanted = Vec::new();
                    let mut at = bounds.start;
                    while at < bounds.end {
                        let scanned = log.scan(partition, at, 1 << 20).await.unwrap().cut(bounds.end);
                        at = scanned.next;
                        wanted.extend(scanned.batches);
                    }
                    let (offsets, found) = read_all(&history, &log, partition, 0, bounds.end).await.unwrap();
                    let wanted = concat_batches(&table.schema, &wanted).unwrap();
                    let of = wanted.column_by_name("__offset").unwrap().as_primitive::<Int64Type>();
                    assert_eq!(offsets, of.values().to_vec(), "{format} {by} {partition}");
                    assert_eq!(found.unwrap_or_else(|| RecordBatch::new_empty(table.schema.clone())), wanted);
                    let first = offsets.first().copied();
                    assert_eq!(history.bounds(&table, partition, &[]).await.unwrap().map(|(first, _)| first), first);
                }
            }
            // From somewhere, up to somewhere.
            let (offsets, _) = read_all(&history, &log, 0, 333, 777).await.unwrap();
            assert!(offsets.iter().copied().eq(333..777), "{format} {by}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_missing_or_damaged_is_an_error_and_never_fewer_or_other_rows() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        // Compaction would leave files that nobody reads.
        let settings = LakeSettings { compaction: false, ..settings(folder.path(), format, "") };
        let log = TestLog::new(2);
        log.append(0, 900);
        log.append(1, 900);
        tier(&log, &settings).await;
        let files = data_files(folder.path());
        let (mut wrong, mut refused) = (0, 0);
        for file in [&files[0], &files[files.len() / 2]] {
            let whole = std::fs::read(file).unwrap();
            std::fs::remove_file(file).unwrap();
            for partition in 0..2 {
                let error = read_all(&history(&settings), &log, partition, 0, 900).await.unwrap_err().to_string();
                assert!(error.contains("missing") || error.contains("gone"), "{format}: {error}");
            }
            // One bit, anywhere in what is data; the footer's length is in front of the last four bytes.
            let footer = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
            let data = 4..whole.len() - 8 - footer;
            for at in data.clone().step_by(data.len() / 20) {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x10;
                #[allow(clippy::disallowed_methods, reason = "damage to a file")]
                std::fs::write(file, &damaged).unwrap();
                for partition in 0..2 {
                    match read_all(&history(&settings), &log, partition, 0, 900).await {
                        Ok((offsets, _)) => wrong += usize::from(!offsets.iter().copied().eq(0..900)),
                        Err(error) => {
                            assert!(error.to_string().contains(".parquet"), "{error}");
                            refused += 1;
                        }
                    }
                }
            }
            #[allow(clippy::disallowed_methods, reason = "damage to a file")]
            std::fs::write(file, &whole).unwrap();
        }
        assert_eq!(wrong, 0, "{format}");
        assert!(refused >= 40, "{format}: {refused}");
        read_all(&history(&settings), &log, 0, 0, 900).await.unwrap();
    }
}
