//! The committed pages against what the code says now.
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Config, Source, variable};

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

/// The broker's settings in the compose file and the image: (variable, value).
fn container_settings() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let compose = read("docker-compose.yml");
    let image = read("Dockerfile");
    let in_compose = compose.lines().filter_map(|line| line.trim().split_once(": "));
    let in_image = image.lines().filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let settings = in_compose.chain(in_image).filter(|(name, _)| name.starts_with("WEIR_"));
    settings.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// Seen failing with a misspelt variable, and without WEIR_INSECURE.
#[test]
fn containers_are_configured_with_settings_that_exist_and_go_together() {
    let mut config = Config::default();
    let keys = config.keys();
    let settings = container_settings();
    assert!(settings.len() >= 5, "{settings:?}");
    for (name, value) in settings {
        let key = keys.iter().find(|key| variable(key) == name);
        let key = key.unwrap_or_else(|| panic!("{name} is not a setting"));
        config.set(key, &value, Source::Environment(name)).unwrap();
    }
    config.validate().unwrap();
    let advertised = config.listeners().unwrap().into_iter().map(|l| (l.name, l.advertised.unwrap().to_string()));
    let expected = [("inside", "weir:9092"), ("outside", "localhost:19092")];
    assert_eq!(advertised.collect::<Vec<_>>(), expected.map(|(name, at)| (name.to_owned(), at.to_owned())));
}

/// The way to write the pages without a binary, for whoever changes declarations: `cargo test -p weir --lib -- --ignored
/// write_the_pages`.
#[test]
#[ignore = "writes into the checkout"]
fn write_the_pages() {
    write(&committed()).unwrap();
}
