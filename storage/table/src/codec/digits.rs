//! Decimal digits, eight at a time: no branch for each digit, which a processor would guess wrong for numbers of mixed length.

/// 10^0 to 10^8.
pub(crate) const POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

const ZEROS: u64 = 0x3030_3030_3030_3030;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The number that `bytes` begins with, and how many digits it has: 0 to 8.
#[inline]
pub(crate) fn leading(bytes: [u8; 8]) -> (u64, usize) {
    let digits = u64::from_le_bytes(bytes) ^ ZEROS;
    // The lowest mark is exact; only bytes above it may be marked falsely by a carry.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & HIGH;
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // What is shifted in counts as zeros in front.
    let digits = digits << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let first = (pairs & 0xff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let second = (pairs >> 16 & 0xff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    (first.wrapping_add(second) >> 32, count)
}

/// The eight digits of a number below 10^8, the first one in the lowest byte.
#[inline]
fn eight(value: u64) -> u64 {
    let halves = (value / 10_000) | ((value % 10_000) << 32);
    let top = (halves.wrapping_mul(10_486) >> 20) & 0x7f_0000_007f;
    let hundreds = (halves.wrapping_sub(100 * top) << 16).wrapping_add(top);
    let tens = (hundreds.wrapping_mul(103) >> 10) & 0x000f_000f_000f_000f;
    tens.wrapping_add(hundreds.wrapping_sub(10 * tens) << 8)
}

/// Appends a number below 10^8.
#[inline]
fn append_short(value: u64, out: &mut Vec<u8>) {
    let digits = eight(value);
    // The last digit stays, also if it is a zero.
    let zeros = (digits | 1 << 56).trailing_zeros() / 8;
    let end = out.len() + 8 - zeros as usize;
    out.extend_from_slice(&((digits | ZEROS) >> (8 * zeros)).to_le_bytes());
    out.truncate(end);
}

/// Appends `value` as it is usually written.
#[inline]
pub(crate) fn append_unsigned(value: u64, out: &mut Vec<u8>) {
    const EACH: u64 = POWERS[8];
    if value < EACH {
        return append_short(value, out);
    }
    let (front, last) = (value / EACH, value % EACH);
    if front < EACH {
        append_short(front, out);
    } else {
        append_short(front / EACH, out);
        out.extend_from_slice(&(eight(front % EACH) | ZEROS).to_le_bytes());
    }
    out.extend_from_slice(&(eight(last) | ZEROS).to_le_bytes());
}

/// Appends `value` as it is usually written.
#[inline]
pub(crate) fn append_integer(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    append_unsigned(value.unsigned_abs(), out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: i64) -> String {
        let mut out = Vec::new();
        append_integer(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Seen failing with 10,485 in place of 10,486.
    #[test]
    fn integers_are_written_as_their_digits() {
        for value in (0..20_000).chain([i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1]) {
            assert_eq!(written(value), value.to_string());
        }
        for power in 0..19 {
            let power = 10_i64.pow(power);
            for value in [power - 1, power, power + 1, 9 * (power / 10), -power, 1 - power] {
                assert_eq!(written(value), value.to_string());
            }
        }
        let mut out = Vec::new();
        append_unsigned(u64::MAX, &mut out);
        assert_eq!(out, u64::MAX.to_string().as_bytes());
    }

    proptest! {
        #[test]
        fn any_integer_is_written_as_its_digits(value: i64, shift in 0..64_u32) {
            prop_assert_eq!(written(value >> shift), (value >> shift).to_string());
        }

        /// Seen failing with 0x75 in place of 0x76 (a colon was a digit).
        #[test]
        fn digits_are_counted_and_read(digits in "[0-9]{0,8}", behind: [u8; 8]) {
            let mut bytes = [0; 8];
            let behind = behind.iter().skip_while(|byte| byte.is_ascii_digit());
            let behind = std::iter::once(b':').filter(|_| digits.len() % 2 == 0).chain(behind.copied()).chain([b'/'; 8]);
            digits.bytes().chain(behind).zip(&mut bytes).for_each(|(byte, into)| *into = byte);
            prop_assert_eq!(leading(bytes), (digits.parse().unwrap_or(0), digits.len()));
        }
    }
}
