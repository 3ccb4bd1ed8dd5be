//! Backups of the embedded metadata. A backup is a metadata log of one snapshot, so it is read and checked by the same code.
use std::collections::BTreeMap;
use std::io;

use super::log::{META_DIR, PATH, encode_snapshot, replay};
use super::{Change, MetaError, Revision, Versioned, Write};
use crate::disk::{Disk, publish};

/// All keys at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataBackup {
    pub revision: Revision,
    pub rows: BTreeMap<Vec<u8>, Versioned>,
}

impl MetadataBackup {
    /// The file of the metadata log in a data folder.
    pub const LOG: &'static str = PATH;

    /// Reads the bytes of a backup, or of the log of a broker, which may be writing to it: a torn end is left out.
    ///
    /// # Errors
    /// Damage before the end, and bytes that have no metadata at all.
    pub fn read(bytes: &[u8]) -> Result<MetadataBackup, MetaError> {
        let mut rows: BTreeMap<Vec<u8>, Versioned> = BTreeMap::new();
        let replayed = replay(bytes, &mut |change| {
            match change {
                None => rows.clear(),
                Some(Change { revision, write: Write::Put(key, value) }) => {
                    rows.insert(key, Versioned { value, revision });
                }
                Some(Change { write: Write::Delete(key), .. }) => {
                    rows.remove(&key);
                }
            }
            Ok(())
        })?;
        if replayed.end == 0 {
            let detail = "these bytes hold no metadata".to_owned();
            return Err(MetaError::Damaged { path: PATH.to_owned(), position: 0, detail });
        }
        Ok(MetadataBackup { revision: replayed.revision, rows })
    }

    /// The bytes of the backup.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let rows: Vec<(Vec<u8>, Versioned)> = self.rows.iter().map(|(key, row)| (key.clone(), row.clone())).collect();
        encode_snapshot(self.revision, &rows)
    }

    /// Keys that begin with a prefix.
    pub fn count(&self, prefix: &str) -> usize {
        let keys = self.rows.range(prefix.as_bytes().to_vec()..);
        keys.take_while(|(key, _)| key.starts_with(prefix.as_bytes())).count()
    }

    /// Writes a key as if by one more transaction.
    pub fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.revision += 1;
        self.rows.insert(key.to_vec(), Versioned { value, revision: self.revision });
    }

    /// Makes it the metadata of a data folder; durable when it returns. What was there is replaced, so copy it before. The cache
    /// beside it is the caller's to remove.
    pub fn restore(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.create_dir_all(META_DIR)?;
        publish(disk, PATH, |file| file.write_at(0, &[&self.encode()])).map(drop).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::CrashDisk;
    use crate::meta::{EmbeddedMetadata, MetadataStore};

    fn bytes_of(disk: &CrashDisk) -> Vec<u8> {
        let file = disk.open_read(PATH).unwrap();
        file.read_vec(0, file.len().unwrap() as usize).unwrap()
    }

    #[tokio::test]
    async fn a_backup_has_every_key_with_its_revision_and_becomes_metadata_again() {
        let disk = CrashDisk::new();
        let store = EmbeddedMetadata::open(Arc::new(disk.clone()), None).unwrap();
        for n in 0..40_u8 {
            let key = vec![b'a' + n % 7];
            store
                .transact(Vec::new(), vec![Write::Put(key, vec![n]), Write::Put(b"last".to_vec(), vec![n])])
                .await
                .unwrap();
        }
        store.transact(Vec::new(), vec![Write::Delete(b"b".to_vec())]).await.unwrap();
        // The broker goes on: only what is whole is taken.
        let mut live = bytes_of(&disk);
        let whole = MetadataBackup::read(&live).unwrap();
        live.extend_from_slice(&live.clone()[..21]);
        assert_eq!(MetadataBackup::read(&live).unwrap(), whole);
        assert_eq!((whole.revision, whole.rows.len(), whole.count("la")), (41, 7, 1));

        let mut backup = MetadataBackup::read(&whole.encode()).unwrap();
        assert_eq!(backup, whole);
        backup.put(b"last", vec![99]);
        let other = CrashDisk::new();
        backup.restore(&other).unwrap();
        let restored = EmbeddedMetadata::open(Arc::new(other.after_power_cut(3)), None).unwrap();
        assert_eq!(restored.revision(), 42);
        assert_eq!(restored.get(b"last").unwrap(), Some(Versioned { value: vec![99], revision: 42 }));
        assert_eq!(restored.get(b"a").unwrap(), store.get(b"a").unwrap());
        assert_eq!(restored.get(b"b").unwrap(), None);
    }

    #[test]
    fn bytes_that_are_no_backup_are_refused() {
        let mut backup = MetadataBackup::default();
        backup.put(b"k", b"v".to_vec());
        let good = backup.encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(MetadataBackup::read(&bad).is_err(), "byte {at}");
        }
        assert!(MetadataBackup::read(b"").is_err());
        assert!(MetadataBackup::read(&good[..good.len() - 1]).is_err());
    }
}
