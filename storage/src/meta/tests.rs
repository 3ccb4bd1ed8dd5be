//! The embedded store on a real folder. Power cuts are in `tests/power_cut.rs`.
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, OsDisk};

fn open(dir: &std::path::Path) -> EmbeddedMetadata {
    let disk = Arc::new(OsDisk::open(dir).unwrap());
    EmbeddedMetadata::open(disk, Some(dir.join("meta/sled"))).unwrap()
}

fn put(key: &str, value: &str) -> Write {
    Write::Put(key.into(), value.into())
}

#[tokio::test]
async fn transactions_survive_and_a_damaged_cache_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let mut changes = store.watch(b"topic/");
        let first = store.transact(vec![Condition::Absent("topic/a".into())], vec![put("topic/a", "1")]).await.unwrap();
        let conflict = store.transact(vec![Condition::Absent("topic/a".into())], vec![put("topic/a", "2")]).await;
        assert!(matches!(conflict, Err(MetaError::Conflict { .. })));
        store
            .transact(vec![Condition::Unchanged("topic/a".into(), first)], vec![put("topic/a", "3"), put("x", "y")])
            .await
            .unwrap();
        store.transact(vec![], vec![Write::Delete("x".into()), put("topic/b", "4")]).await.unwrap();
        assert_eq!(changes.recv().await.unwrap().write, put("topic/a", "1"));
        assert_eq!(changes.recv().await.unwrap().write, put("topic/a", "3"));
        assert_eq!(changes.recv().await.unwrap().write, put("topic/b", "4"));
    }
    let check = |store: &EmbeddedMetadata| {
        let topics: Vec<_> = store.scan(b"topic/").unwrap().into_iter().map(|(k, v)| (k, v.value)).collect();
        assert_eq!(topics, [(b"topic/a".to_vec(), b"3".to_vec()), (b"topic/b".to_vec(), b"4".to_vec())]);
        assert_eq!(store.get(b"x").unwrap(), None);
        assert_eq!(store.revision(), 3);
    };
    check(&open(dir.path()));
    // What a crash can leave behind in sled's folder (measured: sled 0.34 refuses these for ever).
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(dir.path().join("meta/sled/snap.00000000000000FF.generating"))
        .unwrap();
    check(&open(dir.path()));
    for entry in std::fs::read_dir(dir.path().join("meta/sled")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
        }
    }
    check(&open(dir.path()));
}

#[tokio::test]
async fn a_torn_record_is_cut_and_a_damaged_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        for i in 0..10 {
            store.transact(vec![], vec![put(&format!("key{i}"), "value")]).await.unwrap();
        }
    }
    let path = dir.path().join("meta/meta.log");
    let len = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(len - 3).unwrap();
    // A torn record was never acknowledged, so the cache has not seen it.
    std::fs::remove_dir_all(dir.path().join("meta/sled")).unwrap();
    let store = open(dir.path());
    assert_eq!(store.revision(), 9);
    assert_eq!(store.get(b"key9").unwrap(), None);
    drop(store);
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", 40).unwrap();
    let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
    let refused = EmbeddedMetadata::open(disk, None).err().unwrap();
    assert!(matches!(refused, MetaError::Damaged { .. }), "{refused}");
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_and_so_is_a_log_behind_its_cache() {
    let dir = tempfile::tempdir().unwrap();
    {
        let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
        let (mut log, _) = log::MetaLog::open(disk, &mut |_| Ok(())).unwrap();
        let row = |value: &str, revision| Versioned { value: value.into(), revision };
        log.rewrite(7, &[(b"a".to_vec(), row("1", 3)), (b"b".to_vec(), row("2", 7))]).unwrap();
    }
    let store = open(dir.path());
    assert_eq!(store.revision(), 7);
    assert_eq!(store.get(b"a").unwrap().unwrap().revision, 3, "a key keeps its own revision");
    store.transact(vec![], vec![put("c", "3")]).await.unwrap();
    drop(store);
    // sled gives its lock back from a thread of its own, and a cache that cannot be opened is built anew.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let path = dir.path().join("meta/meta.log");
    let whole = std::fs::read(&path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let refused = || {
        let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
        EmbeddedMetadata::open(disk, Some(dir.path().join("meta/sled")))
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    // The last record is gone, which the cache has seen.
    file.set_len(whole.len() as u64 - 20).unwrap();
    let reason = refused();
    assert!(reason.contains("changes were lost"), "{reason}");
    // Nothing whole follows the damaged snapshot.
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", 40).unwrap();
    let reason = refused();
    assert!(reason.contains("snapshot"), "{reason}");
}

#[tokio::test]
async fn a_record_whose_sync_failed_before_a_restart_leaves_no_hole() {
    for seed in 0..40 {
        let disk = crate::disk::CrashDisk::new();
        let store = EmbeddedMetadata::open(Arc::new(disk.clone()), None).unwrap();
        store.transact(vec![], vec![put("a", "1")]).await.unwrap();
        disk.fail_next_syncs(1);
        assert!(store.transact(vec![], vec![put("b", "2")]).await.is_err());
        drop(store);
        // The process is restarted, the machine is not: the record is read back from the page cache.
        let store = EmbeddedMetadata::open(Arc::new(disk.clone()), None).unwrap();
        store.transact(vec![], vec![put("c", "3")]).await.unwrap();
        drop(store);
        let store = EmbeddedMetadata::open(Arc::new(disk.after_power_cut(seed)), None);
        let store = store.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(store.get(b"c").unwrap().unwrap().value, b"3");
    }
}

/// All at once, each of its own key.
async fn concurrent_puts(store: &EmbeddedMetadata, keys: std::ops::Range<usize>) -> Vec<Result<Revision, MetaError>> {
    let tasks: Vec<_> = keys
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = format!("key{n}").into_bytes();
                store.transact(vec![Condition::Absent(key.clone())], vec![Write::Put(key, b"v".to_vec())]).await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transactions_share_a_sync_and_each_has_its_own_revision() {
    let disk = crate::disk::CrashDisk::new();
    let store = EmbeddedMetadata::open(Arc::new(disk.clone()), None).unwrap();
    let before = disk.syncs();
    let results = concurrent_puts(&store, 0..400).await;
    let mut revisions: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=400).collect::<Vec<_>>());
    assert!(disk.syncs() - before < 300, "{} syncs for 400 transactions", disk.syncs() - before);
    drop(store);
    let store = EmbeddedMetadata::open(Arc::new(disk.after_power_cut(1)), None).unwrap();
    assert_eq!((store.revision(), store.scan(b"key").unwrap().len()), (400, 400));
    let found: std::collections::BTreeSet<_> =
        store.scan(b"key").unwrap().iter().map(|(_, row)| row.revision).collect();
    assert_eq!(found.len(), 400, "the log keeps each revision");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_transactions_that_exclude_each_other_one_is_applied() {
    let disk = crate::disk::CrashDisk::new();
    let store = EmbeddedMetadata::open(Arc::new(disk), None).unwrap();
    for round in 0..50 {
        let key = format!("round{round}").into_bytes();
        let tasks: Vec<_> = (0..8u8)
            .map(|n| {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(async move {
                    let applied =
                        store.transact(vec![Condition::Absent(key.clone())], vec![Write::Put(key, vec![n])]).await;
                    applied.map(|revision| (revision, n))
                })
            })
            .collect();
        let mut applied = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(won) => applied.push(won),
                Err(error) => assert!(matches!(error, MetaError::Conflict { .. }), "{error}"),
            }
        }
        let row = store.get(&key).unwrap().unwrap();
        assert_eq!(applied, [(row.revision, row.value[0])]);
    }
}

#[tokio::test]
async fn group_whose_sync_fails_is_not_applied_and_leaves_the_store_usable() {
    let disk = crate::disk::CrashDisk::new();
    let store = EmbeddedMetadata::open(Arc::new(disk.clone()), None).unwrap();
    disk.fail_next_syncs(1);
    assert!(matches!(store.transact(vec![], vec![put("a", "1")]).await, Err(MetaError::Io { .. })));
    assert_eq!(store.get(b"a").unwrap(), None);
    let absent = Condition::Absent("a".into());
    let revision = store.transact(vec![absent], vec![put("a", "2")]).await.unwrap();
    drop(store);
    let store = EmbeddedMetadata::open(Arc::new(disk.after_power_cut(0)), None).unwrap();
    assert_eq!(store.get(b"a").unwrap(), Some(Versioned { value: b"2".to_vec(), revision }));
}

#[tokio::test]
async fn rewriting_the_log_disturbs_no_condition() {
    let disk = crate::disk::CrashDisk::new();
    let store = EmbeddedMetadata::open(Arc::new(disk.clone()), None).unwrap();
    let old = store.transact(vec![], vec![put("old", "1")]).await.unwrap();
    // Larger than the size at which the log is rewritten, and all of it history.
    let large = "x".repeat(3 << 20);
    for _ in 0..4 {
        store.transact(vec![], vec![put("large", &large)]).await.unwrap();
    }
    store.transact(vec![], vec![put("large", "")]).await.unwrap();
    assert!(Disk::open(&disk, "meta/meta.log").unwrap().len().unwrap() < 4 << 20, "the log was rewritten");
    store.transact(vec![Condition::Unchanged("old".into(), old)], vec![put("old", "2")]).await.unwrap();
    drop(store);
    let store = EmbeddedMetadata::open(Arc::new(disk.after_power_cut(0)), None).unwrap();
    assert_eq!(store.get(b"old").unwrap().unwrap().value, b"2");
}
