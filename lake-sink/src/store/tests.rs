//! Every store keeps the same promises.
use object_store::memory::InMemory;

use super::*;

fn stores(folder: &tempfile::TempDir) -> [Arc<dyn LakeStore>; 2] {
    let local = LocalStore::new(folder.path().join("weir/flights"));
    let remote = RemoteStore::new(Arc::new(InMemory::new()), "lake/weir/flights", "memory://");
    [Arc::new(local), Arc::new(remote)]
}

fn exists<R>(result: &Result<R, StoreError>) -> bool {
    matches!(result, Err(StoreError::Exists { .. }))
}

#[tokio::test]
async fn a_file_is_created_once_and_never_changed_by_a_second_creation() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(&folder) {
        assert_eq!(store.list("").await.unwrap(), [], "no folder is an empty one");
        assert_eq!(store.read("a/b.json", 10).await.unwrap(), None);
        assert!(!store.exists("a/b.json").await.unwrap());
        store.create("a/b.json", Bytes::from_static(b"one")).await.unwrap();
        assert!(exists(&store.create("a/b.json", Bytes::from_static(b"two")).await));
        assert!(store.exists("a/b.json").await.unwrap());
        assert_eq!(store.read("a/b.json", 10).await.unwrap().unwrap(), "one");
        assert!(store.read("a/b.json", 2).await.is_err(), "larger than what may be read");
        store.replace("a/b.json", Bytes::from_static(b"three")).await.unwrap();
        assert_eq!(store.read_end("a/b.json", 3).await.unwrap().unwrap(), (5, Bytes::from_static(b"ree")));
        assert_eq!(store.read_end("a/b.json", 30).await.unwrap().unwrap(), (5, Bytes::from_static(b"three")));
        assert_eq!(store.read_range("a/b.json", 1..4).await.unwrap().unwrap(), "hre");
        assert!(store.read_range("a/b.json", 3..9).await.is_err(), "less than what was asked for is no answer");
        assert_eq!(store.read_range("a/c.json", 0..1).await.unwrap(), None);
        assert_eq!(store.read_end("a/c.json", 1).await.unwrap(), None);
        store.replace("hint", Bytes::from_static(b"1")).await.unwrap();
        assert_eq!(store.read("a/b.json", 10).await.unwrap().unwrap(), "three");
        let mut listed: Vec<_> = store.list("").await.unwrap().into_iter().map(|e| (e.path, e.bytes)).collect();
        listed.sort();
        assert_eq!(listed, [("a/b.json".to_owned(), 5), ("hint".to_owned(), 1)], "and nothing temporary");
        assert_eq!(store.list("a").await.unwrap().len(), 1);
        store.delete("a/b.json").await.unwrap();
        store.delete("a/b.json").await.unwrap();
        assert!(!store.exists("a/b.json").await.unwrap());
        assert!(store.address("hint").ends_with("weir/flights/hint"));
    }
}

#[tokio::test]
async fn of_many_creations_at_once_one_succeeds_and_its_bytes_stay() {
    let folder = tempfile::tempdir().unwrap();
    for store in stores(&folder) {
        let creations = (0..16_u8).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.create("commit", Bytes::from(vec![n; 3])).await.map(|()| n) })
        });
        let mut winners = Vec::new();
        for creation in creations.collect::<Vec<_>>() {
            match creation.await.unwrap() {
                Ok(n) => winners.push(n),
                other => assert!(exists(&other), "{other:?}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(store.read("commit", 3).await.unwrap().unwrap(), vec![winners[0]; 3]);
    }
}
