//! The embedded store on a real folder. Power cuts are in `tests/power_cut.rs`.
use std::sync::Arc;

use super::*;
use crate::disk::OsDisk;

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
        log.rewrite(7, &[put("a", "1"), put("b", "2")]).unwrap();
    }
    let store = open(dir.path());
    assert_eq!(store.revision(), 7);
    store.transact(vec![], vec![put("c", "3")]).await.unwrap();
    drop(store);
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
    assert!(refused().contains("changes were lost"), "{}", refused());
    // Nothing whole follows the damaged snapshot.
    std::os::unix::fs::FileExt::write_all_at(&file, b"!", 40).unwrap();
    assert!(refused().contains("snapshot"), "{}", refused());
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
