//! Which files are merged next. Pure.
//!
//! As in every log of sorted runs: small runs are merged with each other before they are merged with a large one, so a row is
//! written again about as often as the number of runs has digits. What is merged at once is bounded, because it is held in
//! memory.
use crate::target::paimon::live::LiveFile;

/// Levels above 0 count up to this.
pub const LEVEL_MAX: i64 = 5;

/// A run that is larger by this than what is in front of it waits. With so few levels a smaller one would leave none free, and
/// the run in front would be merged with every file that comes.
const RATIO: u64 = 4;

/// How a table is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of a table with a primary key: sorted runs of a bucket that readers may have to merge.
    pub runs: usize,
    /// Of another table: small files that become one.
    pub files: usize,
    /// A file that is as large is left alone, and no larger one is made.
    pub file_bytes: u64,
    /// Files that are read at once, in bytes.
    pub input_bytes: u64,
}

/// What is to be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Places of the files in their bucket.
    pub files: Vec<usize>,
    /// Level of what becomes of them.
    pub level: i64,
    /// There is nothing older: a deleted key need not be remembered.
    pub last: bool,
}

/// A sorted run: a file of level 0, or all files of a level above it.
#[derive(Debug, Clone)]
struct Run {
    level: i64,
    bytes: u64,
    files: Vec<usize>,
}

/// Runs of a bucket, the newest changes first.
fn runs(files: &[LiveFile]) -> Vec<Run> {
    let mut flat: Vec<usize> = (0..files.len()).filter(|at| files[*at].level == 0).collect();
    flat.sort_by_key(|at| std::cmp::Reverse(files[*at].sequence.1));
    let mut runs: Vec<Run> =
        flat.into_iter().map(|at| Run { level: 0, bytes: files[at].bytes, files: vec![at] }).collect();
    let mut levels: Vec<i64> = files.iter().map(|file| file.level).filter(|level| *level > 0).collect();
    levels.sort_unstable();
    levels.dedup();
    for level in levels {
        let of: Vec<usize> = (0..files.len()).filter(|at| files[*at].level == level).collect();
        runs.push(Run { level, bytes: of.iter().map(|at| files[*at].bytes).sum(), files: of });
    }
    runs
}

/// What to merge in a bucket of a table with a primary key.
pub fn of_bucket(files: &[LiveFile], limits: &Limits) -> Option<Pick> {
    let runs = runs(files);
    if runs.len() < limits.runs.max(2) {
        return None;
    }
    let flat = runs.iter().take_while(|run| run.level == 0).count();
    // The oldest of level 0 first, as many as may be read; then the levels behind, as far as they are not much larger.
    let mut from = flat;
    let mut bytes = 0_u64;
    while from > 0 && bytes + runs[from - 1].bytes <= limits.input_bytes {
        from -= 1;
        bytes += runs[from].bytes;
    }
    let mut to = flat;
    while let Some(next) = runs.get(to) {
        // There is no level in front of level 1, and one file is nothing to merge.
        let may_stay = next.level > 1 && to - from >= 2;
        if (may_stay && next.bytes > bytes.saturating_mul(RATIO)) || bytes + next.bytes > limits.input_bytes {
            break;
        }
        bytes += next.bytes;
        to += 1;
    }
    let level = runs.get(to).map_or(LEVEL_MAX, |next| next.level - 1);
    if to - from < 2 || level < 1 {
        return None;
    }
    let picked = runs[from..to].iter().flat_map(|run| run.files.iter().copied()).collect();
    Some(Pick { files: picked, level, last: to == runs.len() })
}

/// What to merge in a partition of a table of appended rows: the newest small files, as long as each is at most twice as large
/// as those behind it together.
pub fn of_rows(files: &[LiveFile], limits: &Limits) -> Option<Pick> {
    let mut small: Vec<usize> = (0..files.len()).filter(|at| files[*at].bytes < limits.file_bytes).collect();
    small.sort_by_key(|at| std::cmp::Reverse(files[*at].sequence.1));
    let (mut picked, mut bytes) = (Vec::new(), 0_u64);
    for at in small {
        let next = files[at].bytes;
        let fits = bytes + next <= limits.file_bytes.min(limits.input_bytes) && files[at].path.is_some();
        if !fits || (!picked.is_empty() && next > bytes.saturating_mul(2)) {
            break;
        }
        bytes += next;
        picked.push(at);
    }
    (picked.len() >= limits.files.max(2)).then_some(Pick { files: picked, level: 0, last: false })
}

#[cfg(test)]
mod tests {
    use apache_avro::types::Value as Avro;

    use super::*;

    const LIMITS: Limits = Limits { runs: 5, files: 4, file_bytes: 100, input_bytes: 1_000 };

    fn file(level: i64, bytes: u64, last: i64) -> LiveFile {
        LiveFile {
            entry: Avro::Null,
            name: format!("{level}-{last}"),
            level,
            bytes,
            rows: 1,
            sequence: (last, last),
            schema_id: 0,
            keys: (Vec::new(), Vec::new()),
            path: Some(String::new()),
        }
    }

    fn files(of: &[(i64, u64)]) -> Vec<LiveFile> {
        of.iter().enumerate().map(|(at, (level, bytes))| file(*level, *bytes, at as i64)).collect()
    }

    #[test]
    fn few_runs_are_left_to_readers_and_many_become_one() {
        assert_eq!(of_bucket(&files(&[(0, 9); 4]), &LIMITS), None);
        let all = of_bucket(&files(&[(0, 9); 5]), &LIMITS).unwrap();
        assert_eq!((all.files, all.level, all.last), (vec![4, 3, 2, 1, 0], LEVEL_MAX, true));
    }

    #[test]
    fn a_large_run_waits_until_what_is_in_front_of_it_is_as_large() {
        let small = of_bucket(&files(&[(5, 500), (0, 9), (0, 9), (0, 9), (0, 9)]), &LIMITS).unwrap();
        assert_eq!((small.files.len(), small.level, small.last), (4, 4, false));
        let small = of_bucket(&files(&[(5, 500), (4, 300), (0, 9), (0, 9), (0, 9)]), &LIMITS).unwrap();
        assert_eq!((small.files.len(), small.level, small.last), (3, 3, false), "27 in front of 300");
        let large = of_bucket(&files(&[(5, 300), (4, 200), (0, 80), (0, 90), (0, 90)]), &LIMITS).unwrap();
        assert_eq!((large.files.len(), large.level, large.last), (5, 5, true));
    }

    #[test]
    fn level_one_is_merged_because_nothing_fits_in_front_of_it() {
        let pick = of_bucket(&files(&[(1, 500), (0, 9), (0, 9), (0, 9), (0, 9)]), &LIMITS).unwrap();
        assert_eq!((pick.files.len(), pick.level), (5, LEVEL_MAX));
        let full = files(&[(1, 999), (0, 9), (0, 9), (0, 9), (0, 9)]);
        assert_eq!(of_bucket(&full, &LIMITS), None, "more than may be read at once");
    }

    #[test]
    fn no_more_is_read_than_may_be_and_the_oldest_come_first() {
        let pick = of_bucket(&files(&[(0, 400); 5]), &LIMITS).unwrap();
        assert_eq!((pick.files, pick.last), (vec![1, 0], true));
        assert_eq!(of_bucket(&files(&[(0, 900); 5]), &LIMITS), None);
    }

    #[test]
    fn appended_files_become_one_until_it_is_large() {
        assert_eq!(of_rows(&files(&[(0, 9); 3]), &LIMITS), None);
        assert_eq!(of_rows(&files(&[(0, 9); 4]), &LIMITS).unwrap().files, [3, 2, 1, 0]);
        let pick = of_rows(&files(&[(0, 100), (0, 90), (0, 9), (0, 9), (0, 9), (0, 9)]), &LIMITS).unwrap();
        assert_eq!(pick.files, [5, 4, 3, 2], "large ones stay as they are");
        assert_eq!(of_rows(&files(&[(0, 60); 5]), &LIMITS), None, "two of them would be too large");
    }

    #[test]
    fn a_row_is_written_again_a_few_times_only_however_many_files_come() {
        let limits = Limits { runs: 5, files: 10, file_bytes: 1 << 20, input_bytes: 1 << 20 };
        let (mut bucket, mut rows) = (Vec::new(), Vec::new());
        let mut written = [0_u64; 2];
        for at in 0..2_000 {
            for (side, files) in [&mut bucket, &mut rows].into_iter().enumerate() {
                files.push(file(0, 100, at));
                let pick = if side == 0 { of_bucket(files, &limits) } else { of_rows(files, &limits) };
                let Some(pick) = pick else { continue };
                let bytes = pick.files.iter().map(|at| files[*at].bytes).sum();
                let last = pick.files.iter().map(|at| files[*at].sequence.1).max().unwrap();
                written[side] += bytes;
                let mut at = 0;
                files.retain(|_| {
                    at += 1;
                    !pick.files.contains(&(at - 1))
                });
                files.push(file(pick.level, bytes, last));
            }
            assert!(runs(&bucket).len() < 5, "readers merge fewer than 5 runs");
            assert!(rows.len() < 45, "{} files", rows.len());
        }
        assert!(written.iter().all(|bytes| *bytes < 2_000 * 100 * 12), "{written:?} for 200,000 bytes");
    }
}
