//! Fields that are read and written quickly, against the same codec without that.

use proptest::prelude::*;

use super::super::bind::{Node, Record};
use super::super::wire::{write_sized, write_tag, write_varint};
use super::*;

const FIELDS: &str =
    "int64 l = 1; int32 i = 2; sint64 z = 3; sint32 y = 4; double d = 5; float f = 6; bool b = 7; string s = 8;
    message In { string t = 1; int64 q = 2; } In in = 9; repeated int32 p = 10; optional int64 o = 16; string u = 2000;
    oneof choice { int64 c1 = 2001; string c2 = 2002; } bool last = 3000;";
const COLUMNS: &str = "l BIGINT, i INT, z BIGINT, y INT, d DOUBLE, f FLOAT, b BOOLEAN, s STRING, in ROW<t STRING, q BIGINT>, \
    p ARRAY<INT>, o BIGINT NOT NULL, u STRING, c1 BIGINT, c2 STRING, last BOOLEAN";

fn slow(record: &mut Record) {
    for field in &mut record.fields {
        field.quick = None;
        if let Node::Message(inner) = &mut field.node {
            slow(inner);
        }
    }
}

/// Any number of any field, as short as it goes or with an empty byte more.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![1..=10_u32, Just(16), Just(2000), Just(2001), Just(2002), Just(3000), Just(17)];
    let value =
        (any::<u64>(), 0..64_u32, prop::collection::vec(prop_oneof![9 => 0x20..0x7f_u8, 1 => any::<u8>()], 0..40));
    (number, value, prop_oneof![30 => Just(0), 1 => Just(1), 1 => Just(2)]).prop_map(
        |(number, (bits, shift, text), odd)| {
            let mut out = Vec::new();
            let wire_type = match number {
                5 => 1,
                6 => 5,
                8 | 9 | 2000 | 2002 => 2,
                _ => 0,
            };
            write_tag(number, if odd == 2 { wire_type ^ 1 } else { wire_type }, &mut out);
            match number {
                5 => out.extend((bits & u64::MAX >> shift).to_le_bytes()),
                6 => out.extend((bits as u32).to_le_bytes()),
                7 | 3000 => out.push((bits % 2) as u8),
                8 | 2000 | 2002 => write_sized(&text, &mut out),
                9 => {
                    let mut inner = Vec::new();
                    write_tag(1, 2, &mut inner);
                    write_sized(&text, &mut inner);
                    write_tag(2, 0, &mut inner);
                    write_varint(bits >> shift, &mut inner);
                    write_sized(&inner, &mut out);
                }
                2 | 10 => write_varint(i64::from(bits as i32 >> (shift % 32)) as u64, &mut out),
                4 => write_varint((bits as u32 >> (shift % 32)).into(), &mut out),
                _ => write_varint(bits >> shift, &mut out),
            }
            if odd == 1 {
                *out.last_mut().unwrap() |= 0x80;
                out.push(0);
            }
            out
        },
    )
}

proptest! {
    #[test]
    fn rows_are_read_and_written_as_without_shortcuts(
        mut fields in prop::collection::vec(field(), 0..20),
        ordered in prop::bool::weighted(0.7),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        if ordered {
            fields.sort_by_key(|field| super::super::wire::Cursor::new(field).tag().unwrap().0);
            fields.dedup_by_key(|field| super::super::wire::Cursor::new(field).tag().unwrap().0);
        }
        let mut row = fields.concat();
        if let Some(cut) = cut {
            row.truncate(cut.index(row.len() + 1));
        }
        let table = table(COLUMNS);
        let quick = codec(&table, &proto(FIELDS)).unwrap();
        let mut plain = codec(&table, &proto(FIELDS)).unwrap();
        slow(&mut plain.record);
        prop_assert_eq!(quick.record.fields.iter().filter(|field| field.quick.is_some()).count(), 11);
        // Behind another row, and what is bad leaves nothing behind.
        let all = |codec: &ProtobufCodec| {
            let mut builder = RowBuilder::new(table.clone());
            let first: &[u8] = &[8, 1, 0x80, 1, 5];
            let done = [first, &row, first].map(|row| {
                let done = codec.decode(row, &mut builder);
                done.inspect(|_| builder.finish_row())
            });
            (done, builder.finish().unwrap())
        };
        let ((done, batch), (expected, theirs)) = (all(&quick), all(&plain));
        prop_assert_eq!(&done, &expected);
        prop_assert_eq!(format!("{batch:?}"), format!("{theirs:?}"));
        for at in 0..batch.num_rows() {
            let write = |codec: &ProtobufCodec| {
                let mut out = Vec::new();
                codec.rows(&batch).unwrap().write(at, &mut out).map(|()| out).map_err(|error| error.to_string())
            };
            prop_assert_eq!(write(&quick), write(&plain));
        }
        if let [_, Ok(fit), _] = &done && fit.exact {
            prop_assert_eq!(written(&quick, &batch.slice(1, 1)), row);
        }
    }
}
