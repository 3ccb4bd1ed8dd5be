//! Removes files that no snapshot names: what crashes and lost races left, and manifests of expired snapshots.
use std::collections::HashSet;

use super::catalog::Version;
use super::manifest::ManifestWriter;
use super::{IcebergTarget, metadata};
use crate::store::TEMPORARY_SUFFIX;
use crate::target::TargetError;
use crate::target::avro;

/// Whether a file has a name that we give. Files of others are never touched.
pub fn is_ours(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let manifest = name.ends_with("-m0.avro") || name.ends_with("-m1.avro");
    (path.starts_with("data/") && name.starts_with("weir-") && name.ends_with(".parquet"))
        || (path.starts_with("metadata/") && (manifest || name.starts_with("snap-")) && name.ends_with(".avro"))
        || (name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX))
}

/// See [`crate::target::Target::sweep`]. Reads every manifest that a snapshot names, so it is not for every round.
pub async fn sweep(target: &IcebergTarget, before_ms: i64) -> Result<usize, TargetError> {
    // Listed first: what is committed afterwards is either not listed or named by what is read afterwards.
    let entries = target.store.list("").await?;
    let newest = target.catalog.load().await?;
    let mut named = HashSet::new();
    if let Some(newest) = &newest {
        name_all(target, newest, &mut named).await?;
    }
    let mut swept = 0;
    for entry in entries {
        let orphan = target.catalog.is_old(&entry.path, newest.as_ref())
            || (is_ours(&entry.path) && !named.contains(&entry.path));
        if orphan && entry.modified_ms < before_ms {
            target.store.delete(&entry.path).await?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Every file that a snapshot of this version names, by its path in the table's folder.
async fn name_all(target: &IcebergTarget, version: &Version, named: &mut HashSet<String>) -> Result<(), TargetError> {
    let table = &version.metadata;
    let schema = metadata::current_schema(table);
    let writer = ManifestWriter::new(&target.spec, &target.file_schema, schema);
    let writer = writer.map_err(|error| target.damaged("a manifest schema", error))?;
    for snapshot in table["snapshots"].as_array().into_iter().flatten() {
        let list = snapshot["manifest-list"].as_str().unwrap_or_default();
        named.extend(target.relative(list));
        let bytes = target.read_at(list).await?;
        for manifest in writer.read_list(&bytes).map_err(|error| target.damaged(list, error))? {
            let address = avro::text(&manifest, "manifest_path").unwrap_or_default();
            let Some(path) = target.relative(address) else { continue };
            if !named.insert(path) {
                continue;
            }
            let bytes = target.read_at(address).await?;
            for entry in writer.read_entries(&bytes).map_err(|error| target.damaged(address, error))? {
                let file = avro::field(&entry, "data_file").and_then(|file| avro::text(file, "file_path"));
                named.extend(file.and_then(|file| target.relative(file)));
            }
        }
    }
    Ok(())
}
