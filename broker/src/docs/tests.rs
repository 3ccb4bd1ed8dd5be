//! The committed pages against what the code says now.
use std::path::{Path, PathBuf};

use super::*;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/generated")
}

/// Seen failing with a changed description, a page that was not committed, and one that nothing writes any more.
#[test]
fn committed_documentation_is_up_to_date() {
    let pages = pages();
    for page in &pages {
        let path = committed().join(page.file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(text == page.text, "docs/generated/{} is stale: run `cargo xtask docs` and commit it", page.file);
    }
    for entry in std::fs::read_dir(committed()).unwrap() {
        let name = entry.unwrap().file_name();
        let known = pages.iter().any(|page| page.file == name) || name == ".gitkeep";
        assert!(known, "nothing writes docs/generated/{}: remove it", name.display());
    }
}

#[test]
fn rows_of_a_table_all_have_the_width_of_its_header() {
    for page in pages() {
        let mut width = None;
        let mut rows = 0;
        for line in page.text.lines() {
            if !line.starts_with('|') {
                width = None;
                continue;
            }
            let cells = line.replace("\\|", "").matches('|').count();
            assert_eq!(*width.get_or_insert(cells), cells, "{}: {line}", page.file);
            rows += 1;
        }
        assert!(rows > 2, "{} has no table", page.file);
    }
}

#[test]
fn pages_are_written_into_a_new_folder() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("docs/generated");
    write(&target).unwrap();
    for page in pages() {
        assert_eq!(std::fs::read_to_string(target.join(page.file)).unwrap(), page.text);
    }
}

/// The way to write the pages without a binary, for whoever changes declarations: `cargo test -p weir --lib -- --ignored
/// write_the_pages`.
#[test]
#[ignore = "writes into the checkout"]
fn write_the_pages() {
    write(&committed()).unwrap();
}
