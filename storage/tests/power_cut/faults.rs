//! Disks that fail or are full for a while.
use std::time::Duration;

use weir_protocol::ids::PartitionId;
use weir_storage::disk::{CrashDisk, Disk};

use super::model::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_syncs_lose_nothing_and_heal() {
    for seed in 0..10 {
        let disk = CrashDisk::new();
        let storage = open(&disk, 1).await.unwrap();
        let producers = new_producers();
        let load = Load::begin(&storage, &producers, seed);
        wait_for("first acks", async || load.acks() > 20).await;
        disk.fail_syncs_of(Some("wal/"));
        wait_for("a refusal", async || storage.status().write_refused.is_some()).await;
        let before = load.acks();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(load.acks(), before, "nothing is acked while syncs fail");
        assert!(read_partition(&storage, PartitionId(0)).await.is_ok(), "reads go on");
        disk.fail_syncs_of(None);
        wait_for("acks again", async || load.acks() > before + 20).await;
        assert_eq!(storage.status().write_refused, None);
        load.end("failed syncs").await;
        drop(storage);
        let disk = disk.after_power_cut(seed);
        let storage = open(&disk, 2).await.unwrap();
        verify(&storage, &producers, &format!("seed {seed}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_serves_reads_and_heals() {
    let disk = CrashDisk::new();
    let storage = open(&disk, 1).await.unwrap();
    let producers = new_producers();
    let load = Load::begin(&storage, &producers, 0);
    wait_for("first acks", async || load.acks() > 20).await;
    disk.set_free_bytes(Some(0));
    wait_for("a refusal", async || storage.status().write_refused.is_some()).await;
    assert!(read_partition(&storage, PartitionId(1)).await.is_ok(), "reads go on");
    disk.set_free_bytes(None);
    let before = load.acks();
    wait_for("acks again", async || load.acks() > before + 20).await;
    load.end("a full disk").await;
    drop(storage);
    let disk = disk.after_power_cut(1);
    let storage = open(&disk, 2).await.unwrap();
    verify(&storage, &producers, "after a full disk").await;
}

/// A merge waits for the log with the manifest locked; the deletion that would make space used to wait for the merge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_deleted_while_the_disk_is_full() {
    let (disk, _) = filled(false).await;
    let storage = open(&disk, 2).await.unwrap();
    wait_for("segments", async || !disk.list("segments").unwrap().is_empty()).await;
    disk.set_free_bytes(Some(0));
    // Something of the engine's own that needs a write, and holds the manifest until it is done.
    let partition = storage.partition(TOPIC, PartitionId(0)).unwrap();
    disk.fail_syncs_of(Some("wal/"));
    let waiting = tokio::spawn({
        let (storage, partition) = (storage.clone(), partition.clone());
        async move { storage.delete_records(&partition, None).await }
    });
    wait_for("a refusal", async || storage.status().write_refused.is_some()).await;
    storage.delete_topic(TOPIC);
    assert!(storage.partition(TOPIC, PartitionId(0)).is_none());
    assert!(disk.list("segments").unwrap().is_empty(), "its space is given back at once");
    assert!(!waiting.is_finished(), "the log was written though it should not be");
    disk.fail_syncs_of(None);
    disk.set_free_bytes(None);
    waiting.await.unwrap().unwrap();
    storage.shutdown().await;
}
