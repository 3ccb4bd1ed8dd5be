use std::collections::BTreeSet;

use super::*;
use crate::disk::{PublishError, publish};

fn disk() -> CrashDisk {
    let disk = CrashDisk::new();
    disk.create_dir_all("d").unwrap();
    disk
}

fn read(disk: &CrashDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path).ok()?;
    let mut buffer = vec![0; file.len().ok()? as usize];
    file.read_at(0, &mut buffer).ok()?;
    Some(buffer)
}

/// All outcomes of a power cut over many seeds.
fn outcomes<T: Ord>(disk: &CrashDisk, outcome: impl Fn(&CrashDisk) -> T) -> Vec<T> {
    (0..200).map(|seed| outcome(&disk.after_power_cut(seed))).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn synced_data_always_survives_and_the_rest_only_sometimes() {
    let disk = disk();
    let file = disk.create("d/a").unwrap();
    file.write_at(0, &[&[1; 1000]]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    file.write_at(1000, &[&[2; 2000]]).unwrap();
    let seen = outcomes(&disk, |after| {
        let content = read(after, "d/a").unwrap();
        assert_eq!(content[..1000], [1; 1000]);
        let rest = &content[1000..];
        // Torn at sectors of the file, and only there.
        assert!(rest.chunk_by(|a, b| a == b).all(|run| rest.len() == run.len() || run.len() >= 24), "{rest:?}");
        match (rest.len(), rest.iter().filter(|b| **b == 2).count()) {
            (0, 0) => "nothing",
            (2000, 2000) => "all",
            (2000, 0) => "only the length",
            _ => "some sectors",
        }
    });
    assert_eq!(seen, ["all", "nothing", "only the length", "some sectors"]);
}

#[test]
fn writes_survive_independently_of_each_other_and_the_same_seed_gives_the_same_disk() {
    let disk = disk();
    let file = disk.create("d/a").unwrap();
    file.set_len(2).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    file.write_at(0, &[b"x"]).unwrap();
    file.write_at(1, &[b"y"]).unwrap();
    let seen = outcomes(&disk, |after| read(after, "d/a").unwrap());
    assert_eq!(seen, [b"\0\0", b"\0y", b"x\0", b"xy"]);
    for seed in 0..20 {
        let once = read(&disk.after_power_cut(seed), "d/a");
        assert_eq!(once, read(&disk.after_power_cut(seed), "d/a"));
    }
}

#[test]
fn an_unsynced_truncation_shows_the_old_or_the_new_length() {
    let disk = disk();
    let file = disk.create("d/a").unwrap();
    file.write_at(0, &[b"abcdef"]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    file.set_len(2).unwrap();
    assert_eq!(outcomes(&disk, |after| read(after, "d/a").unwrap()), [b"ab".to_vec(), b"abcdef".to_vec()]);
}

#[test]
fn a_created_file_may_vanish_and_a_removed_one_may_come_back_until_the_folder_is_synced() {
    let disk = disk();
    disk.create("d/removed").unwrap();
    disk.sync_dir("d").unwrap();
    disk.create("d/created").unwrap().sync_all().unwrap();
    assert_eq!(outcomes(&disk, |after| after.exists("d/created")), [false, true]);

    let disk = disk.after_power_cut(1);
    disk.remove("d/removed").unwrap();
    assert_eq!(outcomes(&disk, |after| after.exists("d/removed")), [false, true]);

    let disk = disk.after_power_cut((0..).find(|s| disk.after_power_cut(*s).exists("d/removed")).unwrap());
    disk.create_dir_all("other").unwrap();
    disk.remove("d/removed").unwrap();
    disk.sync_dir("other").unwrap();
    assert_eq!(outcomes(&disk, |after| after.exists("d/removed")), [false, true], "another folder's sync is no help");

    let disk = disk.after_power_cut((0..).find(|s| disk.after_power_cut(*s).exists("d/removed")).unwrap());
    disk.remove("d/removed").unwrap();
    disk.create("d/created2").unwrap();
    disk.sync_dir("d").unwrap();
    assert_eq!(outcomes(&disk, |after| (after.exists("d/removed"), after.exists("d/created2"))), [(false, true)]);
}

#[test]
fn an_unsynced_rename_shows_the_old_or_the_new_name_and_never_neither() {
    let disk = disk();
    for (name, text) in [("d/a", b"a"), ("d/b", b"b")] {
        let file = disk.create(name).unwrap();
        file.write_at(0, &[text]).unwrap();
        file.sync_all().unwrap();
    }
    disk.sync_dir("d").unwrap();
    disk.rename("d/a", "d/b").unwrap();
    let seen = outcomes(&disk, |after| (read(after, "d/a"), read(after, "d/b").unwrap()));
    assert_eq!(seen, [(None, b"a".to_vec()), (Some(b"a".to_vec()), b"b".to_vec())]);
}

#[test]
fn what_a_failed_sync_left_is_not_made_durable_by_a_later_one_but_new_writes_are() {
    let disk = disk();
    let file = disk.create("d/a").unwrap();
    disk.sync_dir("d").unwrap();
    file.write_at(0, &[b"x"]).unwrap();
    disk.fail_next_syncs(1);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(EIO));
    file.write_at(1, &[b"y"]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(read(&disk, "d/a").unwrap(), b"xy", "it is still read back");
    assert_eq!(outcomes(&disk, |after| read(after, "d/a").unwrap()), [b"\0y", b"xy"]);

    // Written again and synced, it is safe, and the lost version does not come back over it.
    let disk = disk.after_power_cut(0);
    let file = disk.open("d/a").unwrap();
    file.write_at(0, &[b"1"]).unwrap();
    disk.fail_syncs_of(Some("d/a"));
    file.sync_all().unwrap_err();
    disk.fail_syncs_of(None);
    file.write_at(0, &[b"2"]).unwrap();
    file.sync_all().unwrap();
    assert_eq!(outcomes(&disk, |after| read(after, "d/a").unwrap()), [b"2y"]);
}

#[test]
fn a_full_disk_takes_what_fits_and_space_comes_back() {
    let disk = disk();
    let file = disk.create("d/a").unwrap();
    file.allocate(100).unwrap();
    disk.set_free_bytes(Some(10));
    file.write_at(0, &[&[1; 100]]).unwrap();
    assert_eq!(file.allocate(111).unwrap_err().raw_os_error(), Some(ENOSPC));
    assert_eq!(file.len().unwrap(), 100);
    assert_eq!(file.write_at(95, &[&[2; 100]]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(read(&disk, "d/a").unwrap(), [vec![1; 95], vec![2; 15]].concat());
    assert_eq!(disk.free_bytes().unwrap(), 0);
    file.set_len(50).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 60);
    disk.remove("d/a").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 110);
    disk.set_free_bytes(None);
    file.write_at(95, &[&[1; 100]]).unwrap();
}

#[test]
fn the_operation_that_meets_the_power_cut_fails_and_may_have_been_done() {
    let (mut done, mut not_done) = (0, 0);
    for seed in 0..50 {
        let disk = disk();
        let file = disk.create("d/a").unwrap();
        disk.sync_dir("d").unwrap();
        disk.power_cut_after(1);
        file.write_at(0, &[b"x"]).unwrap();
        assert!(!disk.is_off());
        file.sync_data().unwrap_err();
        assert!(disk.is_off());
        let operations = disk.operations();
        file.write_at(0, &[b"y"]).unwrap_err();
        file.len().unwrap_err();
        disk.list("d").unwrap_err();
        assert_eq!(disk.operations(), operations);
        match read(&disk.after_power_cut(seed), "d/a").unwrap().as_slice() {
            b"x" => done += 1,
            b"" | b"\0" => not_done += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(done > 0 && not_done > 0, "{done} {not_done}");
}

#[test]
fn a_flipped_bit_stays_through_syncs_and_power_cuts() {
    let disk = disk();
    let file = disk.create("d/a").unwrap();
    file.write_at(0, &[&[0; 100]]).unwrap();
    disk.flip_bit("d/a", 70).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir("d").unwrap();
    let expected: Vec<u8> = (0..100).map(|i| if i == 70 { 0x10 } else { 0 }).collect();
    assert_eq!(read(&disk, "d/a").unwrap(), expected);
    assert_eq!(read(&disk.after_power_cut(3), "d/a").unwrap(), expected);
}

#[test]
fn counters_count() {
    let disk = disk();
    let file = disk.create("d/a").unwrap();
    file.write_at(0, &[&[0; 100], &[0; 11]]).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    assert_eq!((disk.bytes_written(), disk.syncs()), (111, 2));
}

/// The whole point of [`publish`]: cut at every operation, the name shows the whole old or the whole new content.
#[test]
fn a_publication_is_whole_at_every_point_of_a_power_cut() {
    let text = |n: u8| vec![n; 3000];
    let mut seen = BTreeSet::new();
    for operations in 0.. {
        let disk = disk();
        publish(&disk, "d/f", |file| file.write_at(0, &[&text(1)])).unwrap();
        disk.power_cut_after(operations);
        let result = publish(&disk, "d/f", |file| file.write_at(0, &[&text(2)]));
        for seed in 0..50 {
            let after = read(&disk.after_power_cut(seed), "d/f").unwrap();
            assert!(after == text(2) || (after == text(1) && result.is_err()), "{operations} {seed}");
            seen.insert((matches!(result, Err(PublishError::Name { .. })), after[0]));
        }
        if result.is_ok() {
            break;
        }
        assert!(operations < 100, "a publication is a handful of operations");
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(false, 1), (false, 2), (true, 1), (true, 2)]);
}
