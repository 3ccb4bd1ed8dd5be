//! Fields that are read and written quickly, against the same codec without that.

use proptest::prelude::*;

use super::*;

const FIELDS: &str = r#"{"name":"l","type":"long"},{"name":"i","type":["null","int"]},{"name":"d","type":["double","null"]},
    {"name":"f","type":"float"},{"name":"b","type":"boolean"},{"name":"s","type":["null","string"]},
    {"name":"t","type":"string"},{"name":"p","type":{"type":"array","items":"int"}},{"name":"z","type":["null","long"]}"#;
const COLUMNS: &str =
    "l BIGINT, i INT, d DOUBLE, f FLOAT, b BOOLEAN, s STRING, t STRING, p ARRAY<INT>, z BIGINT NOT NULL";

fn zigzag(value: i64, out: &mut Vec<u8>) {
    let mut value = (value << 1 ^ value >> 63) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

proptest! {
    /// Seen failing with numbers beyond 32 bits let through into INT.
    #[test]
    fn rows_are_read_and_written_as_without_shortcuts(
        numbers in any::<[(i64, u32); 3]>(),
        double: f64,
        texts in any::<[Vec<u8>; 2]>(),
        ascii in ".{0,40}",
        nulls: [bool; 4],
        other in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let [long, int, last] = numbers.map(|(value, shift)| value >> (shift % 64));
        let mut row = Vec::new();
        zigzag(long, &mut row);
        zigzag(i64::from(!nulls[0]), &mut row);
        if !nulls[0] {
            zigzag(int, &mut row);
        }
        zigzag(i64::from(nulls[1]), &mut row);
        if !nulls[1] {
            row.extend(double.to_le_bytes());
        }
        row.extend((double as f32).to_le_bytes());
        row.push(nulls[2].into());
        zigzag(i64::from(!nulls[3]), &mut row);
        let text = if nulls[2] { ascii.as_bytes() } else { &texts[0] };
        if !nulls[3] {
            zigzag(text.len() as i64, &mut row);
            row.extend(text);
        }
        zigzag(ascii.len() as i64, &mut row);
        row.extend(ascii.as_bytes());
        row.extend([2, 8, 0]);
        zigzag(1, &mut row);
        zigzag(last, &mut row);
        if let Some((at, byte)) = other {
            let at = at.index(row.len());
            row[at] = byte;
        }
        if let Some(cut) = cut {
            row.truncate(cut.index(row.len()));
        }
        let table = table(COLUMNS);
        let quick = codec(&table, &record(FIELDS)).unwrap();
        let mut plain = codec(&table, &record(FIELDS)).unwrap();
        plain.record.quick.fill(None);
        prop_assert_eq!(quick.record.quick.iter().flatten().count(), 8);
        let read = |codec: &AvroCodec| {
            let mut builder = RowBuilder::new(table.clone());
            let done = [&row[..], &row].map(|row| {
                let done = codec.decode(row, &mut builder);
                done.inspect(|_| builder.finish_row())
            });
            (done, builder.finish().unwrap())
        };
        let ((done, batch), (expected, theirs)) = (read(&quick), read(&plain));
        prop_assert_eq!(&done, &expected);
        prop_assert_eq!(format!("{batch:?}"), format!("{theirs:?}"));
        // Both rows are the same: both are there, or none is.
        for (at, done) in done.iter().enumerate().take(batch.num_rows()) {
            let write = |codec: &AvroCodec| {
                let mut out = Vec::new();
                codec.rows(&batch).unwrap().write(at, &mut out).map(|()| out).map_err(|error| error.to_string())
            };
            prop_assert_eq!(write(&quick), write(&plain));
            if *done == Ok(RowForm::Canonical) {
                prop_assert_eq!(write(&quick), Ok(row.clone()));
            }
        }
    }
}
