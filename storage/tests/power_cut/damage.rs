//! Bits that flip on a disk that was written well.
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_protocol::ids::PartitionId;
use weir_storage::disk::Disk;
use weir_storage::log::ReadError;

use super::model::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_below_what_is_known_durable_stops_the_start_and_names_the_place() {
    let (disk, _) = filled(true).await;
    let mut names: Vec<_> = disk.list("wal").unwrap();
    names.sort();
    let mut refused = 0;
    let len_of = |path: &str| disk.open(path).unwrap().len().unwrap();
    let lens: Vec<u64> = names.iter().map(|name| len_of(&format!("wal/{name}"))).collect();
    for (name, len) in names.iter().zip(lens) {
        let path = format!("wal/{name}");
        for position in [4096 + 60, len / 3, len / 2].into_iter().filter(|p| (4096..len).contains(p)) {
            let copy = disk.after_power_cut(0);
            copy.flip_bit(&path, position).unwrap();
            match open(&copy, 2).await {
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(&path) && message.contains("byte"), "{message}");
                    refused += 1;
                }
                // Behind the last commit, or in a file that is not needed any more.
                Ok(storage) => drop(storage),
            }
        }
    }
    assert!(refused > 0, "none of the flips in {names:?} was found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_segments_are_found_and_never_served() {
    let (disk, producers) = filled(true).await;
    let mut names = disk.list("segments").unwrap();
    names.sort();
    let mut found = 0;
    let mut random = StdRng::seed_from_u64(9);
    let len_of = |path: &str| disk.open(path).unwrap().len().unwrap();
    let mut files: Vec<(String, u64)> =
        names.into_iter().map(|n| (n.clone(), len_of(&format!("segments/{n}")))).collect();
    // Files that no partition refers to any more may have come back with the power; the start removes them.
    let copy = disk.after_power_cut(0);
    let storage = open(&copy, 2).await.unwrap();
    let referenced = copy.list("segments").unwrap();
    drop(storage);
    files.retain(|(name, _)| referenced.contains(name));
    assert!(!files.is_empty());
    for (name, len) in &files {
        let len = *len;
        let path = format!("segments/{name}");
        for _ in 0..20 {
            let copy = disk.after_power_cut(0);
            let position = random.random_range(8..len);
            copy.flip_bit(&path, position).unwrap();
            let storage = open(&copy, 2).await.unwrap();
            for index in 0..PARTITIONS {
                match read_partition(&storage, PartitionId(index)).await {
                    Err(ReadError::Corrupt { file, .. }) => {
                        assert_eq!(file, path);
                        found += 1;
                    }
                    Err(error) => panic!("{error}"),
                    Ok(rows) => {
                        for (id, producer) in
                            producers.iter().filter(|(id, _)| partition_of(**id) == PartitionId(index))
                        {
                            for (number, offset) in &producer.lock().acked {
                                assert_eq!(rows.get(offset), Some(&(*id, *number)), "{path} at {position}");
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(found >= files.len() * 10, "only {found} of the flips were found");
}
