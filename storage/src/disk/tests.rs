//! One suite for every disk: what holds without crashes and faults.
use super::*;

fn on_every_disk(check: impl Fn(&dyn Disk)) {
    let dir = tempfile::tempdir().unwrap();
    check(&OsDisk::open(dir.path()).unwrap());
    check(&CrashDisk::new());
}

fn read(file: &dyn DiskFile) -> Vec<u8> {
    let mut buffer = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut buffer).unwrap();
    buffer
}

#[test]
fn files_are_created_once_found_by_name_and_removed() {
    on_every_disk(|disk| {
        assert_eq!(disk.create("a/b/x").err().unwrap().kind(), io::ErrorKind::NotFound, "no such folder");
        assert_eq!(disk.list("a/b").unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.create_dir_all("a/b").unwrap();
        disk.create_dir_all("a/b").unwrap();
        disk.create("a/b/x").unwrap().write_at(0, &[b"hello"]).unwrap();
        assert_eq!(disk.create("a/b/x").err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.open("a/b/y").err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.open_read("a/b/y").err().unwrap().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(&*disk.open_read("a/b/x").unwrap()), b"hello");
        assert!(disk.exists("a") && disk.exists("a/b/x") && !disk.exists("a/b/y"));
        assert_eq!(disk.list("a").unwrap(), ["b"]);
        disk.create("a/b/y").unwrap();
        let mut names = disk.list("a/b").unwrap();
        names.sort();
        assert_eq!(names, ["x", "y"]);
        disk.sync_dir("a/b").unwrap();
        disk.remove("a/b/x").unwrap();
        assert_eq!(disk.remove("a/b/x").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.list("a/b").unwrap(), ["y"]);
        assert!(disk.free_bytes().unwrap() > 0);
    });
}

#[test]
fn a_rename_replaces_and_open_files_follow() {
    on_every_disk(|disk| {
        disk.create("old").unwrap().write_at(0, &[b"old"]).unwrap();
        let new = disk.create("new").unwrap();
        new.write_at(0, &[b"new"]).unwrap();
        let replaced = disk.open_read("old").unwrap();
        disk.rename("new", "old").unwrap();
        new.write_at(3, &[b"er"]).unwrap();
        assert_eq!(read(&*disk.open("old").unwrap()), b"newer");
        assert_eq!(read(&*replaced), b"old", "an open file outlives its name");
        assert!(!disk.exists("new"));
        assert_eq!(disk.rename("new", "old").unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn writes_are_vectored_and_reads_are_exact() {
    on_every_disk(|disk| {
        let file = disk.create("f").unwrap();
        assert!(file.is_empty().unwrap());
        // More buffers than one system call takes, some of them empty.
        let buffers: Vec<Vec<u8>> = (0..3000).map(|i| vec![i as u8; i % 5]).collect();
        let slices: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
        file.write_at(7, &slices).unwrap();
        let all = buffers.concat();
        let content = read(&*file);
        assert_eq!(content[..7], [0; 7], "a hole reads as zeros");
        assert_eq!(content[7..], all);
        let mut one = [0];
        file.read_at(6 + all.len() as u64, &mut one).unwrap();
        assert_eq!(file.read_at(7 + all.len() as u64, &mut one).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(1 << 40, &mut one).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        file.write_at(0, &[b"abc"]).unwrap();
        file.write_at(0, &[]).unwrap();
        assert_eq!(&read(&*file)[..4], b"abc\0");
        file.sync_data().unwrap();
        file.sync_all().unwrap();
    });
}

#[test]
fn lengths_shrink_and_grow_with_zeros() {
    on_every_disk(|disk| {
        let file = disk.create("f").unwrap();
        file.write_at(0, &[&[1; 10_000]]).unwrap();
        file.set_len(5000).unwrap();
        file.set_len(9000).unwrap();
        let content = read(&*file);
        assert_eq!(content[..5000], [1; 5000]);
        assert_eq!(content[5000..], [0; 4000]);
        file.allocate(20_000).unwrap();
        assert_eq!(file.len().unwrap(), 20_000);
        file.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 20_000, "allocating never shrinks");
        assert_eq!(read(&*file)[..9000], content);
    });
}

#[test]
fn a_publication_replaces_the_file_and_leaves_no_other() {
    on_every_disk(|disk| {
        disk.create_dir_all("d").unwrap();
        disk.create("d/f.tmp").unwrap().write_at(0, &[b"left by a crash"]).unwrap();
        for text in [&b"one"[..], b"two"] {
            let file = publish(disk, "d/f", |file| file.write_at(0, &[text])).unwrap();
            file.write_at(3, &[b"!"]).unwrap();
            assert_eq!(read(&*disk.open("d/f").unwrap()), [text, b"!"].concat());
        }
        let failed = publish(disk, "d/f", |_| Err(io::Error::other("no")));
        assert!(matches!(failed, Err(PublishError::Write { .. })));
        assert_eq!(read(&*disk.open("d/f").unwrap()), b"two!");
        assert_eq!(disk.list("d").unwrap(), ["f"]);
    });
}

#[test]
fn a_data_folder_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new/folder");
    let first = OsDisk::open(&root).unwrap();
    assert_eq!(OsDisk::open(&root).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(first);
    OsDisk::open(&root).unwrap();
}
