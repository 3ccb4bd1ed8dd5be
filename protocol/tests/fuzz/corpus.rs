//! Inputs that reached what no other did, kept with the crate in `tests/corpus/TARGET.bin`: a length in four bytes, little-endian, and as many
//! bytes, again and again.
#![allow(clippy::expect_used, reason = "a test's own file: what is wrong with it is the finding")]

use std::path::PathBuf;

/// Of one target; what is longest is left out.
const BYTES_MAX: usize = 256 << 10;

fn path(target: &str) -> PathBuf {
    let name: String = target.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(format!("{}.bin", name.to_lowercase()))
}

/// None where there is no file.
pub fn load(target: &str) -> Vec<Vec<u8>> {
    let Ok(bytes) = std::fs::read(path(target)) else { return Vec::new() };
    let (mut inputs, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (input, behind) = behind.split_at_checked(length).expect("the corpus is whole");
        inputs.push(input.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "the corpus of {target} ends in the middle of a length");
    inputs
}

/// The shortest of `inputs` that fit, in this order.
#[allow(clippy::disallowed_methods, reason = "a test's own file")]
pub fn store(target: &str, inputs: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for input in inputs {
        if bytes.len() + 4 + input.len() > BYTES_MAX {
            break;
        }
        bytes.extend_from_slice(&(input.len() as u32).to_le_bytes());
        bytes.extend_from_slice(input);
    }
    let path = path(target);
    std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder can be made");
    std::fs::write(path, bytes).expect("the corpus can be written");
}
