//! The metadata store on the same disk.
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use weir_storage::disk::CrashDisk;
use weir_storage::meta::{EmbeddedMetadata, MetadataStore, Write};

use super::model::seeds;

#[tokio::test]
async fn metadata_transactions_survive_power_cuts_and_kills_whole() {
    for seed in seeds(50) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut disk = CrashDisk::new();
        let mut acked = 0u64;
        for round in 0..4 {
            let opened = EmbeddedMetadata::open(Arc::new(disk.clone()), None);
            let store = opened.unwrap_or_else(|e| panic!("seed {seed} round {round}: {e}"));
            let value = |key: &str| {
                store.get(key.as_bytes()).unwrap().map_or(0, |v| u64::from_le_bytes(v.value.try_into().unwrap()))
            };
            assert_eq!(value("a"), value("b"), "seed {seed}: both writes of a transaction or none");
            assert!(value("a") >= acked, "seed {seed}: acked {acked}, found {}", value("a"));
            let mut next = value("a") + 1;
            disk.power_cut_after(random.random_range(1..60));
            loop {
                let put = |key: &str| Write::Put(key.into(), next.to_le_bytes().to_vec());
                match store.transact(Vec::new(), vec![put("a"), put("b")]).await {
                    Ok(_) => acked = next,
                    Err(_) if disk.is_off() => break,
                    Err(error) => panic!("seed {seed}: {error}"),
                }
                next += 1;
            }
            disk = match random.random_range(0..3) {
                0 => disk.after_kill(),
                _ => disk.after_power_cut(random.random()),
            };
        }
    }
}
